package manifest

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
)

// TestExamplesParse puts the example of each key where it belongs, with the examples of what is required beside it, and
// parses that: nothing may be wrong but what refers to something that the example leaves out.
func TestExamplesParse(t *testing.T) {
	tried := 0
	// around makes a manifest of the entries of the map that has these keys.
	var walk func(path string, keys []keyDoc, around func(entries string) string)
	walk = func(path string, keys []keyDoc, around func(string) string) {
		for _, k := range keys {
			if k.refused != "" {
				continue
			}
			text := around(withRequired(k.name, k.example, keys))
			_, _, faults := Parse([]File{{Name: "example.yaml", Data: []byte(text)}}, Options{LookupEnv: func(string) (string, bool) { return "x", true }})
			for _, f := range faults {
				if !lacksReference(f.Message) {
					t.Errorf("the example of %s%s is not taken: %s\n%s", path, k.name, f.Message, text)
				}
			}
			tried++
			walk(path+k.name+".", k.keys, func(entries string) string {
				return around(withRequired(k.name, k.name+":\n"+indented(heldBy(path, k.name, entries)), keys))
			})
		}
	}
	walk("", tables().app.docs(), func(entries string) string { return entries + "\n" })
	if tried < 100 {
		t.Errorf("only %d examples were tried", tried)
	}
}

// withRequired is an entry of a map together with the examples of the keys that the map must have, and of those without
// which an example makes no sense.
func withRequired(name, entry string, keys []keyDoc) string {
	if slices.ContainsFunc(keys, func(k keyDoc) bool { return k.name == "filesystem" }) {
		return entry + besideDriver[name]
	}
	for _, k := range keys {
		if k.name != name && (k.required || k.name == "app" || k.name == "source") {
			entry += "\n" + k.example
		}
	}
	return entry
}

// besideDriver is what keys of a volume need, each its driver's.
var besideDriver = map[string]string{
	"driver": "\ndevice: LABEL=x", "device": "\ndriver: device", "filesystem": "\ndriver: device\ndevice: LABEL=x", "create": "\ndriver: device\ndevice: /dev/sdb",
	"options": "\ndriver: device\ndevice: LABEL=x", "type": "\ndriver: mount\nsource: s:/x", "source": "\ndriver: mount\ntype: nfs",
	"fence": "\ndriver: device\ndevice: LABEL=x",
}

// heldBy is the value of a key that holds maps in a list, or by name, made from the entries of one of them.
func heldBy(path, name, entries string) string {
	switch {
	case path == "" && name == "units":
		return "web.service:\n" + indented(entries)
	case path == "" || path+name == "stacks.volumes":
		return "web:\n" + indented(entries)
	case name == "ulimits" || name == "depends_on":
		return map[string]string{"ulimits": "nofile:\n", "depends_on": "db:\n"}[name] + indented(entries)
	case path == "containers." && slices.Contains([]string{"ports", "secrets", "configs", "volumes", "env_file"}, name), name == "prefer":
		return "- " + strings.TrimLeft(indented(entries), " ")
	}
	return entries
}

// lacksReference is true when a fault is about something that an example alone does not have.
func lacksReference(message string) bool {
	for _, part := range []string{"there is no ", " is in no stack", " has no volume ", "cluster does not say how many", "cannot be read", "has no stacks", "has no containers and no units",
		"memswap_limit needs a limit", "must have one of content", "tmpfs is for mounts of type tmpfs"} {
		if strings.Contains(message, part) {
			return true
		}
	}
	return false
}

func indented(s string) string { return "  " + strings.ReplaceAll(s, "\n", "\n  ") }

// TestSchemaSaysWhy: a key of Compose that is not honoured takes no value, and says why and what to do instead.
func TestSchemaSaysWhy(t *testing.T) {
	schema := resolved(t, Schema())
	manifest := map[string]any{"argosy": "v1", "containers": map[string]any{"web": map[string]any{"image": "httpd", "privileged": true}}}
	if err := schema.Validate(plainJSON(t, manifest)); err == nil {
		t.Error("the schema takes a key that is not honoured")
	}
	var text struct {
		Properties map[string]struct {
			AdditionalProperties struct {
				Properties map[string]struct{ Description, DeprecationMessage string }
			}
		}
	}
	if err := json.Unmarshal(Schema(), &text); err != nil {
		t.Fatal(err)
	}
	got := text.Properties["containers"].AdditionalProperties.Properties["privileged"]
	if !strings.Contains(got.Description, "Instead: use cap_add") || got.DeprecationMessage != got.Description {
		t.Errorf("privileged is described as %+v", got)
	}
}

// TestDefaultsAreTaken: what is said to hold without a key can be written too.
func TestDefaultsAreTaken(t *testing.T) {
	found := 0
	var walk func(keys []keyDoc)
	walk = func(keys []keyDoc) {
		for _, k := range keys {
			walk(k.keys)
			if k.standard == nil {
				continue
			}
			found++
			if text, err := json.Marshal(k.schema); err != nil {
				t.Error(err)
			} else if err := resolved(t, text).Validate(plainJSON(t, k.standard)); err != nil {
				t.Errorf("%s does not take its own default: %v", k.name, err)
			}
		}
	}
	walk(tables().app.docs())
	if found < 10 {
		t.Errorf("only %d keys have a default", found)
	}
}
