package image_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"testing/iotest"
	"time"

	"github.com/moby/moby/client"

	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/blobs"
	"github.com/argosy-cluster/argosy/internal/image/load"
	"github.com/argosy-cluster/argosy/internal/image/registry"
	"github.com/argosy-cluster/argosy/internal/image/relay"
	"github.com/argosy-cluster/argosy/internal/image/testimage"
)

// These tests run real images through real Docker Engine.

func engine(t *testing.T) *client.Client {
	t.Helper()
	docker, err := client.New(client.FromEnv)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = docker.Close() })
	if _, err := docker.Ping(t.Context(), client.PingOptions{}); err != nil {
		t.Fatalf("this test needs Docker Engine, and none answers: start Docker (systemctl start docker) and run it again: %v", err)
	}
	return docker
}

func quiet(t *testing.T) *slog.Logger {
	return slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelInfo}))
}

// node is a server: a store behind TLS.
type node struct {
	store *blobs.Store
	*httptest.Server
}

func newNode(t *testing.T) *node {
	t.Helper()
	store, err := blobs.Open(t.TempDir(), blobs.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	h := registry.NewHandler(store, registry.Options{
		Authorize: func(_ *http.Request, tenant string, _ registry.Action) error {
			if tenant != "default" {
				return fmt.Errorf("tenant %s is not yours", tenant)
			}
			return nil
		},
		Log: quiet(t),
	})
	n := &node{store: store, Server: httptest.NewUnstartedServer(h)}
	n.EnableHTTP2 = true // as on the servers' port
	n.StartTLS()
	t.Cleanup(n.Close)
	return n
}

func (n *node) client() *registry.Client { return registry.NewClient(n.URL, n.Client()) }

// machine runs a relay to servers and returns it with its port.
func machine(t *testing.T, rt http.RoundTripper, servers ...string) (*relay.Relay, int) {
	t.Helper()
	r := relay.New(relay.Options{Servers: func() []string { return servers }, Transport: rt, Log: quiet(t)})
	l, err := relay.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return r, relay.Port(l)
}

// unique makes an image that no other run of this test has, so that Docker cannot have it by chance. top is what its
// uppermost layer says.
func unique(t *testing.T, docker *client.Client, name, top string, filler int) string {
	t.Helper()
	spec, err := testimage.Default(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	salt := fmt.Sprintf("%s %d", t.Name(), time.Now().UnixNano())
	if filler > 0 {
		spec.Layers = append(spec.Layers, []testimage.File{{Path: "filler", Data: bytes.Repeat([]byte(salt), filler/len(salt))}})
	}
	spec.Layers = append(spec.Layers, []testimage.File{{Path: "top", Data: []byte(top + " " + salt)}})
	spec.Ref = name
	if err := testimage.Load(t.Context(), docker, spec); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { forget(docker, name) })
	return name
}

func forget(docker *client.Client, ref string) {
	_, _ = docker.ImageRemove(context.Background(), ref, client.ImageRemoveOptions{Force: true})
}

func pull(t *testing.T, docker *client.Client, ref, auth string) error {
	t.Helper()
	resp, err := docker.ImagePull(t.Context(), ref, client.ImagePullOptions{RegistryAuth: auth})
	if err != nil {
		return err
	}
	return resp.Wait(t.Context())
}

func run(t *testing.T, ref string, args ...string) string {
	t.Helper()
	all := append([]string{"run", "--rm", "--network", "none", "--label", "argosy-image-test", ref}, args...)
	out, err := exec.CommandContext(t.Context(), "docker", all...).CombinedOutput()
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(all, " "), err, out)
	}
	return string(out)
}

