package compose

import (
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/manifest"
)

// later answers for variables as they are when a manifest is used: what its header says to export is set.
func later(text []byte) func(string) (string, bool) {
	return func(name string) (string, bool) { return "1", strings.Contains(string(text), "export "+name+"=") }
}

// valid fails when a manifest that was written is not one.
func valid(t interface{ Fatalf(string, ...any) }, dir string, text []byte) *argosyv1.AppSpec {
	spec, _, faults := manifest.Parse([]manifest.File{{Name: filepath.Join(dir, "argosy.yaml"), Data: text}},
		manifest.Options{LookupEnv: later(text), ReadFile: manifest.FilesBelow})
	if len(faults) > 0 {
		t.Fatalf("a manifest was written that is not valid:\n%v\n%s", faults.Err(), text)
	}
	return spec
}

// FuzzImport: whatever the file, there is a valid manifest or there are faults.
func FuzzImport(f *testing.F) {
	for _, p := range projects(f) {
		data, err := os.ReadFile(filepath.Join("testdata/projects", p.name, "compose.yaml"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data, true)
		f.Add(data, false)
	}
	for _, s := range hostile() {
		f.Add([]byte(s), true)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, data []byte, binds bool) {
		res := Import([]manifest.File{{Name: filepath.Join(dir, "compose.yaml"), Data: data}}, Options{Partial: true, BindsAsVolumes: binds})
		if res.Manifest == nil && len(res.Faults) == 0 {
			t.Fatal("there is neither a manifest nor a fault")
		}
		if res.Manifest != nil {
			valid(t, dir, res.Manifest)
		}
		for _, fault := range append(res.Faults, res.Notes...) {
			if strings.ContainsAny(fault.Message+fault.Hint, "\x1b\u202e") {
				t.Fatalf("a fault could steer a terminal: %q", fault.Message)
			}
		}
	})
}

// TestTextsAreCarriedOver: what Compose would give a container, the manifest gives it, whatever characters are in it.
func TestTextsAreCarriedOver(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.OneOf(rapid.StringOfN(rapid.RuneFrom([]rune(" \t\n:#-?&*!|>'\"%@`{}[],=~$\\abcN0.1eé\u202e\U0001F600")), 0, 12, -1),
			rapid.SampledFrom([]string{"true", "null", "~", "1_000", "0o7", ".5", "-1", "1e3", "2024-01-01", "<<", "a: b", "x #y", "- a", "--- x", "off", "0x1"}),
			rapid.StringN(0, 30, 60))
		// Characters that JSON may hold as they are, and YAML may not.
		clean := func(s string) bool {
			return strings.IndexFunc(s, func(c rune) bool { return c == 0 || c >= 0x7f && c < 0xa0 || c == 0xfeff || c >= 0xfffd && c <= 0xffff }) < 0
		}
		env := rapid.MapOfN(rapid.StringMatching(`[A-Za-z_][A-Za-z0-9_.-]{0,8}`), word.Filter(clean), 0, 6).Draw(t, "env")
		command := rapid.SliceOfN(word.Filter(clean), 1, 5).Draw(t, "command")
		content := word.Filter(clean).Draw(t, "content")
		escaped := map[string]string{}
		for k, v := range env {
			escaped[k] = literal(v)
		}
		words := make([]string, len(command))
		for i, w := range command {
			words[i] = literal(w)
		}
		// JSON is YAML, and its encoder is not ours.
		data, err := json.Marshal(map[string]any{"services": map[string]any{"a": map[string]any{
			"image": "a:1", "environment": escaped, "command": words, "configs": []string{"c"}}},
			"configs": map[string]any{"c": map[string]any{"content": literal(content)}}})
		if err != nil {
			t.Fatal(err)
		}
		res := Import([]manifest.File{{Name: filepath.Join(dir, "compose.yaml"), Data: data}}, Options{})
		if res.Manifest == nil {
			t.Fatalf("refused: %v\n%s", res.Faults.Err(), data)
		}
		spec := valid(t, dir, res.Manifest)
		c := spec.GetContainers()[0]
		if len(env) == 0 {
			env = nil
		}
		if diff := cmp.Diff(env, maps.Clone(c.GetEnvironment())); diff != "" {
			t.Fatalf("environment:\n%s\n%s", diff, res.Manifest)
		}
		if diff := cmp.Diff(command, c.GetCommand().GetArgs()); diff != "" {
			t.Fatalf("command:\n%s\n%s", diff, res.Manifest)
		}
		if content != string(spec.GetConfigs()["c"]) {
			t.Fatalf("config %q became %q\n%s", content, spec.GetConfigs()["c"], res.Manifest)
		}
	})
}

