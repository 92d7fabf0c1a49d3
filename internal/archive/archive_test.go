package archive

import (
	"archive/tar"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestWhere(t *testing.T) {
	for _, c := range []struct {
		src   string
		is    What
		dst   string
		there What
		want  string // dir|name, or a part of the error
	}{
		{"a/f", File, "d", Directory, "d|f"},
		{"a/f", File, "d/", Directory, "d/|f"},
		{"a/f", File, "g", File, ".|g"},
		{"a/f", File, "g", Nothing, ".|g"},
		{"/a/f", File, "/x/g", Nothing, "/x|g"},
		{"a/f", File, "g/", Nothing, "there is no directory g/"},
		{"a/f", File, "g/.", Nothing, "there is no directory g/."},
		{"a/f", File, "g/", File, "g/ is no directory"},
		{"a/d", Directory, "e", Directory, "e|d"},
		{"a/d/", Directory, "e", Directory, "e|d"},
		{"a/d/.", Directory, "e", Directory, "e|."},
		{".", Directory, "e", Directory, "e|."},
		{"/", Directory, "e", Directory, "e|."},
		{"a/d", Directory, "e", Nothing, ".|e"},
		{"a/d/.", Directory, "x/e/", Nothing, "x|e"},
		{"a/d", Directory, "e", File, "e is no directory, and a/d is one"},
		{"..", Directory, "e", Directory, "no name"},
		{"a/d", Directory, "..", Directory, "..|d"},
		{"a/f", File, "x/..", Nothing, ".|."},
		{"a/f", File, "/", Directory, "/|f"},
		{"a/f", File, "../..", Nothing, "no name to copy to"},
	} {
		p, err := Where(c.src, c.is, c.dst, c.there)
		got := p.Dir + "|" + p.Name
		if err != nil {
			got = err.Error()
		}
		if !strings.Contains(got, c.want) || err == nil && got != c.want {
			t.Errorf("%s (%d) to %s (%d): %q, want %q", c.src, c.is, c.dst, c.there, got, c.want)
		}
	}
}

// listing shows everything below a directory: mode, path, and what is in it or where it leads.
func listing(t testing.TB, dir string) string {
	t.Helper()
	var lines []string
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, p)
		line := fmt.Sprintf("%s %s", info.Mode(), rel)
		switch {
		case info.Mode().IsRegular():
			b, err := os.ReadFile(p)
			if err != nil {
				return err
			}
			line += fmt.Sprintf(" %.20q", b)
		case info.Mode()&fs.ModeSymlink != 0:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			line += " → " + to
		}
		if rel != "." {
			lines = append(lines, line)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(lines, "\n")
}

// sample makes a directory with one of each.
func sample(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "sample")
	long := strings.Repeat("long", 50)
	for _, err := range []error{
		os.Mkdir(dir, 0o755), os.Mkdir(filepath.Join(dir, "sub"), 0o755), os.Mkdir(filepath.Join(dir, "empty"), 0o700),
		os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o640), os.WriteFile(filepath.Join(dir, "none"), nil, 0o600),
		os.WriteFile(filepath.Join(dir, "sub", long), bytes.Repeat([]byte("x"), 3*buffer+7), 0o755),
		os.Symlink("../../..", filepath.Join(dir, "sub", "out")), os.Symlink("/etc/passwd", filepath.Join(dir, "absolute")),
		os.Chmod(filepath.Join(dir, "sub"), 0o555), os.Chtimes(filepath.Join(dir, "file"), time.Time{}, time.Unix(1e9, 0)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func pack(t *testing.T, src, name string) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := Pack(&b, src, name, Options{}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestThereAndBack: what was packed comes out the same, under another name, into what is there, or as contents.
func TestThereAndBack(t *testing.T) {
	src := sample(t)
	want := listing(t, src)
	dst := t.TempDir()
	for range 2 { // the second time over what the first left
		sum, err := Unpack(bytes.NewReader(pack(t, src, "sample")), Place{dst, "other"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		if sum.Files != 5 || sum.Bytes != 3*buffer+7+4 {
			t.Errorf("it says that it moved %+v", sum)
		}
		if got := listing(t, filepath.Join(dst, "other")); got != want {
			t.Errorf("got\n%s\nwant\n%s", got, want)
		}
	}
	if info, err := os.Stat(filepath.Join(dst, "other", "file")); err != nil || !info.ModTime().Equal(time.Unix(1e9, 0)) {
		t.Errorf("the time of a file: %v, %v", info, err)
	}
	// As an Engine says it, with the directory first.
	contents := t.TempDir()
	if _, err := Unpack(bytes.NewReader(pack(t, src, "sample")), Place{contents, "."}, Options{}); err != nil {
		t.Fatal(err)
	}
	if got := listing(t, contents); got != want {
		t.Errorf("as contents:\n%s\nwant\n%s", got, want)
	}
	// One file, over another.
	one := filepath.Join(dst, "one")
	if err := os.WriteFile(one, []byte("what was there"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Unpack(bytes.NewReader(pack(t, filepath.Join(src, "file"), "file")), Place{dst, "one"}, Options{}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(one); err != nil || string(b) != "text" {
		t.Errorf("one file: %q, %v", b, err)
	}
}

func TestPackLeavesOutWhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	if err := syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	var warnings []string
	o := Options{Warn: func(s string) { warnings = append(warnings, s) }}
	if _, err := Pack(io.Discard, dir, "x", o); err != nil {
		t.Fatal(err)
	}
	if len(warnings) != 1 || !strings.Contains(warnings[0], `"pipe" is left out: it is a pipe`) {
		t.Errorf("warnings: %q", warnings)
	}
	if _, err := Pack(io.Discard, filepath.Join(dir, "pipe"), "x", o); err == nil || !strings.Contains(err.Error(), "no file, directory or symbolic link") {
		t.Errorf("a pipe alone: %v", err)
	}
	if _, err := Pack(io.Discard, filepath.Join(dir, "nothing"), "x", o); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("nothing: %v", err)
	}
}

// TestPackDoesNotChangeOwnersOfOthers: what is packed is root's unless owners are to be kept.
func TestPackOwners(t *testing.T) {
	file := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, keep := range []bool{false, true} {
		var b bytes.Buffer
		if _, err := Pack(&b, file, "f", Options{Owners: keep}); err != nil {
			t.Fatal(err)
		}
		h, err := tar.NewReader(&b).Next()
		want := 0
		if keep {
			want = os.Getuid()
		}
		if err != nil || h.Uid != want || h.Uname != "" {
			t.Errorf("owners kept: %v; got %+v, %v", keep, h, err)
		}
	}
}

// entries makes a tar.
func entries(t testing.TB, list ...tar.Header) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, h := range list {
		body := []byte(nil)
		if h.Typeflag == tar.TypeReg || h.Typeflag == 0 {
			h.Typeflag, body = tar.TypeReg, []byte("evil")
		}
		if h.Mode == 0 {
			h.Mode = 0o755
		}
		h.Size = int64(len(body))
		if err := w.WriteHeader(&h); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(body); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func dirEntry(name string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeDir} }

func linkEntry(name, to string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeSymlink, Linkname: to}
}

// victim makes a directory to unpack into, beside what nobody may touch.
func victim(t testing.TB) (dir, beside string) {
	t.Helper()
	top := t.TempDir()
	dir, beside = filepath.Join(top, "dir"), filepath.Join(top, "beside")
	for _, err := range []error{os.Mkdir(dir, 0o755), os.Mkdir(beside, 0o755), os.WriteFile(filepath.Join(beside, "mine"), []byte("mine"), 0o644)} {
		if err != nil {
			t.Fatal(err)
		}
	}
	return dir, beside
}

// TestHostileTars: whatever a tar says, nothing changes outside of the place, and what is refused is refused in words.
func TestHostileTars(t *testing.T) {
	hard := func(name, to string) tar.Header { return tar.Header{Name: name, Typeflag: tar.TypeLink, Linkname: to} }
	for name, c := range map[string]struct {
		tar  []byte
		says string // part of the error; empty when it is harmless
		left string // what is in the place then, when that matters
	}{
		"climbs":                     {entries(t, dirEntry("x"), tar.Header{Name: "x/../../beside/mine"}), "not below", ""},
		"is absolute":                {entries(t, dirEntry("x"), tar.Header{Name: "/etc/evil"}), "not below", ""},
		"lands beside":               {entries(t, dirEntry("x"), tar.Header{Name: "y"}), "not below", ""},
		"through a link out":         {entries(t, dirEntry("x"), linkEntry("x/l", "../../beside"), tar.Header{Name: "x/l/mine"}), "escapes", ""},
		"through a link to the side": {entries(t, dirEntry("x"), linkEntry("x/l", "../y"), tar.Header{Name: "x/l/mine"}), "escapes", ""},
		"through an absolute link":   {entries(t, dirEntry("x"), linkEntry("x/l", "/tmp"), tar.Header{Name: "x/l/evil"}), "escapes", ""},
		"writes to a link out":       {entries(t, dirEntry("x"), linkEntry("x/l", "../../beside/mine"), tar.Header{Name: "x/l"}), "", `-rwxr-xr-x l "evil"`},
		"a directory over a link":    {entries(t, dirEntry("x"), linkEntry("x/l", "../../beside"), dirEntry("x/l")), "a directory cannot replace it", ""},
		"a mode through a link":      {entries(t, dirEntry("x"), dirEntry("x/d"), linkEntry("x/d", "../../beside")), "nothing else can replace it", ""},
		"a hard link out":            {entries(t, dirEntry("x"), hard("x/h", "../beside/mine")), "not below", ""},
		"a hard link through one":    {entries(t, dirEntry("x"), linkEntry("x/l", "../../beside"), hard("x/h", "x/l/mine")), "escapes", ""},
		"a hard link to a link":      {entries(t, dirEntry("x"), linkEntry("x/l", "../../beside/mine"), hard("x/h", "x/l"), tar.Header{Name: "x/h"}), "", "-rwxr-xr-x h \"evil\"\nLrwxrwxrwx l → ../../beside/mine"},
		"a hard link":                {entries(t, dirEntry("x"), tar.Header{Name: "x/a"}, hard("x/h", "x/a"), hard("x/h", "x/a")), "", "-rwxr-xr-x a \"evil\"\n-rwxr-xr-x h \"evil\""},
		"devices":                    {entries(t, dirEntry("x"), tar.Header{Name: "x/d", Typeflag: tar.TypeBlock, Devmajor: 8}, tar.Header{Name: "x/p", Typeflag: tar.TypeFifo}), "", ""},
		"set-id":                     {entries(t, dirEntry("x"), tar.Header{Name: "x/s", Mode: 0o6755}), "", `-rwxr-xr-x s "evil"`},
		"two in one file's":          {entries(t, tar.Header{Name: "x"}, tar.Header{Name: ".bashrc"}), "more in it", ""},
		"a name with nothing":        {entries(t, dirEntry("x"), tar.Header{Name: "x//."}), "nothing else can replace it", ""},
		"a long name":                {entries(t, dirEntry("x"), tar.Header{Name: "x/" + strings.Repeat("y/", 3000) + "y"}), "no file can have", ""},
		"breaks off between files":   {entries(t, dirEntry("x"), tar.Header{Name: "x/a"})[:3*512], "breaks off", `-rwxr-xr-x a "evil"`},
		"breaks off in a file":       {entries(t, dirEntry("x"), tar.Header{Name: "x/a"})[:2*512+2], "unexpected EOF", "nothing"},
		"nothing":                    {nil, "breaks off", ""},
		"an empty one":               {entries(t), "empty", ""},
		"noise":                      {bytes.Repeat([]byte("noise"), 1000), "reading the archive", ""},
		"a link alone":               {entries(t, hard("x", "y")), "not below", ""},
	} {
		dir, beside := victim(t)
		var warnings []string
		_, err := Unpack(bytes.NewReader(c.tar), Place{dir, "it"}, Options{Warn: func(s string) { warnings = append(warnings, s) }})
		if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, want something about %q", name, err, c.says)
		}
		if got := listing(t, beside); got != `-rw-r--r-- mine "mine"` {
			t.Errorf("%s: beside the place there is now\n%s", name, got)
		}
		if got, _ := os.ReadDir(filepath.Dir(dir)); len(got) != 2 {
			t.Errorf("%s: there is something new beside the place: %v", name, got)
		}
		if entries, err := os.ReadDir(dir); err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != "it" {
			t.Errorf("%s: in the directory there is %v, %v", name, entries, err)
		}
		if name == "devices" && len(warnings) != 2 {
			t.Errorf("%s: warnings %q", name, warnings)
		}
		if c.left == "" {
			continue
		}
		if got := cmp.Or(listing(t, filepath.Join(dir, "it")), "nothing"); got != c.left {
			t.Errorf("%s: left\n%s\nwant\n%s", name, got, c.left)
		}
	}
}

// TestBrokenOffLeavesTheOldFile: what was there stays until its successor is complete.
func TestBrokenOffLeavesTheOldFile(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	whole := entries(t, tar.Header{Name: "f"})
	if _, err := Unpack(bytes.NewReader(whole[:514]), Place{dir, "f"}, Options{}); err == nil {
		t.Error("an archive that breaks off is taken")
	}
	if got := listing(t, dir); got != `-rw------- f "old"` {
		t.Errorf("left:\n%s", got)
	}
}

func TestSparseIsRefused(t *testing.T) {
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err := errors.Join(w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeDir, Mode: 0o755}),
		w.WriteHeader(&tar.Header{Name: "x/f", Typeflag: tar.TypeReg, Mode: 0o644, Size: 0}), w.Close())
	if err != nil {
		t.Fatal(err)
	}
	raw := slices.Clone(b.Bytes())
	h := raw[512:1024]
	h[156] = tar.TypeGNUSparse
	copy(h[257:], "ustar  \x00") // GNU's own format
	copy(h[386:], strings.Repeat("0", 95))
	copy(h[483:], "77777777777\x00") // eight gigabytes out of nothing
	copy(h[148:], "        ")
	sum := 0
	for _, c := range h {
		sum += int(c)
	}
	copy(h[148:], fmt.Sprintf("%06o\x00 ", sum))
	dir := t.TempDir()
	if _, err := Unpack(bytes.NewReader(raw), Place{dir, "x"}, Options{}); err == nil || !strings.Contains(err.Error(), "sparse") {
		t.Errorf("a sparse file: %v", err)
	}
}

// FuzzUnpack: whatever the bytes are, nothing changes outside of the place.
func FuzzUnpack(f *testing.F) {
	f.Add(entries(f, dirEntry("x"), linkEntry("x/l", "../../beside"), tar.Header{Name: "x/l/mine"}), "it")
	f.Add(entries(f, dirEntry("x"), dirEntry("x/d"), tar.Header{Name: "x/d/f"}, tar.Header{Name: "x/h", Typeflag: tar.TypeLink, Linkname: "x/d/f"}), ".")
	f.Add(entries(f, tar.Header{Name: "x"}), "it")
	f.Add([]byte("noise"), "it")
	f.Fuzz(func(t *testing.T, raw []byte, name string) {
		if name != "." {
			name = "it"
		}
		dir, beside := victim(t)
		_, _ = Unpack(bytes.NewReader(raw), Place{dir, name}, Options{Warn: func(string) {}})
		if got := listing(t, beside); got != `-rw-r--r-- mine "mine"` {
			t.Fatalf("beside the place there is now\n%s", got)
		}
		list, err := os.ReadDir(filepath.Dir(dir))
		if err != nil || len(list) != 2 {
			t.Fatalf("there is something new beside the place: %v, %v", list, err)
		}
		if list, err := os.ReadDir(dir); err != nil || name == "it" && len(list) > 1 {
			t.Fatalf("in the directory there is %v, %v", list, err)
		}
	})
}

func BenchmarkUnpack(b *testing.B) {
	var raw bytes.Buffer
	w := tar.NewWriter(&raw)
	body := make([]byte, 64<<20)
	if err := errors.Join(w.WriteHeader(&tar.Header{Name: "x", Typeflag: tar.TypeReg, Mode: 0o644, Size: int64(len(body))}), func() error { _, err := w.Write(body); return err }(), w.Close()); err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if _, err := Unpack(bytes.NewReader(raw.Bytes()), Place{dir, "x"}, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}
