package manifest

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v4"
)

// composeServiceKeys are the keys of a service in the Compose Specification, as of its version with jobs.
var composeServiceKeys = strings.Fields(`annotations attach blkio_config build cap_add cap_drop cgroup cgroup_parent command configs
	container_name cpu_count cpu_percent cpu_period cpu_quota cpu_rt_period cpu_rt_runtime cpu_shares cpus cpuset credential_spec
	depends_on deploy develop device_cgroup_rules devices dns dns_opt dns_search domainname entrypoint env_file environment expose
	extends external_links extra_hosts gpus group_add healthcheck hostname image init ipc isolation label_file labels links logging
	mac_address mem_limit mem_reservation mem_swappiness memswap_limit models network_mode networks oom_kill_disable oom_score_adj
	pid pids_limit platform ports post_start pre_start pre_stop privileged profiles provider pull_policy pull_refresh_after
	read_only restart runtime scale secrets security_opt shm_size stdin_open stop_grace_period stop_signal storage_opt sysctls
	tmpfs tty ulimits umask use_api_socket user userns_mode uts volumes volumes_from working_dir`)

func TestEveryComposeKeyIsHonouredOrRefused(t *testing.T) {
	table := tables().container
	for _, k := range composeServiceKeys {
		if _, ok := table.index[k]; !ok {
			t.Errorf("the Compose service key %s is in no table: honour it, or refuse it with a reason", k)
		}
	}
	if got, want := len(table.list), len(composeServiceKeys); got != want {
		t.Errorf("the table has %d keys and Compose %d: name the others here, or mark them as Argosy's own", got, want)
	}
	for _, k := range strings.Fields("version name include services networks volumes secrets configs models jobs") {
		if _, ok := tables().app.index[k]; !ok {
			t.Errorf("the Compose top-level key %s is in no table", k)
		}
	}
	for _, k := range strings.Fields("mode endpoint_mode replicas labels rollback_config update_config resources restart_policy placement") {
		if _, ok := deployTable().index[k]; !ok {
			t.Errorf("the Compose key deploy.%s is in no table", k)
		}
	}
}

// TestKeysAreDocumented: each key says what it is for and shows an example that the schema takes; a refused one says why
// and what to do.
func TestKeysAreDocumented(t *testing.T) {
	var walk func(path string, keys []keyDoc)
	walk = func(path string, keys []keyDoc) {
		for _, k := range keys {
			where := path + k.name
			if k.refused != "" {
				if k.instead == "" {
					t.Errorf("%s is refused and does not say what to do instead", where)
				}
				continue
			}
			if k.doc == "" || k.example == "" || k.word == "" {
				t.Errorf("%s lacks a description, an example or a word for its value", where)
				continue
			}
			checkExample(t, where, k)
			walk(where+".", k.keys)
		}
	}
	walk("", tables().app.docs())
}

func checkExample(t *testing.T, where string, k keyDoc) {
	var example map[string]any
	if err := yaml.Load([]byte(k.example), &example); err != nil {
		t.Errorf("the example of %s is not YAML: %v", where, err)
		return
	}
	if _, ok := example[k.name]; !ok || len(example) != 1 {
		t.Errorf("the example of %s is of another key: %s", where, k.example)
		return
	}
	text, err := json.Marshal(k.schema)
	if err != nil {
		t.Fatal(err)
	}
	if err := resolved(t, text).Validate(plainJSON(t, example[k.name])); err != nil {
		t.Errorf("the schema of %s does not take its example %q: %v", where, k.example, err)
	}
}

