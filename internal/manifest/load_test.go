package manifest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestFilesBelow(t *testing.T) {
	dir := t.TempDir()
	outside := filepath.Join(dir, "outside")
	home := filepath.Join(dir, "home")
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(filepath.Join(home, "conf"), 0o755))
	must(os.WriteFile(outside, []byte("secret"), 0o600))
	must(os.WriteFile(filepath.Join(home, "conf", "a"), []byte("four"), 0o600))
	must(os.Symlink(outside, filepath.Join(home, "leads-out")))
	must(os.Symlink("conf/a", filepath.Join(home, "stays")))
	must(syscall.Mkfifo(filepath.Join(home, "pipe"), 0o600))
	manifest := filepath.Join(home, "app.yaml")
	for _, c := range []struct {
		name string
		fine bool
	}{{"conf/a", true}, {"stays", true}, {"leads-out", false}, {"../outside", false}, {"pipe", false}, {"conf", false}, {"gone", false}} {
		data, err := FilesBelow(manifest, c.name, 4)
		if (err == nil) != c.fine || (c.fine && string(data) != "four") {
			t.Errorf("%s: %q, %v", c.name, data, err)
		}
		if err != nil && strings.Contains(err.Error(), dir) {
			t.Errorf("%s: the error names the path once more: %v", c.name, err)
		}
	}
	if _, err := FilesBelow(manifest, "conf/a", 3); err == nil {
		t.Error("a file larger than the limit was read")
	}
}

func TestReadFiles(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	if err := os.WriteFile(path, []byte("a"), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := ReadFiles([]string{path, "-"}, strings.NewReader("b"))
	if err != nil || len(files) != 2 || string(files[0].Data) != "a" || string(files[1].Data) != "b" || files[1].Name != Stdin {
		t.Errorf("%v, %v", files, err)
	}
	if _, err := ReadFiles([]string{filepath.Join(dir, "gone")}, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := ReadFiles([]string{dir}, nil); err == nil {
		t.Error("a directory was read")
	}
	if _, err := ReadFiles([]string{"-"}, bytes.NewReader(make([]byte, MaxFileSize+1))); err == nil {
		t.Error("a manifest larger than the limit was read")
	}
}

// TestManyFaults: what is shown is bounded, and says what is not shown.
func TestManyFaults(t *testing.T) {
	var b strings.Builder
	b.WriteString("argosy: v1\napp: shop\n")
	for i := range 5000 {
		fmt.Fprintf(&b, "key%d: 1\n", i)
	}
	_, _, faults := Parse([]File{{Name: "a.yaml", Data: []byte(b.String())}}, Options{})
	if len(faults) != MaxFaults+1 {
		t.Fatalf("%d faults", len(faults))
	}
	if last := faults[MaxFaults]; last.Line != 0 || last.Message != "and 4900 more" {
		t.Errorf("the last is %+v", last)
	}
	if faults[0].Line != 3 || faults[99].Line != 102 {
		t.Errorf("from line %d to %d", faults[0].Line, faults[99].Line)
	}
	var out bytes.Buffer
	if err := faults.WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var back Faults
	if err := json.Unmarshal(out.Bytes(), &back); err != nil || len(back) != len(faults) {
		t.Errorf("the JSON has %d faults: %v", len(back), err)
	}
}

func TestSourceFault(t *testing.T) {
	_, source, _ := Parse([]File{{Name: "a.yaml", Data: []byte("argosy: v1\napp: shop\n")},
		{Name: "b.yaml", Data: []byte("argosy: v1\ncontainers:\n  web:\n    image: httpd\n")}}, Options{})
	for _, c := range []struct {
		path string
		want string
	}{
		{"containers web image", "b.yaml:4:5: x"}, {"containers web ports", "b.yaml:3:3: x"}, {"app", "a.yaml:2:1: x"}, {"stacks", "a.yaml: x"},
	} {
		if got := source.Fault("x", strings.Fields(c.path)...).String(); got != c.want {
			t.Errorf("%s: %s, want %s", c.path, got, c.want)
		}
	}
}

func TestNearest(t *testing.T) {
	names := tables().container.names
	for word, want := range map[string]string{"imgae": "image", "Image": "image", "enviroment": "environment", "port": "ports", "depend_on": "depends_on",
		"memlimit": "mem_limit", "heathcheck": "healthcheck", "frobnicate": "", "x": "", "": "", strings.Repeat("a", 100): "", "entry_point": "entrypoint"} {
		if got := nearest(word, names); got != want {
			t.Errorf("%q is near to %q, want %q", word, got, want)
		}
	}
}

func TestSplitWords(t *testing.T) {
	for text, want := range map[string]string{
		``: ``, `  `: ``, `a b`: `a|b`, `a  'b c'`: `a|b c`, `a"b c"d`: `ab cd`, `\"a`: `"a`, `'\'`: `\`, `"\n\""`: `n"`, "a\tb\nc": `a|b|c`, `a ""`: `a|`,
		`"a;b"`: `a;b`, `a\;b`: `a;b`,
	} {
		words, _, err := splitWords(text)
		if got := strings.Join(words, "|"); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for text, offset := range map[string]int{`a |b`: 2, `"a`: 0, `a 'b`: 2, `a\`: 1, `a && b`: 2, `$(b)`: 1} {
		if words, at, err := splitWords(text); err == nil || at != offset {
			t.Errorf("%q: %q, %d, %v", text, words, at, err)
		}
	}
}
