package manifest

import (
	"slices"
	"strings"
)

// CompletePath is what can stand next in the path of a --set: word and one step more, each with what the step is for
// behind a tab. Names come from the files, keys from the language; what cannot be read adds nothing.
func CompletePath(files []File, word string) []string {
	r := &reader{}
	var roots []value
	for i, in := range files {
		if f, ok := r.open(i, in); ok {
			roots = append(roots, value{f: f, n: f.root})
		}
	}
	at := strings.LastIndexByte(word, '.') + 1
	keys, named, here := tables().app.docs(), false, roots
	if at > 0 {
		for _, step := range strings.Split(word[:at-1], ".") {
			here = childrenOf(here, step)
			if named {
				named = false // a name was chosen, and its keys follow
				continue
			}
			i := slices.IndexFunc(keys, func(k keyDoc) bool { return k.name == step && k.refused == "" })
			if i < 0 {
				return nil
			}
			named, keys = strings.Contains(keys[i].word, "map from "), keys[i].keys
		}
	}
	var out []string
	offer := func(name, end, doc string) {
		s := word[:at] + name + end
		if strings.HasPrefix(s, word) && !slices.ContainsFunc(out, func(o string) bool { return strings.HasPrefix(o, s+"\t") || o == s }) {
			if doc != "" {
				s += "\t" + doc
			}
			out = append(out, s)
		}
	}
	if named || keys == nil {
		end := "="
		if named && keys != nil {
			end = "."
		}
		for _, name := range namesIn(here) {
			offer(name, end, "")
		}
		return out
	}
	for _, k := range keys {
		if k.refused != "" {
			continue
		}
		end := "="
		if k.keys != nil || strings.HasPrefix(k.word, "map") {
			end = "."
		}
		offer(k.name, end, firstSentence(k.doc))
	}
	return out
}

func childrenOf(values []value, step string) (out []value) {
	for _, v := range values {
		if c, ok := v.child(step); ok {
			out = append(out, c)
		}
	}
	return out
}

// namesIn are the keys that stand in maps and can be written in a path.
func namesIn(values []value) (out []string) {
	for _, v := range values {
		if !v.isMap() {
			continue
		}
		for i := 0; i+1 < len(v.n.Content); i += 2 {
			if name := v.n.Content[i].Value; name != "" && !strings.ContainsAny(name, ".[=\n\t ") && len(out) < 1000 {
				out = append(out, name)
			}
		}
	}
	return out
}

func firstSentence(s string) string {
	s, _, _ = strings.Cut(s, ". ")
	s, _, _ = strings.Cut(s, ": ")
	return strings.TrimSuffix(s, ".")
}
