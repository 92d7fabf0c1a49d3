package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/blobs"
)

func allow(_ *http.Request, tenant string, _ Action) error {
	if tenant == "default" {
		return nil
	}
	return errors.New("not your tenant")
}

type server struct {
	*httptest.Server
	store   *blobs.Store
	patches *sync.Cond // guards patched and tells of its changes
	patched *int32     // PATCH requests that were answered
}

func serve(t *testing.T, opts Options, storeOpts blobs.Options) server {
	t.Helper()
	store, err := blobs.Open(t.TempDir(), storeOpts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	opts.Log = slog.New(slog.NewTextHandler(t.Output(), nil))
	if opts.Authorize == nil {
		opts.Authorize = allow
	}
	h := NewHandler(store, opts)
	s := server{store: store, patches: sync.NewCond(&sync.Mutex{}), patched: new(int32)}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.ServeHTTP(w, r)
		if r.Method == http.MethodPatch {
			s.patches.L.Lock()
			*s.patched++
			s.patches.L.Unlock()
			s.patches.Broadcast()
		}
	}))
	t.Cleanup(s.Close)
	return s
}

func (s server) client() *Client { return NewClient(s.URL, s.Client()) }

// A client of other hands sees a registry.
func TestForeignClientPushesAndPulls(t *testing.T) {
	s := serve(t, Options{}, blobs.Options{})
	host := strings.TrimPrefix(s.URL, "http://")
	img, err := random.Image(200_000, 4)
	if err != nil {
		t.Fatal(err)
	}
	ref, err := name.NewTag(host + "/default/team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(ref, img, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	back, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(back); err != nil {
		t.Error(err)
	}
	want, err := img.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := back.Digest(); got != want || err != nil {
		t.Errorf("pulled %s, %v; pushed %s", got, err, want)
	}
	if d, ok, err := s.store.Resolve("default", image.Ref{Name: "team/app", Tag: "1"}); string(d) != want.String() || !ok || err != nil {
		t.Errorf("the store resolves %s, %v, %v", d, ok, err)
	}
	tags, err := remote.List(ref.Context(), remote.WithContext(t.Context()))
	if err != nil || fmt.Sprint(tags) != "[1]" {
		t.Errorf("tags %v, %v", tags, err)
	}
	all, err := s.client().Images(t.Context(), "default")
	if err != nil || len(all) != 1 || all[0].Name != "team/app" || all[0].Tag != "1" || string(all[0].Digest) != want.String() || all[0].Size < 800_000 {
		t.Errorf("images %v, %v", all, err)
	}
	if _, err := s.client().Images(t.Context(), "other"); err == nil {
		t.Error("another tenant's images are listed")
	}
	index, err := random.Index(1000, 2, 2)
	if err != nil {
		t.Fatal(err)
	}
	many, err := name.NewTag(host + "/default/team/many:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(many, index, remote.WithContext(t.Context())); err != nil {
		t.Fatal(err)
	}
	wantIndex, err := index.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if got, err := remote.Head(many, remote.WithContext(t.Context())); err != nil || got.Digest != wantIndex {
		t.Errorf("the index came back as %v, %v", got, err)
	}
	foreign, err := name.NewTag(host + "/other/app:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(foreign, img, remote.WithContext(t.Context())); err == nil || !strings.Contains(err.Error(), "403") {
		t.Errorf("pushing to another tenant: %v", err)
	}
}

