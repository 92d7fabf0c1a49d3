package docker

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// evil is an Engine that answers whatever a test says.
func evil(t *testing.T, answer func(w http.ResponseWriter, path string)) *Engine {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "docker.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, "/_ping"):
			w.Header().Set("Api-Version", "1.41")
		case strings.HasSuffix(r.URL.Path, "/info"):
			fmt.Fprint(w, `{"ServerVersion":"20.10","NCPU":2,"OSType":"linux"}`)
		default:
			answer(w, r.URL.Path)
		}
	})}
	go func() { _ = srv.Serve(l) }()
	e, err := Open(t.Context(), Config{Host: "unix://" + socket, ClusterID: "c1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		e.Close()
		srv.Close()
	})
	return e
}

func TestHostileAnswers(t *testing.T) {
	deep := strings.Repeat("[", 1<<20)
	for _, body := range []string{
		"", "null", "{}", "[]", "[null]", `[{"Id":"../../etc"}]`, `{"Id":"a","State":null,"Config":{"Labels":{"argosy.cluster":"c1"}}}`,
		`{"Id":"a","State":{},"Config":{"Labels":{"argosy.cluster":"c1"}}}`,
		`{"Id":"a","State":{"Status":"running","StartedAt":"yesterday"},"Config":{"Labels":{"argosy.cluster":"c1","argosy.tenant":"t","argosy.app":"a","argosy.stack":"s","argosy.member":"m","argosy.number":"99999999999","argosy.incarnation":"1"}}}`,
		`{"Id":"a","State":{"Status":"running"},"Config":{"Labels":{"argosy.cluster":"c1","argosy.tenant":"t\n","argosy.app":"a","argosy.stack":"s","argosy.member":"m","argosy.number":"1","argosy.incarnation":"1"}}}`,
		`{"Id":"a","NetworkSettings":{"Networks":{"x":{"IPAddress":"not an address"}}}}`,
		`"` + strings.Repeat("x", 1<<20) + `"`, deep, "{\"Id\":", "\x00\xff\xfe", `[{"Id":"aa","Labels":{"argosy.cluster":"other"}}]`,
	} {
		e := evil(t, func(w http.ResponseWriter, _ string) { _, _ = io.WriteString(w, body) })
		name := body[:min(len(body), 60)]
		if list, err := e.Glance(t.Context()); err == nil && len(list) > 0 {
			t.Errorf("%q is taken for containers: %v", name, list)
		}
		if c, err := e.Look(t.Context(), "aa"); err == nil && c.ContainerID != "" {
			t.Errorf("%q is taken for a container of ours: %+v", name, c)
		}
		spec := &argosyv1.ContainerSpec{Name: "x", Image: "x"}
		a := &argosyv1.Assignment{Key: &argosyv1.ReplicaKey{Tenant: "t", App: "a", Stack: "s", Number: 1}}
		if id, err := e.Create(t.Context(), Creation{Assignment: a, Spec: spec, Definition: "d"}); err == nil && id != "a" {
			t.Errorf("%q is taken for a created container: %q", name, id)
		}
		_, _, _ = e.HaveImage(t.Context(), a, spec)
		_, _ = e.PullImage(t.Context(), a, spec, nil)
		_ = e.Logs(t.Context(), "aa", LogOptions{}, func(LogLine) error { return nil })
		_ = e.RemoveVolumes(t.Context(), core.KeyOf(a.GetKey()))
		if s, err := e.Stat(t.Context(), "aa", "/x"); err == nil {
			t.Errorf("%q is taken for a file: %+v", name, s)
		}
		if s, tar, err := e.ReadFiles(t.Context(), "aa", "/x"); err == nil {
			_ = tar.Close()
			t.Errorf("%q is taken for a file: %+v", name, s)
		}
		_ = e.EnsureVolumes(t.Context(), a, &argosyv1.ContainerSpec{Mounts: []*argosyv1.Mount{{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: "v", Target: "/v"}}})
	}
}

