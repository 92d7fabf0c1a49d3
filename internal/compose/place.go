package compose

import (
	"path/filepath"
	"strconv"
	"strings"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

// walk is one search for a path in all files. It visits no more than a bounded number of files and services.
type walk struct {
	s     *sources
	left  int
	found []manifest.Node
	near  manifest.Node // the deepest parent that is written somewhere
	depth int
}

const maxWalk = 500

// all are the values at a path of the model, in the order in which they win: of later files before earlier ones, of a
// service before those that it extends, of a file before what it includes.
func (s *sources) all(path ...string) []manifest.Node {
	w := s.walk(path)
	return w.found
}

// place is where a path stands, or its nearest parent that is written anywhere.
func (s *sources) place(path ...string) manifest.Node {
	w := s.walk(path)
	if len(w.found) > 0 {
		return w.found[0].Name()
	}
	return w.near.Name()
}

func (s *sources) walk(path []string) *walk {
	w := &walk{s: s, left: maxWalk, depth: -1}
	for i := len(s.top) - 1; i >= 0; i-- {
		w.file(s.top[i], path, 0)
	}
	return w
}

func (w *walk) file(src *source, path []string, depth int) {
	if w.left--; w.left < 0 || depth > maxChain {
		return
	}
	if len(path) > 1 && path[0] == "services" {
		w.service(src, path, depth)
	} else {
		w.descend(src.root, path, 0)
	}
	for _, inc := range src.includes {
		w.file(inc, path, depth+1)
	}
}

// service looks into a service, and then into what it extends.
func (w *walk) service(src *source, path []string, depth int) {
	if w.left--; w.left < 0 || depth > maxChain {
		return
	}
	svc, there := src.services[path[1]]
	if !there {
		services, ok := src.root.Child("services")
		if ok && w.depth < 1 {
			w.depth, w.near = 1, services
		}
		return
	}
	if w.descend(svc, path[2:], 2) {
		return // !override: what is extended does not count
	}
	ext, ok := svc.Child("extends")
	if !ok {
		return
	}
	name, short := ext.Scalar()
	from := src
	if !short {
		service, _ := ext.Child("service")
		name, _ = service.Scalar()
		if file, ok := ext.Child("file"); ok {
			text, _ := file.Scalar()
			if !filepath.IsAbs(text) {
				text = filepath.Join(src.base, text)
			}
			if from = w.s.byAbs[text]; from == nil {
				return
			}
		}
	}
	w.service(from, append([]string{"services", name}, path[2:]...), depth+1)
}

// descend follows the path from a node; it is true when the value stands alone by its tag.
func (w *walk) descend(n manifest.Node, path []string, depth int) (alone bool) {
	if depth > w.depth {
		w.depth, w.near = depth, n
	}
	if n.Tag() == "!reset" {
		return true
	}
	if len(path) == 0 {
		w.found = append(w.found, n)
		return n.Tag() == "!override"
	}
	step := path[0]
	switch {
	case n.IsMap():
		child, ok := n.Child(step)
		return ok && w.descend(child, path[1:], depth+1) || n.Tag() == "!override"
	case n.IsList():
		items := n.Items()
		if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(items) {
			return w.descend(items[i], path[1:], depth+1)
		}
		for _, item := range items {
			text, ok := item.Scalar()
			if key, _, _ := strings.Cut(text, "="); ok && len(path) == 1 && key == step {
				w.descend(item, nil, depth+1)
			}
		}
	case step == "0" && len(path) == 1:
		return w.descend(n, nil, depth+1)
	}
	return n.Tag() == "!override"
}

// items are the elements of all lists at a path, those that win last, as Compose joins them.
func (s *sources) items(path ...string) []manifest.Node {
	lists := s.all(path...)
	var out []manifest.Node
	for i := len(lists) - 1; i >= 0; i-- {
		if lists[i].IsList() {
			out = append(out, lists[i].Items()...)
		} else if _, ok := lists[i].Scalar(); ok {
			out = append(out, lists[i])
		}
	}
	return out
}

// keys are the keys of all maps (or lists of KEY=VALUE) at a path, in the order in which they are written.
func (s *sources) keys(path ...string) []string {
	nodes := s.all(path...)
	var out []string
	seen := map[string]bool{}
	add := func(k string) {
		if !seen[k] {
			seen[k] = true
			out = append(out, k)
		}
	}
	for i := len(nodes) - 1; i >= 0; i-- {
		for _, k := range nodes[i].Keys() {
			add(k)
		}
		for _, item := range nodes[i].Items() {
			if text, ok := item.Scalar(); ok {
				k, _, _ := strings.Cut(text, "=")
				add(k)
			}
		}
	}
	return out
}
