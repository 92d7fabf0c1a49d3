package sketch

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"go.yaml.in/yaml/v4"
)

// manifests are those of the transcripts of package manifest, and the examples.
func manifests(t testing.TB) []string {
	t.Helper()
	var out []string
	input := regexp.MustCompile(`(?ms)^parse[^\n]*\n(.*?)^----$`)
	paths, _ := filepath.Glob("../../manifest/testdata/transcripts/*")
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range input.FindAllSubmatch(data, -1) {
			for _, file := range regexp.MustCompile(`(?m)^(>>>|<<<) .*$`).Split(string(m[1]), -1) {
				out = append(out, strings.TrimPrefix(file, "\n"))
			}
		}
	}
	examples, _ := filepath.Glob("../../../examples/*/*.yaml")
	for _, path := range examples {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, string(data))
	}
	if len(out) < 60 {
		t.Fatalf("only %d manifests were found", len(out))
	}
	return out
}

// TestSketchIsTheTree: of a text that the YAML library takes, a sketch is the library's tree, each thing at its place.
func TestSketchIsTheTree(t *testing.T) {
	compared := 0
	for _, text := range append(manifests(t), correct...) {
		var doc yaml.Node
		if err := yaml.Load([]byte(text), &doc); err != nil || len(doc.Content) != 1 {
			continue
		}
		c := comparison{text: text}
		c.compare("", doc.Content[0], Read(text).Root)
		if len(c.differ) > 0 {
			t.Errorf("%s\n%s", strings.Join(c.differ, "\n"), text)
		}
		compared++
	}
	if compared < 60 {
		t.Errorf("only %d texts were compared", compared)
	}
}

// correct has what no manifest of the transcripts has.
var correct = []string{
	"a:\n- b\n- c: d\n  e: f\n-\n  - g\n  - - h\n    - i\nj: k\n",
	"a: 'it''s'\n\"b c\": \"say \\\"no\\\"\"\nd: 'two\n  lines' # why\ne: |\n  one\n\n   # two\nf: >-\n  x\n# end\n",
	"- a: {b: [c, {d: e}], 'f g': \"h, i\"}\n  j:\n    k\n- [l, m: n, &o p, *o]\n- &q\n  r: s\n- &t {u: v}\n",
	"a: {\n  b: c,\n  # why\n  d: [e,\n   f\n  ]\n}\ng: h: \n"[:43] + "\ng: http://h#i\nj: k # l\n",
	"ä: ö\nß: {é: [ü, 日本]}\r\n日: 本\r\n",
	"  a:\n      b: 1\n      c: 2\n  d: [\n  ]\n",
	"a:\n  plain text\n  of two lines\nb: c\n",
	"a: # why\n  b: c\n\n  d:\n",
}

type comparison struct {
	text   string
	differ []string
}

func (c *comparison) compare(where string, want *yaml.Node, got *Node) {
	place := func(offset int) string {
		before := c.text[:offset]
		column := strings.Count(before, "") - strings.Count(before[:strings.LastIndexByte(before, '\n')+1], "")
		return fmt.Sprintf("%d:%d", strings.Count(before, "\n")+1, column+1)
	}
	wrong := func(format string, args ...any) { c.differ = append(c.differ, where+": "+fmt.Sprintf(format, args...)) }
	kinds := map[yaml.Kind]Kind{yaml.MappingNode: Map, yaml.SequenceNode: List, yaml.ScalarNode: Scalar, yaml.AliasNode: Alias}
	if kind := kinds[want.Kind]; kind != got.Kind && (kind != Scalar || want.Value != "" || got.Kind != Empty) {
		wrong("kind %d, want %d", got.Kind, kind)
		return
	}
	if at := fmt.Sprintf("%d:%d", want.Line, want.Column); got.Kind == Scalar && got.Anchor.End == 0 && want.Style&yaml.TaggedStyle == 0 && at != place(got.Start) {
		wrong("it stands at %s, want %s", place(got.Start), at)
	}
	if want.Kind == yaml.ScalarNode && want.Style == 0 && got.Kind == Scalar && !strings.Contains(got.Text.Value, "\n") && want.Value != got.Text.Value {
		wrong("it says %q, want %q", got.Text.Value, want.Value)
	}
	if want.Anchor != got.Anchor.Value && want.Kind != yaml.AliasNode {
		wrong("its anchor is %q, want %q", got.Anchor.Value, want.Anchor)
	}
	step := 1
	if want.Kind == yaml.MappingNode {
		step = 2
	}
	if len(got.Children)*step != len(want.Content) {
		wrong("%d children, want %d", len(got.Children), len(want.Content)/step)
		return
	}
	for i, child := range got.Children {
		if step == 2 {
			k := want.Content[2*i]
			if at := fmt.Sprintf("%d:%d", k.Line, k.Column); k.Value != child.Key.Value && k.Style&yaml.DoubleQuotedStyle == 0 || at != place(child.Key.Start) || !child.Colon {
				wrong("key %q at %s (colon: %t), want %q at %s", child.Key.Value, place(child.Key.Start), child.Colon, k.Value, at)
			}
			c.compare(where+"/"+k.Value, want.Content[2*i+1], child)
		} else {
			c.compare(fmt.Sprintf("%s/%d", where, i), want.Content[i], child)
		}
	}
}

