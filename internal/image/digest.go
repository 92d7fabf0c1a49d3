package image

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
)

// Digest is the name of a content: "sha256:" and 64 lower-case hexadecimal digits. Values made by ParseDigest, Sum and
// DigestOf are safe to use as part of a file name or a URL.
type Digest string

const digestPrefix = "sha256:"

// ParseDigest accepts only the form described at Digest.
func ParseDigest(s string) (Digest, error) {
	hexa, ok := strings.CutPrefix(s, digestPrefix)
	if !ok || !isHex(hexa) {
		return "", fmt.Errorf("%s is not a digest: a digest is sha256: and 64 digits of 0-9 and a-f", clip(s))
	}
	return Digest(s), nil
}

// DigestOf names the content whose SHA-256 is sum.
func DigestOf(sum [sha256.Size]byte) Digest { return Digest(digestPrefix + hex.EncodeToString(sum[:])) }

// Sum names the content b.
func Sum(b []byte) Digest { return DigestOf(sha256.Sum256(b)) }

// Hex returns the digits alone.
func (d Digest) Hex() string { return strings.TrimPrefix(string(d), digestPrefix) }

// Short returns enough of the digits for people to tell digests apart.
func (d Digest) Short() string {
	h := d.Hex()
	return h[:min(12, len(h))]
}

func isHex(s string) bool {
	if len(s) != 2*sha256.Size {
		return false
	}
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return true
}

// clip quotes hostile text for a message, shortened.
func clip(s string) string {
	const most = 80
	if len(s) > most {
		return fmt.Sprintf("%q…", s[:most])
	}
	return fmt.Sprintf("%q", s)
}
