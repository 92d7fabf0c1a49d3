package store

// Space is what the database that a store is kept in takes, in bytes.
type Space struct {
	// Size is the file's, of which InUse is needed; Quota is the most that Size may be, 0 where that is not known.
	Size, InUse, Quota int64
	// Full says that the store refuses writes, since this or another member was beyond its quota.
	Full bool
}
