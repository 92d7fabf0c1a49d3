package remote

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/argosy-cluster/argosy/internal/image"
)

var wanted = image.Sum([]byte("manifest"))

// fake is a registry with one image, team/app:1, which needs a password if it has one.
func fake(password string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, p, _ := r.BasicAuth(); p != password {
			w.Header().Set("WWW-Authenticate", `Basic realm="x"`)
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		switch r.URL.Path {
		case "/v2/":
		case "/v2/team/app/manifests/1":
			w.Header().Set("Content-Type", image.TypeOCIManifest)
			w.Header().Set("Content-Length", "8")
			w.Header().Set("Docker-Content-Digest", string(wanted))
		case "/v2/team/app/manifests/nohead":
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			w.Header().Set("Content-Type", image.TypeOCIManifest)
			_, _ = io.WriteString(w, "manifest")
		case "/v2/team/app/manifests/busy":
			w.WriteHeader(http.StatusTooManyRequests)
		case "/v2/team/app/manifests/nonsense":
			w.WriteHeader(http.StatusTeapot)
		case "/v2/team/app/manifests/endless":
			if r.Method == http.MethodHead {
				w.WriteHeader(http.StatusMethodNotAllowed)
				return
			}
			w.Header().Set("Content-Type", image.TypeOCIManifest)
			zeros := make([]byte, 1<<20)
			for range 64 {
				if _, err := w.Write(zeros); err != nil {
					return
				}
			}
		default:
			w.WriteHeader(http.StatusNotFound)
		}
	})
}

func TestResolve(t *testing.T) {
	open := httptest.NewServer(fake(""))
	defer open.Close()
	closed := httptest.NewServer(fake("geheim"))
	defer closed.Close()
	gone := httptest.NewServer(nil)
	gone.Close()
	host := func(s *httptest.Server) string { return strings.TrimPrefix(s.URL, "http://") }
	pinned := image.Sum([]byte("pinned"))

	for _, c := range []struct {
		ref  string
		cred Credentials
		want image.Digest
		kind Kind
		says string
	}{
		{ref: host(open) + "/team/app:1", want: wanted},
		{ref: host(open) + "/team/app:nohead", want: wanted},
		{ref: host(open) + "/team/app:2", kind: Unknown, says: "no such image"},
		{ref: host(open) + "/team/app:busy", kind: Busy, says: "later"},
		{ref: host(open) + "/team/app:nonsense", kind: Broken},
		{ref: host(closed) + "/team/app:1", kind: Unauthorised, says: "credentials"},
		{ref: host(closed) + "/team/app:1", cred: Credentials{Username: "u", Password: "wrong"}, kind: Unauthorised},
		{ref: host(closed) + "/team/app:1", cred: Credentials{Username: "u", Password: "geheim"}, want: wanted},
		{ref: host(gone) + "/team/app:1", kind: Unreachable, says: "argosy image load"},
		{ref: "10.255.255.1:5000/team/app@" + string(pinned), want: pinned},
	} {
		ref, err := image.ParseRef(c.ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := Resolver{}.Resolve(t.Context(), ref, c.cred)
		var e *Error
		if c.kind != 0 {
			if !errors.As(err, &e) || e.Kind != c.kind || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%s with %v: got %v, want kind %d", c.ref, c.cred, err, c.kind)
			}
		} else if got != c.want || err != nil {
			t.Errorf("%s with %v: got %s, %v", c.ref, c.cred, got, err)
		}
	}
}

func TestAnswersAreBounded(t *testing.T) {
	srv := httptest.NewServer(fake(""))
	defer srv.Close()
	ref, err := image.ParseRef(strings.TrimPrefix(srv.URL, "http://") + "/team/app:endless")
	if err != nil {
		t.Fatal(err)
	}
	var passed int64
	rt := roundTripper(func(r *http.Request) (*http.Response, error) {
		resp, err := http.DefaultTransport.RoundTrip(r)
		if err == nil {
			resp.Body = capped{counting{resp.Body, &passed}, resp.Body}
		}
		return resp, err
	})
	// What comes of it does not matter; that it ends does.
	_, _ = Resolver{Transport: rt}.Resolve(t.Context(), ref, Credentials{})
	if passed > maxAnswer+1<<20 {
		t.Errorf("%d bytes were read of an endless answer", passed)
	}
}

type counting struct {
	r io.Reader
	n *int64
}

func (c counting) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	*c.n += int64(n)
	return n, err
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestSilentRegistryTimesOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		silent := roundTripper(func(r *http.Request) (*http.Response, error) {
			<-r.Context().Done()
			return nil, r.Context().Err()
		})
		start := time.Now()
		ref, err := image.ParseRef("registry.example.com/team/app:1")
		if err != nil {
			t.Fatal(err)
		}
		_, err = Resolver{Transport: silent, Timeout: 7 * time.Second}.Resolve(t.Context(), ref, Credentials{})
		var e *Error
		if !errors.As(err, &e) || e.Kind != Unreachable {
			t.Errorf("a silent registry: %v", err)
		}
		if took := time.Since(start); took != 7*time.Second {
			t.Errorf("it took %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err = (Resolver{Transport: silent}).Resolve(ctx, ref, Credentials{}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the caller's own deadline became %v", err)
		}
	})
}

func TestCredentialsStayOffPlainConnections(t *testing.T) {
	asked := false
	rt := roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Scheme == "http" {
			asked = true
		}
		return nil, errors.New("refused")
	})
	ref, err := image.ParseRef("10.1.2.3:5000/team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = Resolver{Transport: rt}.Resolve(t.Context(), ref, Credentials{Username: "u", Password: "geheim"})
	var e *Error
	if !errors.As(err, &e) || e.Kind != Unreachable {
		t.Errorf("got %v, want unreachable", err)
	}
	if asked {
		t.Error("a registry that is not on this host was asked without TLS")
	}
}

func TestCredentials(t *testing.T) {
	c := Credentials{Username: "u", Password: "geheim", IdentityToken: "geheim2"}
	for _, s := range []string{fmt.Sprint(c), fmt.Sprintf("%#v", c), fmt.Sprintf("%+v", c), c.LogValue().String()} {
		if strings.Contains(s, "geheim") {
			t.Errorf("%q shows the password", s)
		}
	}
	ref, err := image.ParseRef("mariadb")
	if err != nil {
		t.Fatal(err)
	}
	enc, err := c.RegistryAuth(ref)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := base64.URLEncoding.DecodeString(enc)
	if err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if got["username"] != "u" || got["password"] != "geheim" || got["serveraddress"] != "https://index.docker.io/v1/" {
		t.Errorf("Docker would get %v", got)
	}
	if none, err := (Credentials{}).RegistryAuth(ref); none != "" || err != nil {
		t.Errorf("no credentials gave %q, %v", none, err)
	}
}
