package lsp

import (
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"github.com/argosy-cluster/argosy/internal/lsp/sketch"
	"github.com/argosy-cluster/argosy/internal/manifest"
)

// schema is as much of a JSON Schema as that of the manifest uses.
type schema struct {
	Title               string
	MarkdownDescription string
	DeprecationMessage  string // why a key is refused
	Examples            []any
	Default             any
	Type                any
	Enum                []any
	Const               any
	Required            []string
	Properties          map[string]*schema
	PropertyNames       *schema
	// AdditionalProperties is nil when there may be none.
	AdditionalProperties *schema
	Items                *schema
	AnyOf                []*schema
}

// UnmarshalJSON takes true and false for schemas too; neither says anything about what may be written.
func (s *schema) UnmarshalJSON(text []byte) error {
	if text[0] != '{' {
		return nil
	}
	type plain schema
	return json.Unmarshal(text, (*plain)(s))
}

// manifestSchema is the manifest's own.
var manifestSchema = sync.OnceValue(func() *schema {
	var s schema
	if err := json.Unmarshal(manifest.Schema(), &s); err != nil {
		panic("lsp: the schema of the manifest cannot be read: " + err.Error()) // it is made by this program
	}
	return &s
})

// alternatives are the ways in which a value may be written.
func (s *schema) alternatives() []*schema {
	out := []*schema{s}
	for _, a := range s.AnyOf {
		out = append(out, a.alternatives()...)
	}
	return out
}

// step is what may be written behind a step from a value.
func (s *schema) step(to sketch.Step) []*schema {
	var out []*schema
	for _, a := range s.alternatives() {
		switch next := a.Properties[to.Key]; {
		case to.Key == "":
			if a.Items != nil {
				out = append(out, a.Items)
			}
		case next != nil:
			out = append(out, next)
		case a.AdditionalProperties != nil && !strings.HasPrefix(to.Key, "x-"):
			out = append(out, a.AdditionalProperties)
		}
	}
	return out
}

// schemasAt is what may be written at a path.
func schemasAt(path []sketch.Step) []*schema {
	at := []*schema{manifestSchema()}
	for _, step := range path {
		var next []*schema
		for _, s := range at {
			next = append(next, s.step(step)...)
		}
		at = next
	}
	return at
}

// is tells whether the value may be of a type.
func (s *schema) is(kind string) bool {
	for _, a := range s.alternatives() {
		switch t := a.Type.(type) {
		case string:
			if t == kind {
				return true
			}
		case []any:
			if slices.Contains(t, any(kind)) {
				return true
			}
		}
	}
	return false
}

// words are the values of a closed set, as they are written.
func (s *schema) words() []string {
	var out []string
	add := func(v any) {
		if w, ok := v.(string); ok && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	if s.is("boolean") && !s.is("number") {
		out = append(out, "true", "false")
	}
	for _, a := range s.alternatives() {
		for _, v := range a.Enum {
			add(v)
		}
	}
	return out
}

// about is what is known of a key, in Markdown.
func (s *schema) about(key string) string {
	if s.DeprecationMessage != "" {
		return s.MarkdownDescription
	}
	var b strings.Builder
	b.WriteString("**" + key + "**")
	if s.Title != "" {
		b.WriteString(" — " + s.Title)
	}
	if s.MarkdownDescription != "" {
		b.WriteString("\n\n" + s.MarkdownDescription)
	}
	for _, e := range s.Examples {
		b.WriteString("\n\n```yaml\n" + key + ": " + flowYAML(e) + "\n```")
	}
	return b.String()
}

// flowYAML writes a value in one line.
func flowYAML(v any) string {
	switch v := v.(type) {
	case string:
		return yamlWord(v)
	case []any:
		parts := make([]string, len(v))
		for i, e := range v {
			parts[i] = flowYAML(e)
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		keys := make([]string, 0, len(v))
		for k := range v {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for i, k := range keys {
			keys[i] = k + ": " + flowYAML(v[k])
		}
		return "{" + strings.Join(keys, ", ") + "}"
	}
	text, _ := json.Marshal(v) // a number, true, false or null
	return string(text)
}

// yamlWord is a text as YAML takes it for a text, also within brackets.
func yamlWord(s string) string {
	plain := s != "" && !strings.ContainsAny(s, ",[]{}\"'#&*!|>%@`\n\t") && !strings.Contains(s, ": ") && !strings.HasSuffix(s, ":") &&
		s == strings.TrimSpace(s) && s[0] != '-' && s[0] != '?' && strings.Trim(s, "0123456789.+-_:eExXoO") != ""
	switch strings.ToLower(s) {
	case "no", "yes", "on", "off", "true", "false", "null", "~", "y", "n":
		plain = false
	}
	if plain {
		return s
	}
	text, _ := json.Marshal(s)
	return string(text)
}