func (s server) ask(t *testing.T, method, path, body string, head ...string) *http.Response {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(head); i += 2 {
		req.Header.Set(head[i], head[i+1])
	}
	resp, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func TestAnswers(t *testing.T) {
	s := serve(t, Options{}, blobs.Options{MaxBlob: 1000})
	content := "0123456789"
	d := string(image.Sum([]byte(content)))
	if resp := s.ask(t, "POST", "/v2/default/a/blobs/uploads/?digest="+d, content); resp.StatusCode != http.StatusCreated { //nolint:bodyclose // ask closes it when the test ends
		t.Fatal(resp.Status)
	}
	none := "sha256:" + strings.Repeat("0", 64)
	for _, c := range []struct {
		method, path, body string
		head               []string
		status             int
		says               string
	}{
		{method: "GET", path: "/v2/", status: 200},
		{method: "GET", path: "/v2/default/a/blobs/" + d, status: 200, says: content},
		{method: "HEAD", path: "/v2/default/other/name/blobs/" + d, status: 200},
		{method: "GET", path: "/v2/default/a/blobs/" + d, head: []string{"Range", "bytes=3-5"}, status: 206, says: "345"},
		{method: "GET", path: "/v2/default/a/blobs/" + d, head: []string{"Range", "bytes=7-"}, status: 206, says: "789"},
		{method: "GET", path: "/v2/default/a/blobs/" + d, head: []string{"Range", "bytes=70-"}, status: 416},
		{method: "GET", path: "/v2/default/a/blobs/" + none, status: 404, says: "BLOB_UNKNOWN"},
		{method: "GET", path: "/v2/default/a/manifests/" + d, status: 404, says: "MANIFEST_UNKNOWN"},
		{method: "GET", path: "/v2/default/a/manifests/latest", status: 404, says: "argosy image load"},
		{method: "GET", path: "/v2/other/a/blobs/" + d, status: 403, says: "DENIED"},
		{method: "GET", path: "/v2/other/a/blobs/" + none, status: 403, says: "DENIED"},
		{method: "DELETE", path: "/v2/default/a/blobs/" + d, status: 405},
		{method: "DELETE", path: "/v2/default/a/manifests/1", status: 404},
		{method: "DELETE", path: "/v2/default/a/manifests/" + d, status: 400},
		{method: "GET", path: "/v2/default/a/blobs/sha256:zz", status: 404, says: "NAME_INVALID"},
		{method: "GET", path: "/v2/default/../../etc/passwd/blobs/" + d, status: 404},
		{method: "GET", path: "/v2/default/%2e%2e/blobs/" + d, status: 404},
		{method: "GET", path: "/v2/DEFAULT/a/blobs/" + d, status: 404},
		{method: "GET", path: "/v2/default/blobs/" + d, status: 404},
		{method: "GET", path: "/v1/default/a/blobs/" + d, status: 404},
		{method: "POST", path: "/v2/default/a/blobs/uploads/?digest=" + d, body: "something else", status: 400, says: "DIGEST_INVALID"},
		{method: "POST", path: "/v2/default/a/blobs/uploads/?digest=" + none, body: strings.Repeat("x", 1001), status: 413},
		{method: "POST", path: "/v2/default/a/blobs/uploads/?mount=junk", status: 400},
		{method: "POST", path: "/v2/default/a/blobs/uploads/?mount=" + d + "&from=default/b", status: 201},
		{method: "PATCH", path: "/v2/default/a/blobs/uploads/r-00", status: 404, says: "BLOB_UPLOAD_UNKNOWN"},
		{method: "PATCH", path: "/v2/default/a/blobs/uploads/..%2f..%2flock", status: 404},
		{method: "PUT", path: "/v2/default/a/manifests/1", body: "{", status: 400, says: "MANIFEST_INVALID"},
		{method: "PUT", path: "/v2/default/a/manifests/1", body: strings.Repeat(" ", image.MaxManifest+1), status: 413},
		{method: "PUT", path: "/v2/default/a/manifests/" + none, body: "{}", status: 400, says: "DIGEST_INVALID"},
		{method: "TRACE", path: "/v2/default/a/tags/list", status: 405},
	} {
		resp := s.ask(t, c.method, c.path, c.body, c.head...) //nolint:bodyclose // ask closes it when the test ends
		got, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.StatusCode != c.status || !strings.Contains(string(got), c.says) {
			t.Errorf("%s %s: %s %.200s; want %d with %q", c.method, c.path, resp.Status, got, c.status, c.says)
		}
	}
	closed := NewHandler(s.store, Options{Log: slog.Default()})
	rec := httptest.NewRecorder()
	closed.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/v2/default/a/blobs/"+d, nil))
	if rec.Code != http.StatusForbidden {
		t.Errorf("without Authorize the handler answers %d", rec.Code)
	}
}

// Names of several servers are kept elsewhere, and whoever follows them changes this store too, before or after the handler.
func TestNamesKeptElsewhere(t *testing.T) {
	var refuse error
	var s server
	s = serve(t, Options{
		Named: func(context.Context, string, string, string, image.Digest) error { return refuse },
		Unnamed: func(_ context.Context, tenant, name, tag string) error {
			if refuse == nil {
				return s.store.Untag(tenant, name, tag)
			}
			return refuse
		},
	}, blobs.Options{})
	content := `{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}`
	if resp := s.ask(t, "POST", "/v2/default/a/blobs/uploads/?digest="+string(image.Sum([]byte(content))), content); resp.StatusCode != http.StatusCreated { //nolint:bodyclose // ask closes it when the test ends
		t.Fatal(resp.Status)
	}
	manifest := func(note string) string {
		d := image.Descriptor{MediaType: "application/vnd.oci.image.config.v1+json", Digest: image.Sum([]byte(content)), Size: int64(len(content))}
		return fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json","config":{"mediaType":%q,"digest":%q,"size":%d},"layers":[],"annotations":{"note":%q}}`,
			d.MediaType, d.Digest, d.Size, note)
	}
	ask := func(method, body string, want int) {
		t.Helper()
		resp := s.ask(t, method, "/v2/default/a/manifests/1", body, "Content-Type", "application/vnd.oci.image.manifest.v1+json") //nolint:bodyclose // ask closes it when the test ends
		if resp.StatusCode != want {
			said, _ := io.ReadAll(resp.Body)
			t.Fatalf("%s: %s %s; want %d", method, resp.Status, said, want)
		}
	}
	means := func(want string) {
		t.Helper()
		d, _, err := s.store.Resolve("default", image.Ref{Name: "a", Tag: "1"})
		if err != nil || want == "" && d != "" || want != "" && d != image.Sum([]byte(manifest(want))) {
			t.Fatalf("a:1 is %s, %v; want %q", d, err, want)
		}
	}
	ask("PUT", manifest("first"), http.StatusCreated)
	means("first")
	refuse = errors.New("no majority")
	ask("PUT", manifest("second"), http.StatusServiceUnavailable)
	means("first")
	ask("DELETE", "", http.StatusServiceUnavailable)
	means("first")
	refuse = nil
	ask("DELETE", "", http.StatusAccepted)
	means("")
	ask("DELETE", "", http.StatusNotFound)
}

