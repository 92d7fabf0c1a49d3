package volumesource

import (
	"crypto/sha256"
	"encoding/binary"
)

// Reach is how a machine says that it reaches what a manifest calls by this name (`LABEL=…`, `UUID=…`, `/dev/…`): the first eight
// bytes of its SHA-256, the highest first.
func Reach(name string) uint64 {
	sum := sha256.Sum256([]byte(name))
	return binary.BigEndian.Uint64(sum[:8])
}