// A volume that is elsewhere is never replaced by an empty one of this machine, whoever assigned it.
func TestSharedVolumesAreNotMadeUpHere(t *testing.T) {
	asked := false
	e := evil(t, func(http.ResponseWriter, string) { asked = true })
	for _, v := range []*argosyv1.VolumeSpec{
		{Class: argosyv1.VolumeClass_VOLUME_CLASS_TIMED, Mount: &argosyv1.MountSource{Type: "nfs", Source: "s:/x"}},
		{Class: argosyv1.VolumeClass_VOLUME_CLASS_TIMED_DETECTED, Device: &argosyv1.DeviceSource{Device: "LABEL=x"}},
		{Device: &argosyv1.DeviceSource{Device: "LABEL=x"}}, {Class: argosyv1.VolumeClass_VOLUME_CLASS_TIMED}, {Class: 99},
	} {
		v.Name = "data"
		a := &argosyv1.Assignment{Key: &argosyv1.ReplicaKey{Tenant: "t", App: "a", Stack: "s", Number: 1}, Stack: &argosyv1.StackSpec{Volumes: []*argosyv1.VolumeSpec{v}}}
		spec := &argosyv1.ContainerSpec{Image: "x", Mounts: []*argosyv1.Mount{{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: "data", Target: "/data"}}}
		if err := e.EnsureVolumes(t.Context(), a, spec); err != nil || asked {
			t.Errorf("%v: %v, the Engine was asked: %t", v, err, asked)
		}
		if _, err := e.Create(t.Context(), Creation{Assignment: a, Spec: spec}); !isKind(err, core.FaultRefused) || asked {
			t.Errorf("%v: %v, the Engine was asked: %t", v, err, asked)
		}
	}
}

func TestEndlessAnswerIsCutOff(t *testing.T) {
	e := evil(t, func(w http.ResponseWriter, _ string) {
		chunk := bytes.Repeat([]byte(" "), 1<<20)
		for {
			if _, err := w.Write(chunk); err != nil {
				return
			}
		}
	})
	if _, err := e.Glance(t.Context()); err == nil || !strings.Contains(err.Error(), "longer than 16 MiB") {
		t.Errorf("an endless listing: %v", err)
	}
}

func TestHangingEngineIsGivenUp(t *testing.T) {
	e := evil(t, func(w http.ResponseWriter, _ string) { <-t.Context().Done() })
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := e.Glance(ctx)
	if err == nil || !strings.Contains(err.Error(), "did not answer in time") {
		t.Errorf("a hanging engine: %v", err)
	}
}

func TestPullFaults(t *testing.T) {
	for text, want := range map[string]struct {
		kind    core.FaultKind
		message string
	}{
		"manifest for x:1 not found: manifest unknown":                                    {core.FaultRefused, "does not exist where it was looked for"},
		"pull access denied for x, repository does not exist or may require docker login": {core.FaultRefused, "wants other credentials, or it does not exist"},
		"Head https://r/v2/x: unauthorized":                                               {core.FaultRefused, "wants other credentials"},
		"dial tcp 127.0.0.1:1: connect: connection refused":                               {core.FaultOther, "its registry does not answer"},
		"dial tcp: lookup registry on 1.1.1.1:53: no such host":                           {core.FaultOther, "its registry does not answer"},
		"write /var/lib/docker/tmp/x: no space left on device":                            {core.FaultOther, "no space left on this machine's disk"},
		"no matching manifest for linux/arm64 in the manifest list entries":               {core.FaultRefused, "not made for this machine's kind of processor"},
		"something else\x00\n\x1b[31m entirely":                                           {core.FaultOther, "could not be pulled: something else [31m entirely"},
	} {
		err := pullFault("x:1", errors.New("Error response from daemon: "+text))
		var f *core.Fault
		if !errors.As(err, &f) || f.Kind != want.kind || !strings.Contains(f.Message, want.message) || !strings.Contains(f.Message, "x:1") {
			t.Errorf("%s → %d %q", text, f.Kind, f.Message)
		}
	}
}

func TestStartFaults(t *testing.T) {
	for text, want := range map[string]struct {
		kind    core.FaultKind
		message string
	}{
		"driver failed programming external connectivity on endpoint x: Bind for 0.0.0.0:80 failed: port is already allocated":                                 {core.FaultOther, "port 80 of this machine is already in use"},
		"driver failed programming external connectivity on endpoint x: Error starting userland proxy: listen tcp4 0.0.0.0:8080: bind: address already in use": {core.FaultOther, "port 8080 of this machine is already in use"},
		"network 1234 not found": {core.FaultBroken, "network 1234 not found"},
		`OCI runtime create failed: exec: "/no": stat /no: no such file or directory: unknown`: {core.FaultOther, "its command cannot be run"},
	} {
		var f *core.Fault
		if !errors.As(fault("start", errors.New(text)), &f) || f.Kind != want.kind || !strings.Contains(f.Message, want.message) {
			t.Errorf("%s → %d %q", text, f.Kind, f.Message)
		}
	}
}

