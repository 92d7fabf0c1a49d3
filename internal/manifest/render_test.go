package manifest

import (
	"os"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// everything grants all that a manifest can ask for: what was granted once must be readable again.
var everything = Grants{HostPaths: []string{"/"}, Capabilities: []string{"ALL"}, DockerSocket: true, SecurityOpts: true, OOMProtection: true}

// sameAgain renders an app, parses that, and says how the two differ.
func sameAgain(spec *argosyv1.AppSpec) string {
	text, err := Render(spec)
	if err != nil {
		return "not rendered: " + err.Error()
	}
	again, _, faults := Parse([]File{{Name: "rendered.yaml", Data: text}}, Options{Grants: everything})
	if err := faults.Err(); err != nil {
		return err.Error() + "\n" + string(text)
	}
	if !proto.Equal(spec, again) {
		return "another app: " + strings.Join(Diff(spec, again), "\n") + "\n" + string(text)
	}
	return ""
}

// TestRenderedIsTheSame: every app of the transcripts, rendered and read again, is itself.
func TestRenderedIsTheSame(t *testing.T) {
	seen := 0
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd != "parse" {
				return d.Expected
			}
			files, options := caseOf(d)
			options.Grants = everything
			spec, _, _ := Parse(files, options)
			if spec == nil {
				return d.Expected
			}
			seen++
			if wrong := sameAgain(spec); wrong != "" {
				t.Errorf("%s: %s", d.Pos, wrong)
			}
			return d.Expected
		})
	})
	if seen < 30 {
		t.Errorf("only %d apps were rendered", seen)
	}
}

// TestRenderedTextIsTheSame: whatever characters a text has, it is read as it was.
func TestRenderedTextIsTheSame(t *testing.T) {
	lamp, err := os.ReadFile("testdata/lamp.yaml")
	if err != nil {
		t.Fatal(err)
	}
	base, _, faults := Parse([]File{{Name: "lamp.yaml", Data: lamp}}, Options{})
	if err := faults.Err(); err != nil {
		t.Fatal(err)
	}
	texts := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ -~\n\t]{0,40}`), rapid.SampledFrom([]string{"", " ", "<<", "~", "no", "1.10", "0x1f",
		"$A", "${A:?}", "a: b", "- a", "#", "a #b", "\r\n", "\u2028", "---\n", "...", "!!int 3", "&a", "*a", "@", "`", "%YAML", "a\n\n", "\na", "  a\nb", "2001-01-01", "1:20"}))
	rapid.Check(t, func(t *rapid.T) {
		spec := proto.CloneOf(base)
		c := spec.Containers[0]
		clean := func(label string) string { return strings.ReplaceAll(texts.Draw(t, label), "\x00", "") }
		c.Environment = map[string]string{"A": clean("value"), "k" + strings.ReplaceAll(clean("key"), "=", ""): "v"}
		c.Labels = map[string]string{"l" + clean("label"): clean("text")}
		c.Command = &argosyv1.Command{Args: []string{"c", clean("word")}}
		spec.Configs = map[string][]byte{"motd": []byte(clean("content"))}
		if wrong := sameAgain(spec); wrong != "" {
			t.Fatal(wrong)
		}
	})
}

// TestRenderedAppsAreTheSame: any app that the generator of manifests makes.
func TestRenderedAppsAreTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		if wrong := sameAgain(mustParse(t, File{Name: "a.yaml", Data: []byte(drawApp(t).text(t))})); wrong != "" {
			t.Fatal(wrong)
		}
	})
}

// A digest that the cluster found is told, and is no part of what was written.
func TestRenderTellsDigests(t *testing.T) {
	spec := &argosyv1.AppSpec{Name: "shop", Containers: []*argosyv1.ContainerSpec{{Name: "web", Image: "httpd:2.4", ImageDigest: "sha256:abc"}}}
	text, err := Render(spec)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(text), "image: httpd:2.4 # sha256:abc\n") {
		t.Errorf("%s", text)
	}
	spec.Configs = map[string][]byte{"logo": {0xff, 0xd8}}
	if _, err := Render(spec); err == nil || !strings.Contains(err.Error(), "config logo") {
		t.Errorf("bytes that are no text: %v", err)
	}
}
