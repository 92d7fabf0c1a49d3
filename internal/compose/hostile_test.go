package compose

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

// hostile are files that mean harm, or nothing.
func hostile() []string {
	bomb := "x0: &a0 [x, x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i < 9; i++ {
		bomb += fmt.Sprintf("x%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 10), ", "))
	}
	chain := "services:\n  s0: {image: a}\n"
	for i := 1; i < 3000; i++ {
		chain += fmt.Sprintf("  s%d: {extends: s%d}\n", i, i-1)
	}
	return []string{
		"", "x", "[]", "services: []", "services: {a: []}", "services: {a: null}", "services:\n", "{}", "\x00", "services: {a: {image: 1}}",
		"services: {a: {image: x, ports: [{}]}}", "services: {a: {image: x, volumes: [{}]}}", "services: {a: {image: x, ulimits: {a: {soft: x}}}}",
		"services: {a: {image: x, extends: a}}", "services: {a: {extends: b}, b: {extends: a}}", "services: {a: {extends: {file: x}}}",
		"services: {a: {extends: {service: [x], file: {}}}}", "include: x", "include: [{}]", "include: [{path: [[x]]}]", "include: {a: b}",
		"services: &s {a: *s}", "services: {a: &a {image: x, environment: *a}}", "a: &a [*a]\nservices: {x: {image: y}}",
		"<<: [x]\nservices: {a: {image: b}}", "services: {a: {<<: {<<: {image: x}}}}", "services: {a: !reset {image: x}}", "services: !override {a: {image: x}}",
		"services: {a: {image: x, command: !!binary aGk=}}", "services: {a: {image: \"${A:-${B:-${C}}}\"}}", "services: {a: {image: \"${\"}}", "services: {a: {image: \"$5\"}}",
		"services: {a: {image: x, healthcheck: {test: []}}}", "services: {a: {image: x, deploy: {replicas: 99999999999999999999}}}", "services: {a: {image: x, deploy: {replicas: -1}}}",
		"services: {a: {image: x, scale: 1000000}}", "services: {a: {image: x, ports: [\"1-65535:1-65535\", \"1-65535:1-65535/udp\"]}}",
		"name: \"\\x1b[31m\"\nservices: {a: {image: x}}", "services: {\"a\\x1b[31m\": {image: x, privileged: true}}", "services: {a: {image: x, \"\\x1bkey\": 1}}",
		"services: {a: {image: x, volumes_from: [a]}}", "services: {a: {image: x, links: [\"a:b:c\"]}}", "services: {a: {image: x, depends_on: [a]}}",
		"services: {a: {image: x, configs: [{source: c}]}}\nconfigs: {c: {external: true}}", "services: {a: {image: x}}\n---\nservices: {b: {image: y}}",
		bomb + "services: {a: {image: x, command: *a8}}", chain, "services: {a: {image: x, environment: {" + strings.Repeat("A: b, ", 5) + "}}}",
		"services:" + strings.Repeat(" {a:", 200) + " x" + strings.Repeat("}", 200), "services: {a: {image: x, command: \"" + strings.Repeat("${A:-", 100) + strings.Repeat("}", 100) + "\"}}",
		"jobs: {a: {image: x}}", "models: {a: {model: x}}\nservices: {a: {image: x, models: [a]}}", "services: {a: {provider: {type: x}}}",
		"services: {a: {image: x, tmpfs: {}}}", "services: {a: {image: x, env_file: [{path: [x]}]}}", "services: {a: {image: x, env_file: ../../etc/passwd}}",
	}
}

func TestHostileFiles(t *testing.T) {
	dir := t.TempDir()
	for i, text := range hostile() {
		res := Import([]manifest.File{{Name: filepath.Join(dir, "compose.yaml"), Data: []byte(text)}}, Options{Partial: true})
		if res.Manifest == nil && len(res.Faults) == 0 {
			t.Errorf("%d: there is neither a manifest nor a fault:\n%.200s", i, text)
		}
		if res.Manifest != nil {
			valid(t, dir, res.Manifest)
		}
	}
}

