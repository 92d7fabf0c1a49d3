package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// A shape is one kind of value: how it is read, how the schema describes it, and what the docs call it. The shapes of all
// keys are put together in tables (object), from which the parser, the schema and the reference docs are made.
type shape[V any] struct {
	word   string // "whole number", "list of texts"
	schema jsonSchema
	read   func(*reader, value) (V, bool)
	keys   []keyDoc // of the object within, for the docs
}

// jsonSchema is a JSON Schema; encoding sorts its keys.
type jsonSchema map[string]any

// keyDoc is what the docs and the schema know of a key.
type keyDoc struct {
	name, doc, example string
	word               string
	standard           any // what holds when the key is not there, when that can be written; or nil
	schema             jsonSchema
	required           bool
	refused            string // why it is not honoured; empty when it is
	instead            string // what to do instead
	own                bool   // Argosy's key, not Compose's
	keys               []keyDoc
}

// key is one key of an object that is read into a T.
type key[T any] struct {
	keyDoc
	read func(*reader, value, T) bool
}

// object is a map with known keys.
type object[T any] struct {
	noun  string
	list  []key[T]
	index map[string]int
	names []string // honoured keys, for suggestions
}

func newObject[T any](noun string, keys ...key[T]) *object[T] {
	o := &object[T]{noun: noun, list: keys, index: make(map[string]int, len(keys))}
	if len(keys) > 128 {
		panic("manifest: the table of " + noun + " has more than 128 keys")
	}
	for i, k := range keys {
		if _, twice := o.index[k.name]; twice {
			panic("manifest: the table of " + noun + " has " + k.name + " twice")
		}
		o.index[k.name] = i
		if k.refused == "" {
			o.names = append(o.names, k.name)
		}
	}
	return o
}

// field is a key that is honoured: what shape reads is handed to set together with its place.
func field[T, V any](name string, s shape[V], doc string, set func(*reader, T, V, value)) key[T] {
	return key[T]{
		keyDoc: keyDoc{name: name, doc: doc, word: s.word, schema: s.schema, keys: s.keys},
		read: func(r *reader, v value, into T) bool {
			got, ok := s.read(r, v)
			if ok {
				set(r, into, got, v)
			}
			return ok
		},
	}
}

// refuse is a key that is known and not honoured.
func refuse[T any](name, why, instead string) key[T] {
	return key[T]{keyDoc: keyDoc{name: name, refused: why, instead: instead}}
}

func (k key[T]) must() key[T]               { k.required = true; return k }
func (k key[T]) ours() key[T]               { k.own = true; return k }
func (k key[T]) like(example string) key[T] { k.example = example; return k }

// unsaid tells what holds when the key is not there.
func (k key[T]) unsaid(standard any) key[T] { k.standard = standard; return k }

// read hands every key of the map v to its field; false means that something in it was wrong. what names the map in
// messages: `container web`.
func (o *object[T]) read(r *reader, v value, what string, into T) bool {
	entries, ok := r.entries(v)
	if !ok && entries == nil {
		return false
	}
	var seen [2]uint64
	for _, e := range entries {
		if r.stopped {
			return false
		}
		i, known := o.index[e.key.Value]
		switch {
		case known && o.list[i].refused != "":
			k := o.list[i]
			r.fault(e.name(), "%s is not honoured in %s: %s", quoted(k.name), what, k.refused).Advise("%s", k.instead)
			ok = false
		case known:
			seen[i/64] |= 1 << (i % 64)
			ok = o.list[i].read(r, e.value, into) && ok
		case strings.HasPrefix(e.key.Value, "x-"):
			// By Compose's rule, a place for anchors and for other tools.
		default:
			f := r.fault(e.name(), "unknown key %s in %s", quoted(e.key.Value), what).NearNow(e.key.Value, o.names)
			if i, known := o.index[f.Suggested()]; known {
				seen[i/64] |= 1 << (i % 64) // misspelled is not missing as well
			}
			ok = false
		}
	}
	for i, k := range o.list {
		if k.required && seen[i/64]&(1<<(i%64)) == 0 {
			r.fault(v.name(), "%s has no %s", what, quoted(k.name)).Advise("%s", k.missing())
			ok = false
		}
	}
	return ok
}

func (k keyDoc) missing() string {
	if k.example != "" && !strings.Contains(k.example, "\n") {
		return fmt.Sprintf("add `%s`", k.example)
	}
	return "add it: " + k.word
}

func (o *object[T]) docs() []keyDoc {
	out := make([]keyDoc, len(o.list))
	for i, k := range o.list {
		out[i] = k.keyDoc
	}
	return out
}

// within reads an object as the value of a key; fresh makes what it is read into.
func within[T any](o *object[T], fresh func() T) shape[T] {
	return shape[T]{word: "map", schema: o.schema(), keys: o.docs(), read: func(r *reader, v value) (T, bool) {
		into := fresh()
		return into, o.read(r, v, o.noun, into)
	}}
}

