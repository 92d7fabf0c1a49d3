package compose

import (
	"fmt"
	"slices"
	"strings"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

// settle writes the manifest and has it judged as `argosy validate` does. What is refused is a fault at its place in the
// Compose file and becomes a comment, until nothing is refused.
func (im *importer) settle(root *node) []byte {
	name := "argosy.yaml"
	if im.opts.Dir != "" || im.src.dir != "" {
		name = im.outDir() + "/" + name
	}
	const most = 2000
	for range most {
		text := render(root, im.header())
		_, _, faults := manifest.Parse([]manifest.File{{Name: name, Data: text}}, manifest.Options{
			LookupEnv: im.lookupLater, ReadFile: manifest.FilesBelow})
		if len(faults) == 0 {
			return text
		}
		taken := false
		for _, f := range faults {
			taken = im.takeOut(root, f) || taken
		}
		if !taken {
			for _, f := range faults {
				im.faults = append(im.faults, im.src.top[0].root.Fault("nothing is left that could run: "+f.Message, ""))
			}
			return nil
		}
	}
	return nil
}

// lookupLater answers for variables as they will be when the manifest is used.
func (im *importer) lookupLater(name string) (string, bool) {
	if im.opts.LookupEnv != nil {
		if s, ok := im.opts.LookupEnv(name); ok && s != "" {
			return s, true
		}
	}
	if s, ok := im.vars.files[name]; ok && secret(name) {
		return s, true
	}
	if im.vars.required[name] {
		return "1", true
	}
	if im.opts.LookupEnv != nil {
		return im.opts.LookupEnv(name)
	}
	return "", false
}

// takeOut turns the innermost part of the manifest that a fault is about into a comment.
func (im *importer) takeOut(root *node, f manifest.Fault) bool {
	if f.Line == 0 {
		return false
	}
	n, parents := at(root, f)
	if n == root {
		return false
	}
	if n.refused != "" {
		// Something else about what this round has taken out.
		im.blame(n, f)
		return true
	}
	// What must be there takes what it belongs to with it.
	for must(n) && len(parents) > 0 {
		n, parents = parents[len(parents)-1], parents[:len(parents)-1]
	}
	if n == root {
		return false
	}
	im.blame(n, f)
	if n.key != "" && len(parents) > 0 {
		im.forget(root, parents[len(parents)-1], n)
	}
	return true
}

// blame makes a fault of the manifest one of the Compose file, and the comment that stands in the node's place.
func (im *importer) blame(n *node, f manifest.Fault) {
	what := f.Message
	hint := f.Hint
	if f.Suggestion != "" {
		hint = strings.TrimPrefix(fmt.Sprintf("%s; perhaps %s", hint, f.Suggestion), "; ")
	}
	if hint != "" {
		what += ": " + hint
	}
	if n.refused != "" {
		what = n.refused + "; " + what
	}
	n.refused = what
	place := im.src.place(n.path...)
	if n.kind == scalar && n.key == "" && len(n.path) > 1 {
		for _, item := range im.src.items(n.path[:len(n.path)-1]...) {
			if raw, ok := item.Scalar(); ok && im.same(raw, im.vars.now(n.text)) {
				place = item
			}
		}
	}
	fault := place.Fault(f.Message, f.Hint)
	fault.Suggestion = f.Suggestion
	im.faults = append(im.faults, fault)
}

// must is true for keys without which the map around them is none.
func must(n *node) bool {
	switch n.key {
	case "image", "condition", "path", "source", "target", "type", "soft", "hard":
		return true
	case "argosy", "app", "containers", "stacks", "cluster":
		return len(n.path) == 0
	}
	return false
}

// at is the innermost node that a fault of the manifest is about, and what it is in.
func at(n *node, f manifest.Fault) (found *node, parents []*node) {
	for {
		i := slices.IndexFunc(n.kids, func(k *node) bool { return k.line > 0 && k.line <= f.Line && f.Line <= k.last })
		if i < 0 {
			break
		}
		parents = append(parents, n)
		if n = n.kids[i]; n.flow {
			break
		}
	}
	if n.kind == sequence && n.flow {
		if word := wordOf(f); word != "" {
			i := slices.IndexFunc(n.kids, func(k *node) bool { return k.kind == scalar && k.text == word })
			if i >= 0 {
				return n.kids[i], append(parents, n)
			}
		}
	}
	return n, parents
}

// wordOf is what a fault points at, without its quotes.
func wordOf(f manifest.Fault) string {
	line := []rune(f.Text)
	from, to := f.Col-f.TextCol, f.EndCol-f.TextCol
	if from < 0 || to > len(line) || from >= to {
		return ""
	}
	return strings.Trim(string(line[from:to]), `"'`)
}

// forget takes a container or stack that is refused out of everything that names it.
func (im *importer) forget(root, parent, gone *node) {
	switch parent.key {
	case "containers":
		if parent != root.child("containers") {
			return
		}
		for _, c := range parent.kids {
			if d := c.child("depends_on"); d != nil {
				d.kids = slices.DeleteFunc(d.kids, func(k *node) bool { return k.key == gone.key || k.key == "" && k.text == gone.key })
				if len(d.kids) == 0 {
					c.kids = slices.DeleteFunc(c.kids, func(k *node) bool { return k == d })
				}
			}
		}
		stacks := root.child("stacks")
		if stacks == nil {
			return
		}
		for _, s := range slices.Clone(stacks.kids) {
			if list := s.child("containers"); list != nil {
				list.kids = slices.DeleteFunc(list.kids, func(k *node) bool { return k.text == gone.key })
				if len(list.kids) == 0 {
					stacks.kids = slices.DeleteFunc(stacks.kids, func(k *node) bool { return k == s })
					im.forget(root, stacks, s)
				}
			}
		}
	case "stacks":
		if cluster := root.child("cluster"); cluster != nil {
			cluster.kids = slices.DeleteFunc(cluster.kids, func(k *node) bool { return k.key == gone.key })
		}
	}
}

// header is the comment above the manifest.
func (im *importer) header() []string {
	var names []string
	for _, src := range im.src.top {
		names = append(names, src.name)
	}
	out := []string{"Made by `argosy import` from " + oneLine(strings.Join(names, ", ")) + "."}
	if len(im.todo) > 0 {
		out = append(out, "", "Before it is applied:")
		for _, l := range im.todo {
			out = append(out, "  "+oneLine(l))
		}
	}
	return out
}
