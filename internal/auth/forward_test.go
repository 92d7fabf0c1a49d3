package auth

import (
	"context"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/store/memory"
)

// Whoever asks on behalf of another is believed only if it is a server of the cluster, and only what it can prove: the
// certificate is checked again.
func TestOnBehalf(t *testing.T) {
	w := newWorld(t)
	c, s := w.cluster, w.store
	fellow := fellowServer(t, c, s, "s2")
	stranger := issue(t, c, Server, "s3", time.Now()) // no longer in the cluster
	admin := login(t, c, s, "boss", "blue", Admin)
	machine := member(t, c, s, "m1", time.Now())
	foreign := issue(t, newCluster(t, memory.New()), User, "boss", time.Now())
	a := NewAuthenticator(c.Verifier(), NewDirectory(s))
	h := a.Middleware(a.RequireHTTP(AllowViewers, "looking", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get(callerHeader) != "" {
			t.Error("the header reaches handlers")
		}
		_, _ = io.WriteString(w, IdentityFrom(r.Context()).String()+" by "+PassedBy(r.Context()))
	})))
	url := "https://" + w.serve(h, ServerTLS(w.own, c.Verifier()), listener(t)(net.Listen("tcp", "127.0.0.1:0")))
	cert := func(cred *Credential) string { return base64.StdEncoding.EncodeToString(cred.Certificate.Raw) }
	for _, k := range []struct {
		name   string
		from   *Credential
		header string
		status int
		body   string
	}{
		{"a server for the administrator on its socket", fellow, callerLocal, 200, "local by s2"},
		{"a server for an administrator", fellow, cert(admin), 200, "user boss by s2"},
		{"a server for a machine, which may not", fellow, cert(machine), 403, ""},
		{"a server for nobody", fellow, callerNobody, 401, ""},
		{"a server for itself", fellow, "", 403, ""},
		{"a server with another cluster's certificate", fellow, cert(foreign), 401, ""},
		{"a server with nonsense", fellow, "%%%", 401, ""},
		{"a server with an empty certificate", fellow, "aGVsbG8=", 401, ""},
		{"a machine for the administrator", machine, callerLocal, 401, ""},
		{"an administrator for another", admin, callerLocal, 401, ""},
		{"nobody for the administrator", nil, callerLocal, 401, ""},
		{"a server that was removed", stranger, callerLocal, 401, ""},
	} {
		t.Run(k.name, func(t *testing.T) {
			req, err := http.NewRequest(http.MethodGet, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			if k.header != "" {
				req.Header.Set(callerHeader, k.header)
			}
			res, err := w.client(k.from).Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer res.Body.Close()
			body, _ := io.ReadAll(res.Body)
			if res.StatusCode != k.status || k.body != "" && string(body) != k.body {
				t.Errorf("%d %s, want %d %s", res.StatusCode, body, k.status, k.body)
			}
		})
	}
}

// A request goes to one other server and no further, and none is passed on for somebody who is not who he says.
func TestPass(t *testing.T) {
	for name, k := range map[string]struct {
		c    caller
		want string
	}{
		"nobody":        {caller{}, callerNobody},
		"local":         {caller{identity: LocalIdentity()}, callerLocal},
		"passed before": {caller{by: "s2", identity: LocalIdentity()}, ""},
		"an impostor":   {caller{err: io.ErrUnexpectedEOF}, ""},
	} {
		head := http.Header{}
		err := Pass(context.WithValue(t.Context(), callerKey{}, k.c), head)
		if head.Get(callerHeader) != k.want || (err == nil) != (k.want != "") {
			t.Errorf("%s: %q, %v", name, head.Get(callerHeader), err)
		}
	}
}