func FuzzParse(f *testing.F) {
	d := string(image.Sum(nil))
	for _, p := range []string{"/v2/", "/v2", "/v2/t/n/manifests/latest", "/v2/t/a/b/c/manifests/" + d, "/v2/t/n/blobs/" + d,
		"/v2/t/n/blobs/uploads/", "/v2/t/n/blobs/uploads", "/v2/t/n/blobs/uploads/r-00", "/v2/t/n/tags/list",
		"/v2/t/blobs/uploads/blobs/uploads/", "/v2/t/_images", "/v2//n/tags/list", "/v2/t/../tags/list", "/v2/t/n/blobs/", "/v2/manifests/x"} {
		f.Add(p)
	}
	f.Fuzz(func(t *testing.T, path string) {
		got, err := parse(path)
		if err != nil || got.kind == kindPing {
			return
		}
		if err := errors.Join(image.ValidTenant(got.tenant), image.ValidName(got.name)); err != nil && got.kind != kindImages {
			t.Errorf("%q was understood as %+v: %v", path, got, err)
		}
		if got.digest != "" {
			if _, err := image.ParseDigest(string(got.digest)); err != nil {
				t.Error(err)
			}
		}
		if got.tag != "" && image.ValidTag(got.tag) != nil || strings.Contains(got.upload, "/") {
			t.Errorf("%q was understood as %+v", path, got)
		}
		if (got.kind == kindBlob) != (got.digest != "" && got.tag == "") && got.kind != kindManifest {
			t.Errorf("%q was understood as %+v", path, got)
		}
	})
}

// Any request at all gets an answer of the protocol, never a 500, and nothing outside the store's directory is touched.
func FuzzHandler(f *testing.F) {
	d := string(image.Sum(nil))
	f.Add("GET", "/v2/default/a/blobs/"+d, "", "bytes=0-0")
	f.Add("POST", "/v2/default/a/blobs/uploads/?digest="+d, "", "")
	f.Add("POST", "/v2/default/a/blobs/uploads/?mount="+d+"&resume=1", "", "")
	f.Add("PATCH", "/v2/default/a/blobs/uploads/d-"+strings.Repeat("0", 64), "x", "0-5")
	f.Add("PUT", "/v2/default/a/manifests/1", `{"schemaVersion":2,"config":{"digest":"`+d+`"}}`, "")
	f.Add("DELETE", "/v2/default/a/manifests/1", "", "")
	dir := f.TempDir()
	store, err := blobs.Open(dir, blobs.Options{MaxBlob: 1 << 16, MaxUploads: 8})
	if err != nil {
		f.Fatal(err)
	}
	defer store.Close()
	h := NewHandler(store, Options{Authorize: allow, Log: slog.New(slog.DiscardHandler)})
	f.Fuzz(func(t *testing.T, method, path, body, ranges string) {
		req, err := http.NewRequest(method, "http://h"+path, bytes.NewReader([]byte(body)))
		if err != nil {
			return
		}
		req.Header["Range"] = []string{ranges}
		req.Header["Content-Range"] = []string{ranges}
		rec := httptest.NewRecorder()
		h.ServeHTTP(rec, req)
		if rec.Code >= 500 && rec.Code != http.StatusInsufficientStorage {
			t.Errorf("%s %s answered %d %s", method, path, rec.Code, rec.Body)
		}
	})
}
