package target

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/johannesboyne/gofakes3"
	"github.com/johannesboyne/gofakes3/backend/s3mem"
)

// TestTargets: every kind of target does the same.
func TestTargets(t *testing.T) {
	for _, kind := range []struct {
		name string
		open func(t *testing.T) (Target, func(name string) []byte)
	}{
		{"a directory", func(t *testing.T) (Target, func(string) []byte) {
			path := t.TempDir()
			d, err := Open(path, Credential{})
			if err != nil {
				t.Fatal(err)
			}
			return d, func(name string) []byte {
				b, err := os.ReadFile(filepath.Join(path, name))
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
		}},
		{"s3", func(t *testing.T) (Target, func(string) []byte) {
			backend := s3mem.New()
			if err := backend.CreateBucket("safe"); err != nil {
				t.Fatal(err)
			}
			srv := httptest.NewTLSServer(gofakes3.New(backend).Server())
			t.Cleanup(srv.Close)
			b, err := parseBucket("s3://safe/of/shop?region=eu&endpoint=" + srv.URL)
			if err != nil {
				t.Fatal(err)
			}
			s, err := openS3(b, Credential{"id", "key"}, srv.Client().Transport)
			if err != nil {
				t.Fatal(err)
			}
			return s, func(name string) []byte {
				o, err := backend.GetObject("safe", "of/shop/"+name, nil)
				if err != nil {
					t.Fatal(err)
				}
				b, err := io.ReadAll(o.Contents)
				if err != nil {
					t.Fatal(err)
				}
				return b
			}
		}},
	} {
		t.Run(kind.name, func(t *testing.T) {
			target, read := kind.open(t)
			names := func() (out []string) {
				t.Helper()
				files, err := target.List(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, f := range files {
					out = append(out, f.Name)
				}
				slices.Sort(out)
				return out
			}
			big := make([]byte, partSize+12345) // two parts
			r := rand.NewChaCha8([32]byte{1})
			_, _ = r.Read(big) // documented never to fail
			put := func(name string, data []byte) {
				t.Helper()
				if err := target.Put(t.Context(), name, func(w io.Writer) error { _, err := w.Write(data); return err }); err != nil {
					t.Fatal(err)
				}
				if !bytes.Equal(read(name), data) {
					t.Errorf("%s is not what was put", name)
				}
			}
			put("a.backup", []byte("one"))
			put("b.backup", big)
			put("a.backup", []byte("another"))
			in, size, err := target.Get(t.Context(), "b.backup")
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(in); err != nil || int64(len(got)) != size || !bytes.Equal(got, big) {
				t.Errorf("what is fetched is not what was put: %d of %d bytes, %v", len(got), size, err)
			}
			if err := in.Close(); err != nil {
				t.Error(err)
			}
			if _, _, err := target.Get(t.Context(), "absent"); err == nil {
				t.Error("a file that is not there is fetched")
			}
			// What fails half way leaves nothing, and what was there stays.
			broken := errors.New("the store went away")
			for _, data := range [][]byte{[]byte("half"), big} {
				err := target.Put(t.Context(), "a.backup", func(w io.Writer) error {
					if _, err := w.Write(data); err != nil {
						return err
					}
					return broken
				})
				if !errors.Is(err, broken) {
					t.Errorf("a file that could not be made whole: %v", err)
				}
			}
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if err := target.Put(ctx, "c.backup", func(w io.Writer) error { _, err := w.Write(big); return err }); err == nil {
				t.Error("a file is put though nobody wants it any more")
			}
			if got := names(); !slices.Equal(got, []string{"a.backup", "b.backup"}) || string(read("a.backup")) != "another" {
				t.Errorf("there are %q", got)
			}
			for range 2 {
				if err := target.Remove(t.Context(), "a.backup"); err != nil {
					t.Error(err)
				}
			}
			if got := names(); !slices.Equal(got, []string{"b.backup"}) {
				t.Errorf("there are %q", got)
			}
		})
	}
}

func TestMissing(t *testing.T) {
	d, err := Open(filepath.Join(t.TempDir(), "absent"), Credential{})
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Put(t.Context(), "a", func(io.Writer) error { return nil }); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	srv := httptest.NewServer(gofakes3.New(s3mem.New()).Server())
	defer srv.Close()
	s, err := Open("s3://absent?endpoint="+srv.URL, Credential{"id", "very secret"})
	if err != nil {
		t.Fatal(err)
	}
	err = s.Put(t.Context(), "a", func(w io.Writer) error { _, err := w.Write([]byte("x")); return err })
	if err == nil || !strings.Contains(err.Error(), "absent") || strings.Contains(err.Error(), "very secret") {
		t.Errorf("a bucket that is not there: %v", err)
	}
}

func TestSplit(t *testing.T) {
	for file, want := range map[string][2]string{
		"s3://b/p/q/f.backup?endpoint=https://h": {"s3://b/p/q?endpoint=https://h", "f.backup"},
		"s3://b/f":                               {"s3://b", "f"},
		"s3://b":                                 {},
		"s3://b/p/":                              {},
		"f":                                      {"", "f"}, // Open refuses it
		"":                                       {},
	} {
		to, name, err := Split(file)
		if got := [2]string{to, name}; got != want && err == nil || (err == nil) != (want[1] != "") {
			t.Errorf("%q is %q, %v; want %q", file, got, err, want)
		}
	}
}

func TestCheck(t *testing.T) {
	for to, ok := range map[string]bool{
		"/var/backups": true, "/": true, "var/backups": false, "": false, "/var/../etc": false, "/a\nb": false,
		"s3://bucket": true, "s3://bucket/a/b?region=eu-1&endpoint=https://s3.example:9000": true,
		"s3://": false, "s3://u:p@bucket": false, "s3://bucket?endpoint=s3.example": false, "s3://bucket?endpoint=https://u:p@h": false,
		"s3://bucket?key=x": false, "s3:bucket": false, "https://x": false, "s3://bucket?region=a&region=b": false,
	} {
		if err := Check(to); (err == nil) != ok {
			t.Errorf("%q: %v", to, err)
		}
	}
	for text, ok := range map[string]bool{"id:key": true, "id:key\n": true, "id:": false, ":key": false, "id": false, "a:b:c": true} {
		if _, err := ParseCredential(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func FuzzCheck(f *testing.F) {
	f.Add("s3://bucket/a?endpoint=https://h")
	f.Fuzz(func(t *testing.T, to string) {
		if Check(to) != nil {
			return
		}
		if _, err := Open(to, Credential{"id", "key"}); err != nil && !IsS3(to) {
			t.Errorf("%q: %v", to, err)
		}
	})
}
