package manifest

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// tree is a map, list or text that is written as YAML. Texts that hold nothing are left out of maps.
type tree struct{ n *yaml.Node }

func newTree() *tree { return &tree{&yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}} }

// newList is a list in one line.
func newList() *tree {
	return &tree{&yaml.Node{Kind: yaml.SequenceNode, Tag: "!!seq", Style: yaml.FlowStyle}}
}

func oneText(s string) *tree { return &tree{textNode(strings.ReplaceAll(s, "$", "$$"))} }

// flow writes the map in one line.
func (t *tree) flow() *tree { t.n.Style = yaml.FlowStyle; return t }

func (t *tree) empty() bool { return len(t.n.Content) == 0 }

func (t *tree) put(key string, n *yaml.Node) *tree {
	t.n.Content = append(t.n.Content, textNode(key), n)
	return t
}

func (t *tree) tree(key string, v *tree) *tree { return t.put(key, v.n) }

// list leaves an empty list out.
func (t *tree) list(key string, v *tree) *tree {
	if v.empty() {
		return t
	}
	return t.put(key, v.n)
}

func (t *tree) add(v *tree) {
	if v.n.Kind == yaml.MappingNode {
		t.n.Style = 0 // maps stand below one another
	}
	t.n.Content = append(t.n.Content, v.n)
}

func (t *tree) addText(s string) { t.add(oneText(s)) }

func (t *tree) text(key, s string) *tree {
	if s == "" {
		return t
	}
	return t.put(key, oneText(s).n)
}

func (t *tree) texts(key string, list []string) *tree {
	out := newList()
	for _, s := range list {
		out.addText(s)
	}
	return t.list(key, out)
}

// choice is a word that is written only when something was chosen.
func (t *tree) choice(key string, chosen bool, word string) *tree {
	if !chosen {
		return t
	}
	return t.text(key, word)
}

func (t *tree) words(key string, m map[string]string) *tree {
	if len(m) == 0 {
		return t
	}
	out := newTree()
	for _, k := range sortedKeys(m) {
		out.put(k, oneText(m[k]).n)
	}
	return t.tree(key, out)
}

// block is a text whose lines stand below one another, where it has several.
func (t *tree) block(key, s string) *tree {
	return t.put(key, blockNode(oneText(s).n, s))
}

// verbatim is block for a text in which a dollar sign is only that.
func (t *tree) verbatim(key, s string) *tree { return t.put(key, blockNode(textNode(s), s)) }

func blockNode(n *yaml.Node, s string) *yaml.Node {
	lines := strings.Contains(s, "\n") && !strings.HasPrefix(s, " ") && !strings.HasPrefix(s, "\n") && !strings.HasSuffix(s, "\n\n")
	odd := func(c rune) bool { return c != '\n' && !(c < unicode.MaxASCII && unicode.IsPrint(c)) }
	if lines && strings.IndexFunc(s, odd) < 0 && !strings.Contains(s, " \n") {
		n.Style = yaml.LiteralStyle
	}
	return n
}

func (t *tree) bare(key, s string) *tree {
	return t.put(key, &yaml.Node{Kind: yaml.ScalarNode, Value: s})
}

func (t *tree) number(key string, n int64) *tree { return t.bare(key, strconv.FormatInt(n, 10)) }

func (t *tree) bool(key string, b bool) *tree { return t.bare(key, strconv.FormatBool(b)) }

// yes writes what is true.
func (t *tree) yes(key string, b bool) *tree {
	if !b {
		return t
	}
	return t.bool(key, true)
}

// comment stands beside what was put last.
func (t *tree) comment(s string) {
	t.n.Content[len(t.n.Content)-1].LineComment = "# " + printable(s)
}

func (t *tree) encode() ([]byte, error) {
	return yaml.Dump(t.n, yaml.WithIndent(2), yaml.WithLineWidth(-1))
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// textNode is in quotes, unless every YAML parser takes it for text without them.
func textNode(s string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: s}
	if !plainWord(s) {
		n.Style = yaml.DoubleQuotedStyle
	}
	return n
}

func plainWord(s string) bool {
	if s == "" || len(s) > 200 || strings.HasSuffix(s, ":") {
		return false
	}
	switch strings.ToLower(s) {
	case "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return false
	}
	for i := range len(s) {
		c := s[i]
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		switch {
		case letter, c == '/', c == '_', i > 0 && (c >= '0' && c <= '9' || strings.IndexByte(".-:", c) >= 0):
		default:
			return plainAmount(s)
		}
	}
	return true
}

// plainAmount is a number with a unit, such as 256MiB or 10s, which is text to YAML.
func plainAmount(s string) bool {
	unit := strings.TrimLeft(s, "0123456789")
	switch unit {
	case "h", "m", "s", "ms", "KiB", "MiB", "GiB":
		return len(unit) < len(s)
	}
	return false
}
