// Package lsp is a language server for manifests: an editor starts `argosy lsp` and speaks the Language Server Protocol
// with it over standard input and output.
//
//	reader:  frame ─▶ message ─▶ queue; a cancellation marks the request that it is about
//	main:    for each message: answer it, or take the change and note which manifests it may concern
//	         when no message waits: check one noted manifest, publish what is wrong with it
//
// So what has been overtaken by a newer change is never checked, and a question is answered about the newest text.
//
// What is wrong with a manifest is what [manifest.Parse] says, word for word and place for place, as `argosy validate`
// has it. What can be written at a place comes from the JSON Schema, which is made from the parser's tables; where the
// cursor is, in a text that is being typed, from package sketch.
//
// A document that is no manifest is left alone: editors attach one server to everything that is YAML. A manifest is what
// has the key `argosy` at its top level, begins with a comment `# argosy: …`, or is of the language `argosy`. Each is an
// app by itself, unless a comment in its head says which files are the same app, as one would give them to `validate`:
//
//	# argosy: with base.yaml
//
// The protocol is small here, one client and one request at a time, and the libraries for it believe any Content-Length;
// frame.go is our own and bounds what it reads.
package lsp
