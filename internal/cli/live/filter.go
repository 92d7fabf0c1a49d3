package live

import "strings"

// filter is what somebody typed to see less: all terms must be met. A term is a piece of text, or key:text for one column.
type filter struct {
	text  string
	terms []term
}

type term struct{ key, text string }

// filterKeys are the columns that a term can name.
var filterKeys = []string{"name", "state", "machine", "message", "app", "stack", "tenant"}

func parseFilter(text string) filter {
	f := filter{text: text}
	for _, w := range strings.Fields(strings.ToLower(text)) {
		t := term{text: w}
		if k, v, ok := strings.Cut(w, ":"); ok && isFilterKey(k) {
			t = term{k, v}
		}
		f.terms = append(f.terms, t)
	}
	return f
}

func isFilterKey(s string) bool {
	for _, k := range filterKeys {
		if s == k {
			return true
		}
	}
	return false
}

// narrows reports whether what passes a longer text has passed this one: more letters of a term that looks for a part, or more
// terms.
func (f *filter) narrows(text string) bool {
	more, ok := strings.CutPrefix(text, f.text)
	if !ok || len(f.terms) == 0 || strings.Contains(more, ":") {
		return false
	}
	for _, t := range f.terms {
		if t.whole() {
			return false
		}
	}
	return true
}

// whole reports whether a term must be met by the whole of a name, not by a part of it.
func (t term) whole() bool {
	switch t.key {
	case "machine", "app", "stack", "tenant":
		return true
	}
	return false
}

func (f *filter) has(r *row) bool {
	for _, t := range f.terms {
		if !t.has(r) {
			return false
		}
	}
	return true
}

func (t term) has(r *row) bool {
	switch t.key {
	case "":
		return strings.Contains(r.haystack, t.text)
	case "name":
		return strings.Contains(strings.ToLower(r.name), t.text)
	case "state":
		s, _ := r.state()
		return strings.HasPrefix(s, t.text)
	case "machine":
		return strings.ToLower(r.machineName()) == t.text
	case "message":
		return strings.Contains(strings.ToLower(r.message()), t.text)
	}
	k := r.replica.GetReplica().GetKey()
	switch t.key {
	case "app":
		return k.GetApp() == t.text
	case "stack":
		return k.GetStack() == t.text
	default:
		return k.GetTenant() == t.text
	}
}
