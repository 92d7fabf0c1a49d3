// Package sketch finds out where one is in YAML that may not be YAML yet: it is being typed.
//
//	doc := sketch.Read(text)
//	node, role := doc.At(offset)       // the entry, item or value there, and whether offset is in its key or its value
//	node.Path()                        // containers, web, depends_on, 0
//
// The YAML library of package manifest is right about what a text means and says nothing about one that is broken. A
// sketch is the other way round: by indentation, brackets and quotes it makes a tree of any text, in one pass, without
// ever failing. Of a text that is right it makes the library's tree (a test compares them); of `  ima` below a container
// it makes an entry that lacks its colon.
//
//	for each line: its indentation says which open map or list it continues          (block)
//	               `- ` opens an item, `word:` an entry; else it is a value, or a word on its way to be a key
//	[ { and quotes go on over lines, unless a line's indentation says that they were left open   (flow)
//
// Nothing of the text is copied, and nesting is bounded.
package sketch
