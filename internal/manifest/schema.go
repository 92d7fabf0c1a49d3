package manifest

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"go.yaml.in/yaml/v4"
)

// SchemaID names the schema. There is nothing to be fetched at it: `argosy schema` prints it.
const SchemaID = "urn:argosy:manifest:v1"

// Schema is the JSON Schema (2020-12) of the manifest, for editors. It is made from the parser's tables: every key that
// the parser takes is in it with what its value is (as its title), its description, an example and what holds without
// it. Keys of Compose that are not honoured are in it too, and take no value: an editor can then say why. What it cannot
// say (references, amounts that exclude each other) only the parser finds.
//
// markdownDescription, patternErrorMessage, deprecationMessage and doNotSuggest are not JSON Schema's: editors' YAML
// servers understand them, and everybody else passes them over.
func Schema() []byte { return append([]byte(nil), schemaText()...) }

var schemaText = sync.OnceValue(func() []byte {
	s := tables().app.schema()
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["$id"] = SchemaID
	s["title"] = "Argosy manifest"
	s["description"] = "What an app is: containers, the stacks they belong to, and how many of each the cluster needs."
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic("manifest: the schema cannot be encoded: " + err.Error()) // it is made of the tables only
	}
	return append(text, '\n')
})

func (o *object[T]) schema() jsonSchema { return objectSchema(o.docs()) }

func objectSchema(keys []keyDoc) jsonSchema {
	props := jsonSchema{}
	var required []string
	for _, k := range keys {
		props[k.name] = k.property()
		if k.required {
			required = append(required, k.name)
		}
	}
	s := jsonSchema{"type": "object", "properties": props, "additionalProperties": false,
		"patternProperties": jsonSchema{"^x-": jsonSchema{}}}
	if required != nil {
		s["required"] = required
	}
	return s
}

// property is the schema of the key's value, with all that is known of the key.
func (k keyDoc) property() jsonSchema {
	if k.refused != "" {
		why := fmt.Sprintf("%s is not honoured: %s. Instead: %s.", k.name, k.refused, k.instead)
		return jsonSchema{"not": jsonSchema{}, "description": plainText(why), "markdownDescription": why,
			"deprecationMessage": plainText(why), "doNotSuggest": true}
	}
	s := jsonSchema{"title": plainText(k.word), "description": plainText(k.text()), "markdownDescription": k.text(),
		"examples": []any{example(k)}}
	for name, v := range k.schema {
		s[name] = v
	}
	if k.standard != nil {
		s["default"] = k.standard
	}
	return s
}

// text is the description together with what holds when the key is not there.
func (k keyDoc) text() string {
	if k.standard == nil {
		return k.doc
	}
	return fmt.Sprintf("%s The default is `%v`.", k.doc, k.standard)
}

// plainText is Markdown for those who show it as it is.
func plainText(markdown string) string { return strings.ReplaceAll(markdown, "`", "") }

// example is the example of a key as the schema has it: the value alone. It is read when it is encoded, so that whoever
// only parses manifests does not pay for it.
type example keyDoc

func (e example) MarshalJSON() ([]byte, error) {
	var entry map[string]any
	if err := yaml.Load([]byte(e.example), &entry); err != nil {
		return nil, fmt.Errorf("the example of %s: %w", e.name, err)
	}
	return json.Marshal(entry[e.name])
}

// anyCase is a regular expression for words and what separates them, whether they are in capitals or not: schemas have
// no flag for that.
func anyCase(words string) string {
	var b strings.Builder
	for _, c := range words {
		if lower := c | 0x20; lower >= 'a' && lower <= 'z' {
			fmt.Fprintf(&b, "[%c%c]", c&^0x20, lower)
		} else {
			b.WriteRune(c)
		}
	}
	return b.String()
}

// signalSchema offers the usual names and takes every spelling of them, and numbers.
func signalSchema() jsonSchema {
	names := make([]string, len(signals))
	for i, s := range signals {
		names[i] = "SIG" + s
	}
	return jsonSchema{"anyOf": []any{jsonSchema{"enum": names}, jsonSchema{"type": "integer", "minimum": 1, "maximum": 64},
		jsonSchema{"type": "string", "pattern": "^(" + anyCase("SIG") + ")?(" + anyCase(strings.Join(signals, "|")+"|RTMIN|RTMAX") + `|[Rr][Tt][Mm]([Ii][Nn]\+|[Aa][Xx]-)[0-9]+|[0-9]+)$|\$`,
			"patternErrorMessage": "this is not a signal: write a name such as SIGTERM, or its number"}}}
}