// tree writes files into a directory of the test.
func tree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// Nothing outside of the directory is read, nothing is waited for, and nothing is fetched.
func TestNothingElseIsRead(t *testing.T) {
	const secret = "services: {leak: {image: \"secret:1\"}}"
	dir := tree(t, map[string]string{"outside.yaml": secret, "in/compose.yaml": "", "in/sub/x.yaml": secret})
	in := filepath.Join(dir, "in")
	if err := os.Symlink(filepath.Join(dir, "outside.yaml"), filepath.Join(in, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(dir, filepath.Join(in, "linked")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(filepath.Join(in, "pipe.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, what := range []string{"../outside.yaml", filepath.Join(dir, "outside.yaml"), "link.yaml", "linked/outside.yaml", "pipe.yaml", "sub", "absent.yaml",
		"https://example.org/c.yaml", "git@example.org:a/b.git", "oci://example.org/a:1", "github.com/a/b", "${X}.yaml", "sub/../../outside.yaml"} {
		for _, text := range []string{
			fmt.Sprintf("include: [%q]\nservices: {a: {image: x}}", what),
			fmt.Sprintf("include: [{path: [sub/x.yaml, %q]}]\nservices: {a: {image: x}}", what),
			fmt.Sprintf("services: {a: {image: x, extends: {file: %q, service: leak}}}", what),
		} {
			res := Import([]manifest.File{{Name: filepath.Join(in, "compose.yaml"), Data: []byte(text)}}, Options{Partial: true})
			if len(res.Faults) != 1 || res.Manifest != nil || !strings.HasSuffix(res.Faults[0].File, "compose.yaml") || res.Faults[0].Line == 0 {
				t.Errorf("%s: want one fault with its place, not %v\n%s", text, res.Faults, res.Manifest)
			}
		}
	}
	// A file of the host that is mounted is not read either when it is outside.
	text := "services: {a: {image: x, volumes: [\"../outside.yaml:/a:ro\", \"./link.yaml:/b:ro\", \"./pipe.yaml:/c:ro\", \"./linked:/d:ro\"]}}"
	res := Import([]manifest.File{{Name: filepath.Join(in, "compose.yaml"), Data: []byte(text)}}, Options{Partial: true})
	if strings.Contains(string(res.Manifest), "configs:") || len(res.Notes) != 4 {
		t.Errorf("four mounts should be refused: %v\n%s", res.Notes, res.Manifest)
	}
}

// Includes that go round end, and so do many of one file.
func TestIncludesEnd(t *testing.T) {
	many := "include:\n"
	for range 50 {
		many += "  - b.yaml\n  - c.yaml\n"
	}
	dir := tree(t, map[string]string{"b.yaml": many, "c.yaml": many, "self.yaml": "include: [self.yaml]\nservices: {a: {image: x}}"})
	for name, text := range map[string]string{"compose.yaml": many + "services: {a: {image: x}}", "self.yaml": "include: [self.yaml]\nservices: {a: {image: x}}"} {
		res := Import([]manifest.File{{Name: filepath.Join(dir, name), Data: []byte(text)}}, Options{})
		if len(res.Faults) != 1 || !strings.Contains(res.Faults[0].Message, "cycle") {
			t.Errorf("%s: want one fault about a circle, not %v", name, res.Faults)
		}
	}
}

// A value of the environment or of .env that looks like a secret is written nowhere.
func TestSecretsAreNotWritten(t *testing.T) {
	const value = "s3cr3t-value"
	dir := tree(t, map[string]string{".env": "FILE_TOKEN=" + value + "\nPLAIN=seen\n"})
	text := `
x-e: &e {A: "${FILE_TOKEN}", B: "x-${ENV_PASSWORD}-y", C: "${ENV_PASSWORD:-d}", D: "$PLAIN"}
services:
  map: {image: "a:${PLAIN}", environment: {<<: *e, FILE_TOKEN: , ENV_PASSWORD: }, command: "run --token ${FILE_TOKEN}", labels: {t: "${ENV_PASSWORD}"}}
  list: {image: a, environment: [FILE_TOKEN, ENV_PASSWORD, "Z=${FILE_TOKEN}"], command: [run, "${ENV_PASSWORD}"], healthcheck: {test: "x ${FILE_TOKEN}"}}
  ext: {extends: list, environment: {Y: "${ENV_PASSWORD}"}}
  vol: {image: a, volumes: ["./${ENV_PASSWORD}:/x"]}
secrets: {s: {environment: ENV_PASSWORD}}
configs: {c: {environment: ENV_PASSWORD}, d: {content: "${FILE_TOKEN}"}}
`
	lookup := func(name string) (string, bool) { return value, name == "ENV_PASSWORD" }
	res := Import([]manifest.File{{Name: filepath.Join(dir, "compose.yaml"), Data: []byte(text)}}, Options{Partial: true, LookupEnv: lookup})
	if res.Manifest == nil {
		t.Fatal(res.Faults.Err())
	}
	written := string(res.Manifest)
	if n := strings.Count(written, value); n > 0 {
		t.Errorf("the secret is written %d times:\n%s", n, written)
	}
	if !strings.Contains(written, "a:${PLAIN-seen}") {
		t.Errorf("what is no secret has no default:\n%s", written)
	}
}
