// Package backup is the file that a cluster is put into, and comes back from.
//
// Whoever makes one says what opens it, writes its parts one after another, and learns at the end what it came to:
//
//	w, err := backup.NewWriter(out, lock, backup.Contents{Cluster: id, …})
//	err = w.Add("store.db", size, snapshot)
//	summary, err := w.Close()
//
// Whoever reads one needs a key, and gets the parts in the order in which they were written. What has been read is to be
// believed only once Next has returned io.EOF: then nothing was missing and nothing changed.
//
//	r, err := backup.Open(in, key)
//	for part, err := r.Next(); err == nil; part, err = r.Next() { … part.Body … }
//
// # The file
//
//	argosy backup 1                  the version of the format
//	{"id": …, "cluster": …}          a line of JSON: what may be known without a key
//	age( zstd( tar ) )               the parts; the first, backup.json, repeats the digest of the lines above
//	sha256 …                         a line: the digest of everything before, so that whoever has no key sees a file that was
//	                                 cut or has rotted
//
// Everything but the head is encrypted, by age (https://age-encryption.org), to public keys. A passphrase is turned into
// that, too: a key is made for it, and the head holds the key's secret half encrypted with the passphrase. So whoever makes
// the backup, such as a server at night, never has what opens it.
//
// # What holds
//
//   - Neither end needs more memory than a few MiB, however large the backup, and whatever it claims.
//   - A file that was cut, changed, made by a newer release or for another key is refused with a sentence that says which.
package backup
