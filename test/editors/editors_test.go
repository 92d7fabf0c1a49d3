//go:build editors

// Package editors has real editors try `argosy lsp` and the schema: `make editors`.
package editors

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// try lets a program edit a faulty manifest, and gives back what it says that it saw.
func try(t *testing.T, name string, args ...string) string {
	t.Helper()
	argosy, err := filepath.Abs("../../bin/argosy")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	manifest, err := os.ReadFile("testdata/shop.yaml")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := exec.Command(argosy, "schema").Output()
	if err != nil {
		t.Fatalf("%v: make build first", err)
	}
	for file, data := range map[string][]byte{"shop.yaml": manifest, "argosy.schema.json": schema} {
		if err := os.WriteFile(filepath.Join(dir, file), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "ARGOSY="+argosy, "HOME="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", name, err, out)
	}
	return string(out)
}

func expect(t *testing.T, got string, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if !strings.Contains(got, line) {
			t.Errorf("%q was not seen in\n%s", line, got)
		}
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	abs, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return abs
}

// TestNeovim needs nvim.
func TestNeovim(t *testing.T) {
	got := try(t, "nvim", "--headless", "-u", "NONE", "-c", "luafile "+absolute(t, "testdata/neovim.lua"))
	expect(t, got,
		`fault 5:5-9 unknown key "imge" in container web | did you mean "image"?`,
		`fault 6:18-27 pull_policy cannot be "sometimes"`,
		`fault 7:5-15 "privileged" is not honoured in container web`,
		`fault 11:18-21 there is no container "wbe" | did you mean "web"?`,
		"hover **pull_policy**", "offered if_not_present", "offered stop_grace_period",
		`left 9:18-21 there is no container "wbe"`)
	if strings.Contains(got, "left 5:5") {
		t.Errorf("a fault that was mended is still shown:\n%s", got)
	}
}

// TestYAMLLanguageServer needs node, and yaml-language-server where npm puts it: `npm install --prefix DIR
// yaml-language-server`, and DIR in YAML_LANGUAGE_SERVER.
func TestYAMLLanguageServer(t *testing.T) {
	if os.Getenv("YAML_LANGUAGE_SERVER") == "" {
		t.Fatal("YAML_LANGUAGE_SERVER does not say where yaml-language-server was installed: npm install --prefix DIR yaml-language-server")
	}
	got := try(t, "node", absolute(t, "testdata/yaml-language-server.js"))
	expect(t, got,
		"fault 6:5 Property imge is not allowed.",
		`fault 7:18 Value is not accepted. Valid values: "always", "if_not_present", "missing", "never".`,
		"fault 8:5 privileged is not honoured: it gives the container the whole machine",
		"hover", "When a machine fetches the image", "offered missing", "offered stop_grace_period")
	if strings.Contains(got, "offered build") {
		t.Errorf("a key that is not honoured is offered:\n%s", got)
	}
}