// section is within for a map whose keys mean something without each other: what is right of it is used even when
// something in it is wrong, so that nothing seems missing that is there.
func section[T any](o *object[T], fresh func() T) shape[T] {
	s := within(o, fresh)
	s.read = func(r *reader, v value) (T, bool) {
		into := fresh()
		return into, o.read(r, v, o.noun, into) || v.isMap()
	}
	return s
}

// variable lets a schema accept a variable in place of the value.
func variable(s jsonSchema) jsonSchema {
	return jsonSchema{"anyOf": []any{s, jsonSchema{"type": "string", "pattern": `\$`}}}
}

// text is a string that is not empty. A number must be quoted, so that nothing is lost: 1.10 is not 1.1.
func text() shape[string] {
	return shape[string]{word: "text", schema: jsonSchema{"type": "string", "minLength": 1}, read: someText}
}

func someText(r *reader, v value) (string, bool) {
	s, ok := anyText(r, v, false)
	if ok && s == "" {
		r.fault(v, "%s is empty", v.what())
		return "", false
	}
	return s, ok
}

// loose is a single value of any kind, taken as written.
func loose() shape[string] {
	return shape[string]{word: "text or number", schema: jsonSchema{"type": []string{"string", "number", "boolean"}},
		read: func(r *reader, v value) (string, bool) { return anyText(r, v, true) }}
}

func anyText(r *reader, v value, numbers bool) (string, bool) {
	s, ok := r.scalar(v)
	if ok && !numbers && !v.isString() {
		r.fault(v, "%s must be text, not %s", v.what(), v.kind()).Meant(strconv.Quote(v.n.Value))
		return "", false
	}
	if ok && strings.ContainsRune(s, 0) {
		r.fault(v, "%s has a zero byte in it", v.what())
		return "", false
	}
	return s, ok
}

// strict takes only what YAML takes for text.
func strict[V any](s shape[V]) shape[V] {
	read := s.read
	s.read = func(r *reader, v value) (V, bool) {
		if v.isScalar() && !v.isNull() && !v.isString() {
			var none V
			r.fault(v, "%s must be text, not %s", v.what(), v.kind()).Meant(strconv.Quote(v.n.Value))
			return none, false
		}
		return read(r, v)
	}
	return s
}

// parsed is a text or number that parse understands; its error is the message.
func parsed[V any](word string, schema jsonSchema, parse func(string) (V, error)) shape[V] {
	return shape[V]{word: word, schema: schema, read: func(r *reader, v value) (V, bool) {
		s, ok := r.scalar(v)
		if !ok {
			var none V
			return none, false
		}
		return parsedText(r, v, s, parse)
	}}
}

// parsedText is the part of parsed behind interpolation.
func parsedText[V any](r *reader, v value, s string, parse func(string) (V, error)) (V, bool) {
	got, err := parse(s)
	if err == nil {
		return got, true
	}
	message := err.Error()
	if v.key != nil {
		message = v.key.Value + ": " + message
	}
	f := r.fault(v, "%s", message)
	var better *betterError
	if errors.As(err, &better) {
		f.Meant(better.suggestion).Advise("%s", better.hint)
	}
	return got, false
}

// betterError is an error that knows what was meant or what to do.
type betterError struct{ message, suggestion, hint string }

func (e *betterError) Error() string { return e.message }

// boolean is true or false, also in quotes, as Compose has it.
func boolean() shape[bool] {
	return shape[bool]{word: "true or false",
		schema: jsonSchema{"anyOf": []any{jsonSchema{"type": "boolean"}, jsonSchema{"enum": []string{"true", "false"}},
			jsonSchema{"type": "string", "pattern": `\$`}}},
		read: func(r *reader, v value) (bool, bool) {
			s, ok := r.scalar(v)
			if !ok {
				return false, false
			}
			switch s {
			case "true", "True", "TRUE":
				return true, true
			case "false", "False", "FALSE":
				return false, true
			}
			f := r.fault(v, "%s must be true or false, not %s", v.what(), quoted(s))
			switch strings.ToLower(s) {
			case "yes", "on", "y", "1":
				f.Meant("true")
			case "no", "off", "n", "0":
				f.Meant("false")
			}
			return false, false
		}}
}

// whole is a whole number in a range, also in quotes.
func whole(least, most int64) shape[int64] {
	return parsed("whole number", wholeSchema(least, most), func(s string) (int64, error) {
		return parseWhole(s, least, most)
	})
}

func wholeSchema(least, most int64) jsonSchema {
	return jsonSchema{"anyOf": []any{
		jsonSchema{"type": "integer", "minimum": least, "maximum": most},
		jsonSchema{"type": "string", "pattern": `^-?[0-9]+$|\$`}}}
}