// TestTranscripts: a text with a cursor ‸, and what a sketch says is there.
//
//	at
//	text
//	----
//	role, path, and the word
func TestTranscripts(t *testing.T) {
	datadriven.RunTest(t, "testdata/at", func(t *testing.T, d *datadriven.TestData) string {
		const cursor = "‸"
		at := strings.Index(d.Input, cursor)
		if at < 0 {
			d.Fatalf(t, "no cursor")
		}
		n, role := Read(strings.Replace(d.Input, cursor, "", 1)).At(at)
		var b strings.Builder
		b.WriteString([]string{"nowhere", "key", "value", "anchor"}[role])
		for _, s := range n.Path() {
			if s.Key == "" {
				fmt.Fprintf(&b, " [%d]", s.Index)
			} else {
				b.WriteString(" " + s.Key)
			}
		}
		if n.IsEntry && !n.Colon {
			b.WriteString(" (no colon)")
		}
		if role == InValue {
			fmt.Fprintf(&b, ": %q", n.Text.Value)
			if n.OwnLine {
				b.WriteString(" on a line of its own")
			}
		}
		return b.String() + "\n"
	})
}

// FuzzRead: any text has a tree whose places lie within the text and in order, and everything that the cursor can be at
// is found.
func FuzzRead(f *testing.F) {
	for _, text := range append(manifests(f), correct...) {
		f.Add(text)
	}
	for _, text := range []string{"- - - -", "a: [\nb: {\n", "'", "\"", "a: &", "a: *", "{[", "[{a", "a: |\n\n", "- a:\n b", "{a: b c: d}", "\ufeffa: b", "a\n b\nc: d"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d := Read(text)
		nodes := 0
		var check func(n *Node, depth int)
		check = func(n *Node, depth int) {
			nodes++
			if depth > 3*maxDepth {
				t.Fatal("too deep")
			}
			last := 0
			for _, p := range []Text{n.Key, n.Text, n.Anchor, {Start: n.Start, End: n.End}} {
				if p.Start < 0 || p.End < p.Start || p.End > len(text) {
					t.Fatalf("%q lies at %d to %d", p.Value, p.Start, p.End)
				}
			}
			for _, c := range n.Children {
				if c.Parent != n || c.Begin() < last {
					t.Fatal("children out of order")
				}
				last = c.Begin()
				if !c.IsEntry && c.Key.End != 0 {
					t.Fatal("an item has a key")
				}
				check(c, depth+1)
			}
		}
		check(d.Root, 0)
		if nodes > len(text)+1 {
			t.Fatalf("%d nodes of %d bytes", nodes, len(text))
		}
		for i := 0; i <= len(text); i += max(1, len(text)/50) {
			n, _ := d.At(i)
			_ = n.Path()
		}
	})
}

// BenchmarkRead reads 4 MB in one line and in many.
func BenchmarkRead(b *testing.B) {
	for name, text := range map[string]string{
		"brackets": "a: [" + strings.Repeat("{b: c}, ", 500_000) + "]",
		"lines":    "a:\n" + strings.Repeat("  b: 'c'\n", 450_000),
		"quotes":   "a: '\n" + strings.Repeat("  b: ''\n", 450_000),
		"dashes":   strings.Repeat("- ", 2_000_000),
		"open":     strings.Repeat("[", 4_000_000),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				Read(text)
			}
		})
	}
}
