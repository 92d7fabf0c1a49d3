package main

import (
	"encoding/pem"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
	"github.com/rogpeppe/go-internal/testscript"
)

// The one who may use the storage of scripts.
const storageUser = "AKIDSCRIPTS"

// startStorage runs S3-compatible storage over TLS with a bucket "safe", and has servers and commands trust it: storage. Its
// address is then in $STORAGE.
func startStorage(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: storage")
	}
	backend := s3mem.New()
	ts.Check(backend.CreateBucket("safe"))
	files := gofakes3.New(backend).Server()
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// As S3 does for keys that it does not know; that the rest of a signature holds is the library's to see to.
		if !strings.Contains(r.Header.Get("Authorization"), "Credential="+storageUser+"/") {
			w.WriteHeader(http.StatusForbidden)
			_, _ = io.WriteString(w, `<?xml version="1.0"?><Error><Code>InvalidAccessKeyId</Code><Message>The access key is not known here.</Message></Error>`)
			return
		}
		files.ServeHTTP(w, r)
	}))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.StartTLS()
	ts.Defer(srv.Close)
	ca := ts.MkAbs("storage-ca.pem")
	ts.Check(os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}), 0o600))
	ts.Setenv("SSL_CERT_FILE", ca)
	ts.Setenv("STORAGE", srv.URL)
}
