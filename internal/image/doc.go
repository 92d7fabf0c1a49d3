// Package image says what an image is to Argosy: the words for naming one (Ref, Digest), and the strict, bounded reading
// of the JSON that describes one (Manifest, Config). It does no I/O. The rooms below it do:
//
//	testimage   makes a tiny image out of nothing
//	blobs       a server's store of images on disk
//	registry    speaks the OCI distribution protocol: a Handler over blobs.Store, and a Client
//	load        takes an image from Docker or a tar and sends what the cluster lacks of it
//	relay       a machine's read-only registry on 127.0.0.1, which Docker pulls from and servers answer
//	remote      finds what a tag means in somebody else's registry
//
// # How an image travels
//
//	Docker, tar ──load──▶ registry.Handler ─▶ blobs.Store          apply: Store.Resolve(name:tag) ─▶ digest,
//	                        one server or several                  else remote.Resolve ─▶ digest; the revision keeps it
//	                               ▲
//	                               │ mTLS, any server that answers
//	       dockerd ──pull──▶ relay (127.0.0.1)
//
// Everything is content-addressed: a blob is named by the SHA-256 of its bytes, so whoever holds a digest needs to trust
// nobody on the way. Layers are sent as Docker keeps them, not compressed again: their digest then is the diff id that
// `docker inspect` shows, so what the cluster has is known before a byte is read, the same layer gets the same digest on
// every host, and neither the sender nor fifty machines spend processor time on gzip. The price is bytes on the wire and
// on the servers' disks (two to three times), paid once per layer.
//
// # What others rely on
//
//   - A digest names one content for ever. A tag may move; revisions hold digests only.
//   - A tenant sees only what that tenant sent. Equal bytes of two tenants share disk, never visibility.
//   - A manifest that the store acknowledged has all its blobs, verified and on disk.
package image
