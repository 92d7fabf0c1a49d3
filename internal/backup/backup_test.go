package backup

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
)

var testHead = Head{ID: "b1", Cluster: "c1", Made: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Server: "s1", Release: "v1"}

// newTestKey is a key and the lock that it opens.
func newTestKey(t testing.TB) (Key, Lock) {
	t.Helper()
	file, public, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	key, err := ReadKey(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	return key, Lock{Recipients: []string{public}}
}

type content struct {
	name string
	text []byte
}

func write(t testing.TB, lock Lock, parts ...content) ([]byte, Summary) {
	t.Helper()
	var out bytes.Buffer
	w, err := NewWriter(&out, lock, testHead, Contents{Generation: 3, Revision: 17, Etcd: "3.7.3", History: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range parts {
		if err := w.Add(p.name, int64(len(p.text)), bytes.NewReader(p.text)); err != nil {
			t.Fatal(err)
		}
	}
	sum, err := w.Close()
	if err != nil {
		t.Fatal(err)
	}
	if sum.Size != int64(out.Len()) {
		t.Fatalf("the summary says %d bytes, and they are %d", sum.Size, out.Len())
	}
	return out.Bytes(), sum
}

func read(in io.Reader, key Key) ([]content, error) {
	r, err := Open(in, key)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	var out []content
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			if _, err := r.Next(); !errors.Is(err, io.EOF) {
				return nil, fmt.Errorf("after the end: %w", err)
			}
			return out, nil
		}
		if err != nil {
			return out, err
		}
		text, err := io.ReadAll(p.Body)
		if err != nil {
			return out, err
		}
		out = append(out, content{p.Name, text})
	}
}

func random(t testing.TB, n int) []byte {
	b := make([]byte, n)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	key, lock := newTestKey(t)
	parts := []content{{"keys", []byte("secret")}, {"store.db", random(t, 300_000)}, {"empty", []byte{}}, {"history/000001", bytes.Repeat([]byte("again "), 50_000)}}
	file, sum := write(t, lock, parts...)
	got, err := read(iotest.OneByteReader(bytes.NewReader(file)), key)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(parts, got, cmp.AllowUnexported(content{})); d != "" {
		t.Error(d)
	}
	if bytes.Contains(file, []byte("secret")) || len(file) > 320_000 {
		t.Errorf("it is not encrypted, or not compressed: %d bytes", len(file))
	}
	verified, err := Verify(bytes.NewReader(file), key)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(sum, verified); d != "" {
		t.Errorf("what was written and what is verified: %s", d)
	}
	head, n, err := Check(bytes.NewReader(file))
	if err != nil || n != int64(len(file)) || head.Cluster != "c1" || !head.Made.Equal(testHead.Made) {
		t.Errorf("checked: %+v, %d bytes, %v", head, n, err)
	}
}

// Whoever passes over parts is told of damage in them all the same.
func TestPartsMayBePassedOver(t *testing.T) {
	key, lock := newTestKey(t)
	file, _ := write(t, lock, content{"a", random(t, 100_000)}, content{"b", random(t, 100_000)})
	if _, err := Verify(bytes.NewReader(file), key); err != nil {
		t.Fatal(err)
	}
	file[len(file)/2] ^= 1
	if _, err := Verify(bytes.NewReader(file), key); !errors.Is(err, ErrDamaged) {
		t.Errorf("changed in the middle: %v", err)
	}
}

// Wherever a file is cut or a bit of it changes, that is found: with the key and, but for the last line, without.
func TestDamageIsFound(t *testing.T) {
	key, lock := newTestKey(t)
	file, _ := write(t, lock, content{"keys", []byte("secret")}, content{"store.db", random(t, 2000)})
	known := func(err error) bool {
		return errors.Is(err, ErrDamaged) || errors.Is(err, ErrNotBackup) || errors.Is(err, ErrNewer) || errors.Is(err, ErrWrongKey) || errors.Is(err, ErrNoKey)
	}
	for i := range file {
		if i > 40 && i < len(file)-10 && i%29 != 0 { // each place is like its neighbours
			continue
		}
		if _, err := read(bytes.NewReader(file[:i]), key); !known(err) {
			t.Fatalf("cut after %d of %d bytes: %v", i, len(file), err)
		}
		if _, _, err := Check(bytes.NewReader(file[:i])); !known(err) {
			t.Fatalf("cut after %d of %d bytes, without a key: %v", i, len(file), err)
		}
		changed := bytes.Clone(file)
		changed[i] ^= 4
		if _, err := read(bytes.NewReader(changed), key); !known(err) {
			t.Fatalf("changed at %d of %d bytes: %v", i, len(file), err)
		}
		if _, _, err := Check(bytes.NewReader(changed)); !known(err) {
			t.Fatalf("changed at %d of %d bytes, without a key: %v", i, len(file), err)
		}
	}
	for _, more := range []string{"\n", "x", string(file)} {
		if _, err := read(strings.NewReader(string(file)+more), key); !errors.Is(err, ErrDamaged) {
			t.Errorf("with %d bytes more: %v", len(more), err)
		}
		if _, _, err := Check(strings.NewReader(string(file) + more)); !errors.Is(err, ErrDamaged) {
			t.Errorf("with %d bytes more, without a key: %v", len(more), err)
		}
	}
}

func TestRefusals(t *testing.T) {
	key, lock := newTestKey(t)
	other, _ := newTestKey(t)
	file, _ := write(t, lock, content{"keys", []byte("secret")})
	cases := []struct {
		name string
		file string
		key  Key
		want error
		says string
	}{
		{"nothing", "", key, ErrNotBackup, ""},
		{"something else", "PK\x03\x04 and so on, for a while, without a line's end", key, ErrNotBackup, ""},
		{"the start of one", "argosy ba", key, ErrDamaged, "within its head"},
		{"a newer version", strings.Replace(string(file), "argosy backup 1", "argosy backup 2", 1), key, ErrNewer, "version 2"},
		{"no version", strings.Replace(string(file), "argosy backup 1", "argosy backup x", 1), key, ErrDamaged, "no version"},
		{"an endless head", "argosy backup 1\n{" + strings.Repeat(" ", 1<<20), key, ErrDamaged, "head"},
		{"another key", string(file), other, ErrWrongKey, lock.Recipients[0]},
		{"a passphrase", string(file), Passphrase([]byte("correct horse battery")), ErrWrongKey, "not with a passphrase"},
		{"no key", string(file), Key{}, ErrNoKey, lock.Recipients[0]},
		{"another head", strings.Replace(string(file), `"cluster":"c1"`, `"cluster":"c2"`, 1), key, ErrDamaged, "head was changed"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, err := read(strings.NewReader(c.file), c.key)
			if !errors.Is(err, c.want) || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want %v with %q", err, c.want, c.says)
			}
		})
	}
}