func TestPullTellsProgress(t *testing.T) {
	e := evil(t, func(w http.ResponseWriter, path string) {
		if strings.HasSuffix(path, "/images/create") {
			fmt.Fprintln(w, `{"status":"Pulling from x","id":"1"}`)
			fmt.Fprintln(w, `{"status":"Pulling fs layer","id":"aaa"}`)
			fmt.Fprintln(w, `{"status":"Downloading","id":"aaa","progressDetail":{"current":1048576,"total":4194304}}`)
			for i := range 10000 {
				fmt.Fprintf(w, "{\"status\":\"Downloading\",\"id\":\"l%d\",\"progressDetail\":{\"current\":1,\"total\":2}}\n", i)
			}
			fmt.Fprintln(w, `{"errorDetail":{"message":"manifest unknown"},"error":"manifest unknown"}`)
			return
		}
		http.Error(w, `{"message":"No such image"}`, http.StatusNotFound)
	})
	var notes []string
	a := &argosyv1.Assignment{Key: &argosyv1.ReplicaKey{Tenant: "t"}}
	_, err := e.PullImage(t.Context(), a, &argosyv1.ContainerSpec{Image: "x"}, func(s string) { notes = append(notes, s) })
	if !isKind(err, core.FaultRefused) {
		t.Errorf("the pull ends with %v", err)
	}
	if len(notes) == 0 || !strings.Contains(notes[0], "image x") {
		t.Errorf("progress: %q", notes)
	}
}

func TestProgressIsBounded(t *testing.T) {
	p := progress{image: "x", layers: map[string]layer{}}
	for i := range 100000 {
		p.take(fmt.Sprint(i), "Pulling fs layer", nil)
	}
	if len(p.layers) > maxLayers {
		t.Errorf("%d layers are remembered", len(p.layers))
	}
}

func frame(which byte, text string) []byte {
	b := make([]byte, 8, 8+len(text))
	b[0] = which
	binary.BigEndian.PutUint32(b[4:], uint32(len(text)))
	return append(b, text...)
}

func TestLogLines(t *testing.T) {
	const at = "2026-01-02T03:04:05.000000006Z "
	var in bytes.Buffer
	in.Write(frame(1, at+"first\n"))
	in.Write(frame(2, at+"to standard error\n"))
	in.Write(frame(1, at+"a long one that the engine split, "))
	in.Write(frame(2, at+"another between\n"))
	in.Write(frame(1, at+"goes on\n"))
	in.Write(frame(1, at+strings.Repeat("x", MaxLine+10)+"\n"))
	in.Write(frame(1, "no time at all\n"))
	in.Write(frame(1, at+"without an end"))
	var got []string
	d := demuxer{each: func(l LogLine) error {
		got = append(got, fmt.Sprintf("%v %v %d %.40s", l.Stderr, !l.At.IsZero(), len(l.Text), l.Text))
		return nil
	}}
	if err := d.frames(&in); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"false true 5 first", "true true 17 to standard error", "true true 15 another between", "false true 41 a long one that the engine split, goes o",
		"false true 65536 " + strings.Repeat("x", 40), "false true 10 xxxxxxxxxx", "false false 14 no time at all", "false true 14 without an end",
	}
	for i := range max(len(got), len(want)) {
		if i >= len(got) || i >= len(want) || got[i] != want[i] {
			t.Fatalf("lines:\n%s\nwant:\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
}

func FuzzLogs(f *testing.F) {
	f.Add(frame(1, "2026-01-02T03:04:05Z x\n"), false)
	f.Add([]byte("2026-01-02T03:04:05Z x\r\n"), true)
	f.Add([]byte{3, 0, 0, 0, 255, 255, 255, 255}, false)
	f.Fuzz(func(t *testing.T, in []byte, raw bool) {
		total := 0
		d := demuxer{each: func(l LogLine) error {
			if len(l.Text) > MaxLine {
				t.Fatalf("a line of %d bytes", len(l.Text))
			}
			total += len(l.Text)
			return nil
		}}
		if raw {
			_ = d.raw(bytes.NewReader(in))
		} else {
			_ = d.frames(bytes.NewReader(in))
		}
		if total > len(in) {
			t.Fatalf("%d bytes came out of %d", total, len(in))
		}
	})
}
