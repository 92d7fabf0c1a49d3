package lsp

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

// TestTranscripts asks about a manifest at its cursor ‸, each time in a conversation of its own.
//
//	complete | hover | definition | fix | symbols | check  [plain] [env=(A=1)] [secrets=(a, b)] [language=yaml]
//	shop.yaml; `>>> NAME` begins a further file beside it
//
// plain is an editor that knows no snippets. What is completed is shown as it will be written, with | in between for lines.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string { return askOnce(t, d) })
	})
}

func askOnce(t *testing.T, d *datadriven.TestData) string {
	text, rest, _ := strings.Cut(d.Input+"\n", ">>> ")
	beside := map[string]string{}
	for _, part := range strings.Split(rest, ">>> ") {
		if name, body, ok := strings.Cut(part, "\n"); ok {
			beside[name] = body
		}
	}
	options, language := Options{}, "argosy"
	env := map[string]string{}
	for _, a := range d.CmdArgs {
		switch a.Key {
		case "env":
			for _, v := range a.Vals {
				k, v, _ := strings.Cut(v, "=")
				env[k] = v
			}
		case "secrets":
			vals := a.Vals
			options.Secrets = func() []string { return vals }
		case "language":
			language = a.Vals[0]
		}
	}
	options.LookupEnv = func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	options.ReadFile = func(_, path string, _ int) ([]byte, error) {
		if body, ok := beside[path]; ok {
			return []byte(body), nil
		}
		return nil, fmt.Errorf("no such file")
	}
	const mark = "‸"
	offset := max(0, strings.Index(text, mark))
	text = strings.Replace(text, mark, "", 1)
	c := talk(t, options, !d.HasArg("plain"))
	if d.HasArg("plain") {
		c.ask("initialize", struct{}{}, nil)
	}
	c.tell("textDocument/didOpen", map[string]any{"textDocument": map[string]any{"uri": manifestURI, "languageId": language, "version": 1, "text": text}})
	cursorAt := newDocument(manifestURI, language, text).position(offset)
	out := answerOf(t, c, d.Cmd, text, cursorAt)
	c.bye()
	return out
}

func answerOf(t *testing.T, c *conversation, cmd, text string, cursorAt position) string {
	var b strings.Builder
	doc := newDocument(manifestURI, "argosy", text)
	params := at(manifestURI, cursorAt.Line, cursorAt.Character)
	switch cmd {
	case "complete":
		var list completionList
		c.ask("textDocument/completion", params, &list)
		for _, i := range list.Items {
			written := doc.text[begin(doc, i):doc.offset(i.TextEdit.Range.Start)] + i.TextEdit.NewText
			fmt.Fprintf(&b, "%s: %s", i.Label, strings.ReplaceAll(written, "\n", "|"))
			if i.Detail != "" {
				fmt.Fprintf(&b, " (%s)", i.Detail)
			}
			b.WriteByte('\n')
		}
	case "hover":
		var h *hover
		c.ask("textDocument/hover", params, &h)
		if h != nil {
			fmt.Fprintf(&b, "at %q:\n%s\n", doc.text[doc.offset(h.Range.Start):doc.offset(h.Range.End)], strings.ReplaceAll(h.Contents.Value, "\n\n", "\n"))
		}
	case "definition":
		var l *location
		c.ask("textDocument/definition", params, &l)
		if l != nil {
			fmt.Fprintf(&b, "%s:%d:%d to %d\n", filepath.Base(l.URI), l.Range.Start.Line+1, l.Range.Start.Character+1, l.Range.End.Character+1)
		}
	case "fix":
		var actions []codeAction
		c.diagnostics(manifestURI, 1)
		c.ask("textDocument/codeAction", map[string]any{"textDocument": map[string]any{"uri": manifestURI}, "range": span{cursorAt, cursorAt}}, &actions)
		for _, a := range actions {
			edit := a.Edit.Changes[manifestURI][0]
			d := newDocument(manifestURI, "argosy", text)
			d.apply(change{&edit.Range, edit.NewText})
			line, _ := d.line(edit.Range.Start.Line)
			_, _, faults := manifest.Parse([]manifest.File{{Name: "shop.yaml", Data: []byte(d.text)}}, manifest.Options{})
			fmt.Fprintf(&b, "%s\n%s\n%d faults are left\n", a.Title, strings.TrimLeft(line, " "), len(faults))
		}
	case "check":
		for _, d := range c.diagnostics(manifestURI, 1) {
			fmt.Fprintf(&b, "%d:%d to %d: %s\n", d.Range.Start.Line+1, d.Range.Start.Character+1, d.Range.End.Character+1, strings.ReplaceAll(d.Message, "\n", "\n  "))
		}
	case "symbols":
		var list []documentSymbol
		c.ask("textDocument/documentSymbol", params, &list)
		outline(&b, list, "")
	default:
		t.Fatalf("unknown command %s", cmd)
	}
	if b.Len() == 0 {
		return "nothing\n"
	}
	return b.String()
}

// begin is where the word that a completion continues begins, in its line.
func begin(d *document, i completionItem) int {
	offset := d.offset(i.TextEdit.Range.Start)
	for offset > 0 && !strings.ContainsRune(" \n", rune(d.text[offset-1])) {
		offset--
	}
	return offset
}

func outline(b *strings.Builder, list []documentSymbol, indent string) {
	for _, s := range list {
		fmt.Fprintf(b, "%s%s", indent, s.Name)
		if s.Detail != "" {
			fmt.Fprintf(b, " = %s", s.Detail)
		}
		fmt.Fprintf(b, " (%d to %d)\n", s.Range.Start.Line+1, s.Range.End.Line+1)
		outline(b, s.Children, indent+"  ")
	}
}