// resolved is a schema that the rules for schemas allow.
func resolved(t *testing.T, text []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("not a schema: %v\n%s", err, text)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("urn:test", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("urn:test")
	if err != nil {
		t.Fatalf("the schema does not resolve: %v", err)
	}
	return s
}

func plainJSON(t *testing.T, v any) any {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

// jsonOf is a manifest as an editor hands it to a schema: aliases followed, maps merged.
func jsonOf(r *reader, v value) any {
	switch {
	case v.isMap():
		out := map[string]any{}
		entries, _ := r.entries(v)
		for _, e := range entries {
			out[e.key.Value] = jsonOf(r, e.value)
		}
		return out
	case v.isList():
		out := []any{}
		items, _ := r.items(v)
		for _, item := range items {
			out = append(out, jsonOf(r, item))
		}
		return out
	}
	switch v.n.ShortTag() {
	case "!!int", "!!float", "!!bool", "!!null":
		var out any
		if err := v.n.Decode(&out); err == nil {
			text, _ := json.Marshal(out)
			_ = json.Unmarshal(text, &out)
			return out
		}
	}
	return v.n.Value
}

// TestSchemaAndParserAgree goes through the manifests of all transcripts. What the parser takes, the schema takes; what
// has a key that is unknown, not honoured or missing, or a value of the wrong kind, the schema refuses too.
func TestSchemaAndParserAgree(t *testing.T) {
	schema := resolved(t, Schema())
	taken, refused := 0, 0
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			if d.Cmd != "parse" {
				return d.Expected
			}
			files, options := caseOf(d)
			_, source, faults := Parse(files, options)
			var wrong error
			for _, f := range source.files {
				// Explicit tags have no JSON.
				if strings.Contains(f.text, "!") {
					return d.Expected
				}
				if err := schema.Validate(jsonOf(&reader{}, value{f: f, n: f.root})); err != nil {
					wrong = err
				}
			}
			switch {
			case len(faults) == 0 && wrong != nil:
				t.Errorf("%s: the parser takes this and the schema does not: %v", d.Pos, wrong)
			case wrong == nil && structural(faults) && len(source.files) == len(files):
				t.Errorf("%s: the parser refuses this and the schema takes it:\n%v", d.Pos, faults.Err())
			case wrong == nil:
				taken++
			default:
				refused++
			}
			return d.Expected
		})
	})
	t.Logf("%d manifests taken, %d refused", taken, refused)
	if taken < 20 || refused < 20 {
		t.Errorf("only %d manifests were taken and %d refused: this shows little", taken, refused)
	}
}

// structural is true when a fault is of a kind that a schema can find.
func structural(faults Faults) bool {
	for _, f := range faults {
		for _, part := range []string{"unknown key", " is not honoured in ", "must be a map", "must be a list", "must be true or false",
			"must be text", `has no "`, "is not a whole number", "is not a ulimit", "is not a duration", "is not a size", "is not a capability",
			"is not a signal", "does not begin with a small letter", "is not a restart policy", "is not a platform", ` cannot be "`} {
			if strings.Contains(f.Message, part) {
				return true
			}
		}
	}
	return false
}

func TestExamplesAreValid(t *testing.T) {
	schema := resolved(t, Schema())
	paths, err := filepath.Glob("../../examples/*/*.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, path := range append(paths, "testdata/lamp.yaml") {
		if filepath.Dir(path) == "../../examples/compose" {
			continue // Compose's own files, which internal/compose tries
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		_, source, faults := Parse([]File{{Name: path, Data: data}}, Options{ReadFile: FilesBelow})
		if err := faults.Err(); err != nil {
			t.Errorf("%v", err)
			continue
		}
		f := source.files[0]
		if err := schema.Validate(jsonOf(&reader{}, value{f: f, n: f.root})); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestReferenceExampleIsValid(t *testing.T) {
	_, _, faults := Parse([]File{{Name: "example.yaml", Data: []byte(referenceExample)}}, Options{})
	if err := faults.Err(); err != nil {
		t.Error(err)
	}
}

// TestDocsAreCurrent compares the generated docs with the tables; -rewrite brings them up to date.
func TestDocsAreCurrent(t *testing.T) {
	rewrite := flag.Lookup("rewrite").Value.String() == "true"
	for path, text := range map[string][]byte{"../../docs/manifest.md": Reference(), "../../docs/compose.md": ComposeReference()} {
		if rewrite {
			if err := os.WriteFile(path, text, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil || string(have) != string(text) {
			t.Errorf("%s is not what the tables say (%v): run go test ./internal/manifest -run Docs -rewrite", path, err)
		}
	}
}
