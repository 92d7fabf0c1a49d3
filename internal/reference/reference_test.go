package reference

import (
	_ "crypto/sha512" // an algorithm counts for Docker where it is linked
	"strings"
	"testing"

	docker "github.com/distribution/reference"
	"pgregory.net/rapid"
)

// same compares an answer with Docker's own.
func same(t interface{ Errorf(string, ...any) }, s string) {
	got, err := Parse(s)
	want, wantErr := docker.ParseNormalizedNamed(s)
	if (err == nil) != (wantErr == nil) {
		t.Errorf("%q: got %+v, %v; Docker says %v, %v", s, got, err, want, wantErr)
		return
	}
	if err != nil {
		return
	}
	w := Reference{Domain: docker.Domain(want), Path: docker.Path(want)}
	if tagged, ok := want.(docker.Tagged); ok {
		w.Tag = tagged.Tag()
	}
	if digested, ok := want.(docker.Digested); ok {
		w.Digest = digested.Digest().String()
	}
	if got != w || got.Name() != want.Name() || got.Familiar() != docker.FamiliarName(want) {
		t.Errorf("%q: got %+v, %s, %s; Docker says %+v, %s, %s", s, got, got.Name(), got.Familiar(), w, want.Name(), docker.FamiliarName(want))
	}
}

var examples = []string{
	"", "a", "A", "mariadb:10.11", "a:", "a@", "a:b:c", "a@b@c", "/", "a/", "/a", "a//b", ".", "a.b", "a.b/c", "a..b/c", "a_b.c/d", "a__b.c/d", "a_b:1/c",
	"localhost/a", "localhost:5000/a:1", "LOCAL/a", "Local/A", "index.docker.io/a", "docker.io/a", "docker.io/library/a/b", "library/a", "docker.io:443/a",
	"[::1]/a", "[::1]:5000/a", "[]/a", "[::1/a", "[::1]5/a", "[g]/a", "a:/b", "a:b/c", "-a.b/c", "a-.b/c", "a.-b/c", "a.b./c", "a--b", "a---b/c",
	"a___b", "a_-b", "a.b..c", "a:.b", "a:-b", "a:_b", "a:B.c-d_e", "é", "a:é", "É/a", "a\xff/b", "a b", "a\n", "a:b\n", "a@sha256:12",
	"a@sha256:" + strings.Repeat("ab", 32), "a:1@sha256:" + strings.Repeat("ab", 32), "a@sha256:" + strings.Repeat("AB", 32), "a@SHA256:" + strings.Repeat("ab", 32),
	"a@sha384:" + strings.Repeat("ab", 48), "a@sha512:" + strings.Repeat("ab", 64), "a@sha512:" + strings.Repeat("ab", 32), "a@md5:" + strings.Repeat("ab", 16),
	"sha256:" + strings.Repeat("ab", 32), strings.Repeat("ab", 32), strings.Repeat("ab", 33), strings.Repeat("AB", 32), "a:" + strings.Repeat("b", 128), "a:" + strings.Repeat("b", 129),
	strings.Repeat("a", 247), strings.Repeat("a", 248), "h.x/" + strings.Repeat("a", 255), "h.x/" + strings.Repeat("a", 256), "a_b.c/" + strings.Repeat("a", 250),
}

func TestExamples(t *testing.T) {
	for _, s := range examples {
		same(t, s)
	}
}

// Names put together of what the grammar is about, so that many are names and most nearly.
func TestSameAsDocker(t *testing.T) {
	piece := rapid.SampledFrom([]string{"a", "b1", "A", "0", ".", "_", "__", "-", "--", "/", ":", "@", "[", "]", "::", "localhost", "docker.io", "index.docker.io",
		"library", "5000", "sha256:" + strings.Repeat("ab", 32), "sha512:" + strings.Repeat("0", 128), strings.Repeat("f", 64), "é", " "})
	rapid.Check(t, func(t *rapid.T) {
		same(t, strings.Join(rapid.SliceOfN(piece, 1, 9).Draw(t, "pieces"), ""))
	})
}

func FuzzParse(f *testing.F) {
	for _, s := range examples {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { same(t, s) })
}
