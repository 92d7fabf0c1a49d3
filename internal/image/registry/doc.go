// Package registry speaks the OCI distribution protocol (version 2), so that Docker can pull from Argosy's servers as
// from any registry, and so that images are sent to them.
//
// A Handler serves a blobs.Store under /v2/TENANT/NAME/…; a Client is the other side, for `argosy image load` and for
// servers that copy from each other.
//
//	GET, HEAD  /v2/T/N/manifests/TAG|DIGEST    PUT, DELETE
//	GET, HEAD  /v2/T/N/blobs/DIGEST            with Range
//	GET        /v2/T/N/tags/list
//	POST       /v2/T/N/blobs/uploads/          ?digest= all at once, ?mount= there already? (then &resume=1, see below)
//	GET, PATCH, PUT, DELETE  /v2/T/N/blobs/uploads/ID
//
// Three things go beyond the protocol, and other clients need not know of them. GET /v2/T/_images lists the tenant's
// names with their digests and sizes. A POST with mount=DIGEST&resume=1 that
// finds no such blob returns the unfinished upload of that content, if there is one. And every answer about an upload
// carries Argosy-Offset, the number of bytes there are, because the protocol's "Range: 0-0" may mean none or one.
//
// # What the handler guarantees
//
//   - Authorize is asked first, before anything about the tenant can be learnt; without one everything is refused.
//   - Whatever path, header or body comes in, the answer is an error of the protocol with a sentence in it; bodies are
//     bounded; a peer that stops reading or writing for Options.Idle is cut off, however long the transfer takes in all.
//   - 201 means that the content was verified and survives a crash.
package registry