// What failed to be read is not called damaged: the file may be sound.
func TestTroubleOfTheDisk(t *testing.T) {
	key, lock := newTestKey(t)
	file, _ := write(t, lock, content{"store.db", random(t, 200_000)})
	broken := errors.New("the disk is broken")
	for _, n := range []int{0, 5, 200, 1000, 100_000, len(file)} {
		_, err := read(io.MultiReader(bytes.NewReader(file[:n]), iotest.ErrReader(broken)), key)
		if !errors.Is(err, broken) || errors.Is(err, ErrDamaged) {
			t.Errorf("after %d bytes: %v", n, err)
		}
	}
	w, err := NewWriter(io.Discard, lock, testHead, Contents{})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Add("store.db", 10, strings.NewReader("short")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("a part that is shorter than it was said to be: %v", err)
	}
}

func TestPassphrase(t *testing.T) {
	lock, err := ForPassphrase([]byte("correct horse battery"))
	if err != nil {
		t.Fatal(err)
	}
	file, _ := write(t, lock, content{"keys", []byte("secret")})
	got, err := read(bytes.NewReader(file), Passphrase([]byte("correct horse battery")))
	if err != nil || len(got) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := read(bytes.NewReader(file), Passphrase([]byte("correct horse bottery"))); !errors.Is(err, ErrWrongKey) {
		t.Errorf("with another passphrase: %v", err)
	}
	if _, err := read(bytes.NewReader(file), Key{}); !errors.Is(err, ErrNoKey) || !strings.Contains(err.Error(), "passphrase") {
		t.Errorf("without: %v", err)
	}
	if _, err := ForPassphrase([]byte("short")); err == nil {
		t.Error("a short passphrase was taken")
	}
}

func TestLocks(t *testing.T) {
	file, public, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	secret := strings.Split(strings.TrimSpace(string(file)), "\n")[1]
	cases := []struct {
		name string
		lock Lock
		says string // empty for a good one
	}{
		{"one key", Lock{Recipients: []string{public}}, ""},
		{"none", Lock{}, "always encrypted"},
		{"a secret key", Lock{Recipients: []string{secret}}, "secret key"},
		{"no key", Lock{Recipients: []string{"age1nonsense"}}, "not a public key"},
		{"a long text", Lock{Recipients: []string{strings.Repeat("a", 1000)}}, "62 characters"},
		{"many", Lock{Recipients: make([]string, 17)}, "at most 16"},
		{"a passphrase and two keys", Lock{Recipients: []string{public, public}, Locked: []byte("x")}, "not both"},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			err := c.lock.Check()
			if (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want %q", err, c.says)
			}
			if err != nil && strings.Contains(err.Error(), secret) {
				t.Error("the fault shows a secret")
			}
		})
	}
	if _, err := ReadKey(strings.NewReader("AGE-SECRET-KEY-1NONSENSE")); err == nil || strings.Contains(err.Error(), "NONSENSE") {
		t.Errorf("a key that is none: %v", err)
	}
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{"keys": true, "images/blobs/default/ab12": true, "": false, "/etc/passwd": false, "a/../b": false, "a//b": false,
		"..": false, "a\\b": false, "a b": false, "ü": false, strings.Repeat("a", 600): false} {
		if err := checkName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
	_, lock := newTestKey(t)
	w, err := NewWriter(io.Discard, lock, testHead, Contents{})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{endPart, contentsPart, "../x"} {
		if err := w.Add(name, 0, strings.NewReader("")); err == nil {
			t.Errorf("a part called %s was taken", name)
		}
	}
}

// FuzzOpen has anybody's bytes read as a backup: they may be refused, and nothing else. With sealed, what is fuzzed is what
// somebody encrypted who knows the public key.
func FuzzOpen(f *testing.F) {
	key, lock := newTestKey(f)
	file, _ := write(f, lock, content{"keys", []byte("secret")})
	f.Add(file, false)
	f.Add(file[:len(file)-10], false)
	f.Add([]byte("argosy backup 1\n{}\n"), false)
	f.Add([]byte("keys\x00 and a tar that is none"), true)
	f.Fuzz(func(t *testing.T, data []byte, sealed bool) {
		if sealed {
			data = seal(t, lock, data)
		}
		parts, err := read(bytes.NewReader(data), key)
		if err == nil && len(parts) > 0 && bytes.Equal(data, file) == false && !sealed {
			t.Fatalf("%d parts were read from a file that nobody wrote", len(parts))
		}
		_, _, _ = Check(bytes.NewReader(data))
	})
}