func TestRoundThroughDocker(t *testing.T) {
	docker := engine(t)
	n := newNode(t)
	name := unique(t, docker, "argosy-image-test/round:1", "one", 0)
	opts := load.Options{Client: n.client(), Tenant: "default"}

	first, err := load.Docker(t.Context(), docker, name, opts)
	if err != nil {
		t.Fatal(err)
	}
	if first.Layers != 3 || first.LayersSent != 3 || first.BytesSent < 6<<20 {
		t.Errorf("the first load sent %+v, want all 3 layers", first)
	}
	second, err := load.Docker(t.Context(), docker, name, opts)
	if err != nil {
		t.Fatal(err)
	}
	if !second.Unchanged || second.BytesSent != 0 || second.Digest != first.Digest {
		t.Errorf("the second load of the same image did %+v", second)
	}
	opts.As = "argosy-image-test/other:2"
	other, err := load.Docker(t.Context(), docker, name, opts)
	if err != nil {
		t.Fatal(err)
	}
	if other.BytesSent != 0 || other.LayersPresent != 3 || other.Digest != first.Digest {
		t.Errorf("the same image under another name did %+v, want nothing sent", other)
	}

	// The host's own copy goes, so that what runs below came through the relay.
	forget(docker, name)
	r, port := machine(t, n.Client().Transport, n.URL)
	ref := image.Local(port, "default", "argosy-image-test/round", first.Digest)
	t.Cleanup(func() { forget(docker, ref) })
	if err := pull(t, docker, ref, r.Auth()); err != nil {
		t.Fatal(err)
	}
	if _, err := docker.ImageInspect(t.Context(), ref); err != nil {
		t.Errorf("the pulled image is not found by the reference it was pulled by: %v", err)
	}
	if out := run(t, ref, "cat", "/top"); !strings.HasPrefix(out, "one ") {
		t.Errorf("the container said %q", out)
	}
}

func TestChangedTopLayerSendsOneLayer(t *testing.T) {
	docker := engine(t)
	n := newNode(t)
	opts := load.Options{Client: n.client(), Tenant: "default", As: "shop:1"}
	a := unique(t, docker, "argosy-image-test/top:a", "a", 0)
	if _, err := load.Docker(t.Context(), docker, a, opts); err != nil {
		t.Fatal(err)
	}
	b := unique(t, docker, "argosy-image-test/top:b", "b", 0)
	res, err := load.Docker(t.Context(), docker, b, opts)
	if err != nil {
		t.Fatal(err)
	}
	if res.LayersSent != 1 || res.LayersPresent != 2 || res.BytesSent > 64<<10 {
		t.Errorf("an image with a changed top layer sent %+v, want that layer only", res)
	}
}

func TestArchiveOfDockerSave(t *testing.T) {
	docker := engine(t)
	n := newNode(t)
	name := unique(t, docker, "argosy-image-test/saved:1", "saved", 0)
	saved, err := docker.ImageSave(t.Context(), []string{name})
	if err != nil {
		t.Fatal(err)
	}
	defer saved.Close()
	res, err := load.Archive(t.Context(), saved, "", load.Options{Client: n.client(), Tenant: "default"})
	if err != nil {
		t.Fatal(err)
	}
	again, err := load.Docker(t.Context(), docker, name, load.Options{Client: n.client(), Tenant: "default"})
	if err != nil {
		t.Fatal(err)
	}
	if res.Ref.Familiar() != name || !again.Unchanged || again.Digest != res.Digest {
		t.Errorf("from the archive: %+v; from Docker: %+v", res, again)
	}
}

// dying breaks every connection's answer to a blob after some bytes, as a server does that is killed.
type dying struct {
	http.Handler
	after int64
	died  atomic.Int32
}

func (d *dying) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet && strings.Contains(r.URL.Path, "/blobs/") {
		w = &shortWriter{ResponseWriter: w, left: d.after, died: &d.died}
	}
	d.Handler.ServeHTTP(w, r)
}

type shortWriter struct {
	http.ResponseWriter
	left int64
	died *atomic.Int32
}

func (s *shortWriter) Write(b []byte) (int, error) {
	if s.left -= int64(len(b)); s.left < 0 {
		s.died.Add(1)
		panic(http.ErrAbortHandler)
	}
	return s.ResponseWriter.Write(b)
}

