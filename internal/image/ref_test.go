package image

import (
	"strings"
	"testing"
)

func TestParseRef(t *testing.T) {
	d := "@sha256:" + strings.Repeat("ab", 32)
	for _, c := range []struct{ in, full, name, familiar string }{
		{"mariadb", "docker.io/library/mariadb:latest", "mariadb", "mariadb:latest"},
		{"mariadb:10.11", "docker.io/library/mariadb:10.11", "mariadb", "mariadb:10.11"},
		{"docker.io/library/mariadb:10.11", "docker.io/library/mariadb:10.11", "mariadb", "mariadb:10.11"},
		{"team/app:1", "docker.io/team/app:1", "team/app", "team/app:1"},
		{"ghcr.io/team/app", "ghcr.io/team/app:latest", "ghcr.io/team/app", "ghcr.io/team/app:latest"},
		{"localhost:5000/app:1", "localhost:5000/app:1", "localhost__5000/app", "localhost:5000/app:1"},
		{"app" + d, "docker.io/library/app" + d, "app", "app" + d},
		{"app:1" + d, "docker.io/library/app:1" + d, "app", "app:1" + d},
		{"my__app", "docker.io/library/my__app:latest", "my__app", "my__app:latest"},
	} {
		r, err := ParseRef(c.in)
		if err != nil || r.String() != c.full || r.Name != c.name || r.Familiar() != c.familiar {
			t.Errorf("%s: %s, name %s, familiar %s, %v", c.in, r, r.Name, r.Familiar(), err)
		}
	}
	for _, bad := range []string{"", "A", "a:", "a@sha256:12", "a@sha512:" + strings.Repeat("ab", 64), "-a", "a b", "../a", "a/../b",
		strings.Repeat("a", 600), strings.Repeat("a", 201), "localhost__5000/app", "sha256:" + strings.Repeat("ab", 32)} {
		r, err := ParseRef(bad)
		if bad == "sha256:"+strings.Repeat("ab", 32) {
			continue // Docker reads this as the tag ab… of an image called sha256, and so must we
		}
		if err == nil {
			t.Errorf("%q was taken as %s", bad, r)
		}
	}
}

// Two references that mean different repositories never get one name in the store, and every name is safe as a path.
func FuzzParseRef(f *testing.F) {
	f.Add("localhost:5000/app", "localhost__5000/app")
	f.Add("mariadb", "docker.io/library/mariadb")
	f.Add("a.b:1/c", "a.b__1/c")
	f.Fuzz(func(t *testing.T, x, y string) {
		a, err := ParseRef(x)
		if err != nil {
			return
		}
		if err := ValidName(a.Name); err != nil || strings.Contains(a.Name, "..") || strings.HasPrefix(a.Name, "/") {
			t.Errorf("%q has the name %q: %v", x, a.Name, err)
		}
		if again, err := ParseRef(a.String()); err != nil || again != a {
			t.Errorf("%q became %+v, which becomes %+v, %v", x, a, again, err)
		}
		if again, err := ParseRef(a.Familiar()); err != nil || again != a {
			t.Errorf("%q is familiarly %s, which becomes %+v, %v", x, a.Familiar(), again, err)
		}
		b, err := ParseRef(y)
		if err == nil && a.Name == b.Name && !strings.EqualFold(a.Repository, b.Repository) {
			t.Errorf("%s and %s share the name %s", a.Repository, b.Repository, a.Name)
		}
	})
}

func TestManifests(t *testing.T) {
	d := string(Sum(nil))
	config := `"config":{"mediaType":"` + TypeOCIConfig + `","digest":"` + d + `","size":2}`
	for _, c := range []struct{ raw, media, says string }{
		{`{"schemaVersion":2,` + config + `,"layers":[]}`, "", ""},
		{`{"schemaVersion":2,` + config + `,"layers":[]}`, TypeOCIManifest, ""},
		{`{"schemaVersion":2,"manifests":[]}`, "", ""},
		{`{"schemaVersion":2,` + config + `}`, TypeDockerManifest, "was sent as"},
		{`{"schemaVersion":2,` + config + `,"manifests":[{"digest":"` + d + `","size":1}]}`, "", "no manifests"},
		{`{"schemaVersion":1}`, "", "schema version"},
		{`{"schemaVersion":2,"mediaType":"x"}`, "", "not understood"},
		{`[]`, "", "not understood"},
		{`{"schemaVersion":2,"mediaType":"` + TypeOCIManifest + `"}`, "", "needs a config"},
		{`{"schemaVersion":2,` + strings.Replace(config, ":2}", ":-2}", 1) + `}`, "", "size"},
		{`{"schemaVersion":2,` + strings.Replace(config, ":2}", `:2,"urls":["http://evil"]}`, 1) + `}`, "", "elsewhere"},
		{`{"schemaVersion":2,` + strings.Replace(config, "sha256", "sha999", 1) + `}`, "", "not a digest"},
		{`{"schemaVersion":2,` + strings.Replace(config, TypeOCIConfig, "application/x-helm", 1) + `}`, "", "not a container image"},
		{`{"schemaVersion":2,` + config + `,"layers":[` + strings.Repeat(`{},`, MaxLayers) + `{}]}`, "", "layers"},
		{strings.Repeat(" ", MaxManifest) + "{}", "", "too large"},
		{strings.Repeat("[", 100_000), "", "not understood"},
	} {
		_, err := ParseManifest([]byte(c.raw), c.media)
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%.100s as %q: %v; want %q", c.raw, c.media, err, c.says)
		}
	}
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"schemaVersion":2,"config":{"mediaType":"`+TypeOCIConfig+`","digest":"`+string(Sum(nil))+`","size":2},"layers":[{}]}`), []byte(`{"rootfs":{"type":"layers","diff_ids":[]}}`))
	f.Fuzz(func(t *testing.T, raw, config []byte) {
		m, err := ParseManifest(raw, "")
		if err != nil {
			return
		}
		for _, d := range append(m.Blobs(), m.Manifests...) {
			if _, err := ParseDigest(string(d.Digest)); err != nil || d.Size < 0 {
				t.Errorf("%q was taken with %+v", raw, d)
			}
		}
		if c, err := ParseConfig(config); err == nil {
			_ = c.Describes(m)
		}
	})
}
