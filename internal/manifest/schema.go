package manifest

import (
	"encoding/json"
	"sync"
)

// Schema is the JSON Schema (2020-12) of the manifest, for editors. It is made from the parser's tables: every key that
// the parser takes is in it, and no other. What it cannot say (references, amounts that exclude each other) only the
// parser finds.
func Schema() []byte { return append([]byte(nil), schemaText()...) }

var schemaText = sync.OnceValue(func() []byte {
	s := tables().app.schema()
	s["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	s["title"] = "Argosy manifest"
	s["description"] = "What an app is: containers, the stacks they belong to, and how many of each the cluster needs."
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		panic("manifest: the schema cannot be encoded: " + err.Error()) // it is made of maps and strings only
	}
	return append(text, '\n')
})