// TestServicesOfAnyKind: services with any keys and values become a valid manifest or faults with places.
func TestServicesOfAnyKind(t *testing.T) {
	dir := t.TempDir()
	values := map[string][]any{
		"command":      {"a b", []any{"x"}, "a > b", ""},
		"cap_add":      {[]any{"NET_ADMIN"}, []any{"NET_RAW", "SYS_TIME", "CHOWN"}},
		"ports":        {[]any{"80:80"}, []any{"80", "81:81/udp"}, []any{map[string]any{"target": 80, "published": "8080"}}, []any{"9000/sctp"}},
		"volumes":      {[]any{"v:/v"}, []any{"v:/v", "w:/w:ro"}, []any{"/x:/x"}, []any{"/anon"}, []any{"/var/run/docker.sock:/s"}},
		"deploy":       {map[string]any{"replicas": 3}, map[string]any{"mode": "global"}, map[string]any{"resources": map[string]any{"limits": map[string]any{"memory": "1m"}}}, map[string]any{"replicas": 0}},
		"depends_on":   {[]any{"s0"}, map[string]any{"s1": map[string]any{"condition": "service_healthy"}}, map[string]any{"s0": map[string]any{"condition": "service_completed_successfully"}}},
		"restart":      {"no", "always", "on-failure:3"},
		"healthcheck":  {map[string]any{"test": "x", "interval": "1s"}, map[string]any{"disable": true}, map[string]any{"test": []any{"NONE"}}, map[string]any{"test": []any{"CMD"}}},
		"network_mode": {"host", "bridge", "service:s0"}, "privileged": {true, false}, "sysctls": {map[string]any{"kernel.x": 1}, []any{"net.a=1"}},
		"mem_limit": {"1k", "64m"}, "memswap_limit": {"1g"}, "shm_size": {"64m"}, "user": {"a b", "1000"}, "working_dir": {"rel", "/abs"},
		"hostname": {"a_b", "ok", "-bad"}, "stop_signal": {"SIGTERM", "NOPE"}, "stop_grace_period": {"10s", "9000h"}, "platform": {"windows/amd64", "linux/arm64"},
		"extra_hosts": {[]any{"a:1.2.3.4"}, []any{"a:nowhere"}}, "dns": {"1.1.1.1", "ns"}, "expose": {[]any{"80"}, []any{"80", "80/tcp"}}, "tmpfs": {"/t", []any{"/t:noexec"}},
		"secrets": {[]any{"sec"}}, "configs": {[]any{"cfg"}, []any{map[string]any{"source": "cfg", "target": "/c", "mode": "0400"}}},
		"labels": {map[string]any{"argosy.x": "y"}, []any{"a=b"}}, "container_name": {"c1", "c_2"}, "links": {[]any{"s0:db"}}, "ulimits": {map[string]any{"nofile": 10}, map[string]any{"what": 1}},
		"oom_score_adj": {-5, 5}, "pids_limit": {10, -1}, "security_opt": {[]any{"seccomp:unconfined", "no-new-privileges"}}, "logging": {map[string]any{"driver": "gelf"}, map[string]any{"options": map[string]any{"max-size": "big"}}},
		"entrypoint": {"a", []any{}}, "environment": {map[string]any{"A": nil, "argosy": 1}, []any{"B", "C=$$d"}}, "cpus": {0.5, "0.001"}, "group_add": {[]any{"x", 7}}, "init": {true}, "build": {".", map[string]any{"context": "x"}},
		"volumes_from": {[]any{"s0"}, []any{"container:x"}}, "annotations": {map[string]any{"a": "b"}}, "pull_policy": {"build", "always"}, "domainname": {"a..b"}, "dns_search": {"x y"},
	}
	keys := sorted(values)
	rapid.Check(t, func(t *rapid.T) {
		services := map[string]any{}
		names := rapid.SliceOfNDistinct(rapid.SampledFrom([]string{"s0", "s1", "s2", "S_3", "9", "main"}), 1, 4, rapid.ID[string]).Draw(t, "names")
		for _, name := range append(names, "s0", "s1") {
			svc := map[string]any{"image": rapid.SampledFrom([]string{"a:1", "Bad:Image:Ref", "x/y@sha256:1", "${I:-b:2}"}).Draw(t, "image")}
			for _, k := range rapid.SliceOfNDistinct(rapid.SampledFrom(keys), 0, 6, rapid.ID[string]).Draw(t, "keys") {
				svc[k] = rapid.SampledFrom(values[k]).Draw(t, k)
			}
			services[name] = svc
		}
		data, err := json.Marshal(map[string]any{"services": services, "volumes": map[string]any{"v": nil, "w": map[string]any{"driver_opts": map[string]any{"size": "x"}}},
			"secrets": map[string]any{"sec": map[string]any{"file": "./s"}}, "configs": map[string]any{"cfg": map[string]any{"content": "x"}}})
		if err != nil {
			t.Fatal(err)
		}
		in := []manifest.File{{Name: filepath.Join(dir, "compose.yaml"), Data: data}}
		stacks := rapid.SampledFrom([]Stacks{StacksAuto, StacksEach, StacksOne}).Draw(t, "stacks")
		res := Import(in, Options{Partial: true, Stacks: stacks})
		if res.Manifest == nil && len(res.Faults) == 0 {
			t.Fatalf("there is neither a manifest nor a fault:\n%s", data)
		}
		for _, f := range res.Faults {
			if f.Line == 0 {
				t.Fatalf("a fault has no place: %s\n%s", f, data)
			}
		}
		strict := Import(in, Options{Stacks: stacks})
		if (strict.Manifest == nil) != (len(strict.Faults) > 0) {
			t.Fatalf("%d faults and a manifest of %d bytes:\n%s", len(strict.Faults), len(strict.Manifest), data)
		}
		if res.Manifest != nil {
			valid(t, dir, res.Manifest)
		}
	})
}