func TestPullSurvivesServerThatDiesWithinABlob(t *testing.T) {
	docker := engine(t)
	n := newNode(t)
	sick := &dying{Handler: n.Config.Handler, after: 1 << 20}
	bad := httptest.NewUnstartedServer(sick)
	bad.EnableHTTP2 = true
	bad.StartTLS()
	t.Cleanup(bad.Close)
	name := unique(t, docker, "argosy-image-test/dying:1", "alive", 8<<20)
	res, err := load.Docker(t.Context(), docker, name, load.Options{Client: n.client(), Tenant: "default"})
	if err != nil {
		t.Fatal(err)
	}
	forget(docker, name)
	r, port := machine(t, n.Client().Transport, bad.URL, n.URL)
	ref := image.Local(port, "default", res.Ref.Name, res.Digest)
	t.Cleanup(func() { forget(docker, ref) })
	if err := pull(t, docker, ref, r.Auth()); err != nil {
		t.Fatal(err)
	}
	if sick.died.Load() == 0 {
		t.Fatal("the first server never died, so this showed nothing")
	}
	if out := run(t, ref, "cat", "/top"); !strings.HasPrefix(out, "alive ") {
		t.Errorf("the container said %q", out)
	}
}

// outage is a way to a server that is cut within the first blob that is asked for, and stays cut for a while.
type outage struct {
	next    http.RoundTripper
	lasts   int32 // requests
	blobs   atomic.Int32
	refused atomic.Int32
}

func (o *outage) RoundTrip(r *http.Request) (*http.Response, error) {
	if !strings.Contains(r.URL.Path, "/blobs/") {
		return o.next.RoundTrip(r)
	}
	n := o.blobs.Add(1)
	if n > 1 && n <= 1+o.lasts {
		o.refused.Add(1)
		return nil, errors.New("connection refused")
	}
	resp, err := o.next.RoundTrip(r)
	if err == nil && n == 1 {
		resp.Body = struct {
			io.Reader
			io.Closer
		}{io.MultiReader(io.LimitReader(resp.Body, 100), iotest.ErrReader(io.ErrUnexpectedEOF)), resp.Body}
	}
	return resp, err
}

// When no server goes on, Docker must notice and try again by itself (it waits 5 seconds before it does).
func TestPullSurvivesOutageOfTheOnlyServer(t *testing.T) {
	docker := engine(t)
	n := newNode(t)
	name := unique(t, docker, "argosy-image-test/outage:1", "back", 1<<20)
	res, err := load.Docker(t.Context(), docker, name, load.Options{Client: n.client(), Tenant: "default"})
	if err != nil {
		t.Fatal(err)
	}
	forget(docker, name)
	way := &outage{next: n.Client().Transport, lasts: 3}
	r, port := machine(t, way, n.URL)
	ref := image.Local(port, "default", res.Ref.Name, res.Digest)
	t.Cleanup(func() { forget(docker, ref) })
	if err := pull(t, docker, ref, r.Auth()); err != nil {
		t.Fatal(err)
	}
	if way.refused.Load() == 0 {
		t.Fatal("there was no outage, so this showed nothing")
	}
	if out := run(t, ref, "cat", "/top"); !strings.HasPrefix(out, "back ") {
		t.Errorf("the container said %q", out)
	}
}

func TestPullOfUnknownImageSaysSo(t *testing.T) {
	docker := engine(t)
	n := newNode(t)
	r, port := machine(t, n.Client().Transport, n.URL)
	nobody := image.Sum([]byte("x"))
	err := pull(t, docker, image.Local(port, "default", "nobody/sent", nobody), r.Auth())
	if err == nil || !strings.Contains(err.Error(), "argosy image load") {
		t.Errorf("an unknown image: %v", err)
	}
	err = pull(t, docker, image.Local(port, "others", "nobody/sent", nobody), r.Auth())
	if err == nil || !strings.Contains(err.Error(), "not yours") {
		t.Errorf("another tenant's image: %v", err)
	}
	err = pull(t, docker, image.Local(port, "default", "nobody/sent", nobody), "")
	if err == nil || !strings.Contains(err.Error(), "only the machine's agent") && !strings.Contains(err.Error(), "no basic auth") {
		t.Errorf("without the relay's password: %v", err)
	}
	r, port = machine(t, n.Client().Transport, "https://127.0.0.1:1")
	err = pull(t, docker, image.Local(port, "default", "nobody/sent", nobody), r.Auth())
	if err == nil || !strings.Contains(err.Error(), "no Argosy server answers") {
		t.Errorf("without a server: %v", err)
	}
}