func parseWhole(s string, least, most int64) (int64, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil:
		return 0, fmt.Errorf("%s is not a whole number", quoted(s))
	case n < least || n > most:
		return 0, fmt.Errorf("%d is not between %d and %d", n, least, most)
	}
	return n, nil
}

// choice is one of a few words.
func choice[V any](word string, options map[string]V) shape[V] {
	names := make([]string, 0, len(options))
	for name := range options {
		names = append(names, name)
	}
	slices.Sort(names)
	return shape[V]{word: word, schema: variable(jsonSchema{"enum": names}), read: func(r *reader, v value) (V, bool) {
		s, ok := r.scalar(v)
		if !ok {
			var none V
			return none, false
		}
		got, known := options[s]
		if !known {
			r.fault(v, "%s cannot be %s", v.what(), quoted(s)).Near(s, names).Advise("%s", oneOf(names))
		}
		return got, known
	}}
}

func oneOf(words []string) string {
	if len(words) == 1 {
		return "it can only be " + words[0]
	}
	return "it is one of " + strings.Join(words, ", ")
}

// listOf is a list of values of one shape. Elements that are wrong are left out of what it reads.
func listOf[V any](s shape[V]) shape[[]V] {
	return shape[[]V]{word: "list, each " + s.word, schema: jsonSchema{"type": "array", "items": s.schema}, keys: s.keys,
		read: func(r *reader, v value) ([]V, bool) {
			items, ok := r.items(v)
			if !ok {
				return nil, false
			}
			out := make([]V, 0, len(items))
			for _, item := range items {
				if got, fine := s.read(r, item); fine {
					out = append(out, got)
				}
			}
			return out, true
		}}
}

// oneOrMore is a single value or a list of them.
func oneOrMore[V any](s shape[V]) shape[[]V] {
	list := listOf(s)
	return shape[[]V]{word: s.word + ", or a list of them", keys: s.keys,
		schema: jsonSchema{"anyOf": []any{s.schema, list.schema}},
		read: func(r *reader, v value) ([]V, bool) {
			if v.isList() {
				return list.read(r, v)
			}
			got, ok := s.read(r, v)
			return []V{got}, ok
		}}
}

// placed is a value that remembers where it stands.
type placed[V any] struct {
	is V
	at value
}

func where[V any](s shape[V]) shape[placed[V]] {
	return shape[placed[V]]{word: s.word, schema: s.schema, keys: s.keys, read: func(r *reader, v value) (placed[V], bool) {
		got, ok := s.read(r, v)
		return placed[V]{got, v}, ok
	}}
}

// shortOrLong is Compose's pair of syntaxes: a single value, or a map.
func shortOrLong[V any](short, long shape[V]) shape[V] {
	return shape[V]{word: short.word + ", or a map", keys: long.keys,
		schema: jsonSchema{"anyOf": []any{short.schema, long.schema}},
		read: func(r *reader, v value) (V, bool) {
			if v.isMap() {
				return long.read(r, v)
			}
			return short.read(r, v)
		}}
}

// pair is an entry of a map, or a `KEY=VALUE` of a list; value is nil when only the key was said.
type pair struct {
	key   string
	value *string
	at    value
}

// pairs is Compose's map that may also be a list of `KEY=VALUE`. A key without a value is allowed.
func pairs() shape[[]pair] {
	list := listOf(text())
	single := jsonSchema{"type": []string{"string", "number", "boolean", "null"}}
	return shape[[]pair]{word: "map, or a list of `KEY=VALUE`",
		schema: jsonSchema{"anyOf": []any{jsonSchema{"type": "object", "additionalProperties": single}, list.schema}},
		read: func(r *reader, v value) ([]pair, bool) {
			if v.isList() {
				return listedPairs(r, v)
			}
			entries, ok := r.entries(v)
			out := make([]pair, 0, len(entries))
			for _, e := range entries {
				p := pair{key: e.key.Value, at: e.value}
				if !e.isNull() {
					s, fine := anyText(r, e.value, true)
					if !fine {
						continue
					}
					p.value = &s
				}
				out = append(out, p)
			}
			return out, ok
		}}
}

func listedPairs(r *reader, v value) ([]pair, bool) {
	items, ok := r.items(v)
	out := make([]pair, 0, len(items))
	first := make(map[string]value, len(items))
	for _, item := range items {
		s, fine := someText(r, item)
		if !fine {
			continue
		}
		p := pair{key: s, at: item}
		if k, val, has := strings.Cut(s, "="); has {
			p.key, p.value = k, &val
		}
		if p.key == "" {
			r.fault(item, "a name is missing before %s", quoted("="))
			continue
		}
		if other, twice := first[p.key]; twice {
			r.fault(item, "%s is here twice; it first stands in line %d", quoted(p.key), other.n.Line)
			continue
		}
		first[p.key] = item
		out = append(out, p)
	}
	return out, ok
}
