// Package blobs keeps the images of a server on its disk.
//
// A Store has one directory. It holds verified content and nothing else, so there is no index to lose, and every state
// that a crash can leave is either complete or swept up by Collect:
//
//	pool/HEX                      content with that SHA-256, once for all tenants
//	tenants/T/blobs/HEX           a hard link to it: tenant T has sent this content, so T may read it
//	tenants/T/manifests/HEX       a manifest; all that it needs is in tenants/T
//	tenants/T/names/NAME/TAG      the digest of the manifest that NAME:TAG means; "/" in NAME is written "+"
//	uploads/T.ID                  content on its way in, not yet verified
//	tmp/                          emptied when the store opens
//
// # Invariants
//
//   - A file appears in pool only by a rename, after its bytes were hashed, found to be what its name says, and flushed.
//   - A manifest appears only when everything it points at is there, and goes before any of that goes.
//   - What Commit, PutManifest and Tag returned nil for survives a crash.
//   - A tenant reads only what that tenant has sent in full: knowing a digest is not enough.
//
// # A blob's way in
//
//	id, offset := Start(tenant, digest)        // the same unfinished upload again, if there is one
//	for bytes come { offset = Append(tenant, id, offset, bytes) }
//	Commit(tenant, id, digest)                 // verify, flush, rename, link
//	...
//	PutManifest(tenant, name, tag, manifest)   // checks that all is there
//
// Collect removes what no name, no revision and no recent sender needs; decide, which is pure, says what. Scrub throws
// away what the disk has changed, so that it can be sent again.
package blobs
