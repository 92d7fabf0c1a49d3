package compose

import (
	"fmt"
	"strings"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

// names gives everything a name that is one in a manifest.
type names struct {
	given map[string]map[string]string // by kind, then by Compose's name
	taken map[string]map[string]bool
	exact map[string]map[string]bool // Compose's names that are names here too: nothing else is called so
}

func newNames() *names {
	return &names{given: map[string]map[string]string{}, taken: map[string]map[string]bool{}, exact: map[string]map[string]bool{}}
}

// keep leaves a name to what Compose calls so.
func (n *names) keep(kind, name string) {
	if manifest.CheckName(name) != nil {
		return
	}
	if n.exact[kind] == nil {
		n.exact[kind] = map[string]bool{}
	}
	n.exact[kind][name] = true
}

// of is the name in the manifest of what Compose calls so.
func (n *names) of(kind, name string) string {
	if given, ok := n.given[kind][name]; ok {
		return given
	}
	given := name
	if !n.exact[kind][name] {
		given = n.free(kind, name)
	}
	if n.given[kind] == nil {
		n.given[kind] = map[string]string{}
	}
	n.given[kind][name] = given
	return given
}

// free is a name like a text that nothing of the kind has yet; it is then taken.
func (n *names) free(kind, like string) string {
	base := manifest.NameLike(like)
	if base == "" {
		base = manifest.NameLike(kind + "-" + like)
	}
	name := base
	for i := 2; n.taken[kind][name] || n.exact[kind][name]; i++ {
		suffix := fmt.Sprintf("-%d", i)
		name = strings.TrimRight(base[:min(len(base), 63-len(suffix))], "-") + suffix
	}
	if n.taken[kind] == nil {
		n.taken[kind] = map[string]bool{}
	}
	n.taken[kind][name] = true
	return name
}

// place of a mention: where a host name is used.
type mention struct {
	path []string
	text string
}

// mentions are all texts in which services may name each other.
func (im *importer) mentions() []mention {
	if im.said == nil {
		im.said = append([]mention{}, im.findMentions()...)
	}
	return im.said
}

func (im *importer) findMentions() []mention {
	var out []mention
	var walk func(path []string, v any)
	walk = func(path []string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for _, k := range sorted(v) {
				walk(append(path[:len(path):len(path)], k), v[k])
			}
		case []any:
			for i, e := range v {
				walk(append(path[:len(path):len(path)], fmt.Sprint(i)), e)
			}
		case string:
			out = append(out, mention{path, v})
		}
	}
	for _, name := range sorted(section(im.model, "services")) {
		svc, _ := section(im.model, "services")[name].(map[string]any)
		for _, key := range []string{"environment", "command", "entrypoint", "healthcheck"} {
			walk([]string{"services", name, key}, svc[key])
		}
	}
	for _, name := range sorted(section(im.model, "configs")) {
		c, _ := section(im.model, "configs")[name].(map[string]any)
		walk([]string{"configs", name, "content"}, c["content"])
	}
	return out
}

// hostKeys are parts of variables' names that hold the name of a host.
var hostKeys = []string{"HOST", "SERVER", "ADDR", "NODE", "BROKER", "ENDPOINT", "PEER", "MASTER", "PRIMARY", "UPSTREAM", "BACKEND", "TARGET"}

// usesHost says whether a text uses a word as the name of a host.
func (m mention) usesHost(word string) bool {
	if word == "" {
		return false
	}
	if m.text == word {
		key := strings.ToUpper(m.path[len(m.path)-1])
		for _, k := range hostKeys {
			if len(m.path) > 3 && m.path[2] == "environment" && strings.Contains(key, k) {
				return true
			}
		}
		return false
	}
	for from := 0; ; {
		i := strings.Index(m.text[from:], word)
		if i < 0 {
			return false
		}
		i += from
		before, after := m.text[:i], m.text[i+len(word):]
		address := strings.HasSuffix(before, "//") || strings.HasSuffix(before, "@") || len(after) > 1 && after[0] == ':' && after[1] >= '0' && after[1] <= '9'
		if address && !wordByte(last(before)) && !wordByte(firstByte(after)) {
			return true
		}
		from = i + 1
	}
}

func last(s string) byte {
	if s == "" {
		return ' '
	}
	return s[len(s)-1]
}

func firstByte(s string) byte {
	if s == "" {
		return ' '
	}
	return s[0]
}

func wordByte(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' || c == '_' || c == '-' || c == '.'
}

// alias reports that a service is no longer reached by a name that it had. When something uses the name, that is a fault
// at the place where it is used.
func (im *importer) alias(svc *service, word string, at manifest.Node, what string) (used bool) {
	if word == "" || word == svc.name || im.names.given["container"][word] != "" {
		return false
	}
	for _, m := range im.mentions() {
		if m.usesHost(word) {
			use := im.src.place(m.path...)
			im.faults = append(im.faults, use.Fault(fmt.Sprintf("%q is %s of service %s, and containers are found by their own name only", word, what, svc.source),
				fmt.Sprintf("write %s instead", svc.name)))
			used = true
		}
	}
	if !used {
		im.note(at, "%s %s is left out: service %s is reached as %s", what, word, svc.source, svc.name)
	}
	return used
}
