package slice

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/argosy-cluster/argosy/internal/claims"
)

const (
	// Family is the slice above those of claims.
	Family = "argosy-claim"
	suffix = ".slice"
	// readable is how much of a claim's name is shown: names of units have 255 characters at most.
	readable = 96
)

// Name is that of a claim's slice. It says whose it is, as far as a unit's name can, and is told from all others by a hash: a
// hyphen would mean a slice within another one.
func (g *Groups) Name(id claims.ID, t claims.Token) string {
	_, short, _ := strings.Cut(string(id), "/") // the tenant is in the hash
	short = strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.':
			return r
		}
		return '_'
	}, short)
	sum := sha256.Sum256([]byte(id))
	return g.family + "-" + short[:min(len(short), readable)] + "." + hex.EncodeToString(sum[:8]) + "." +
		strconv.FormatUint(t.Generation, 10) + "_" + strconv.FormatUint(t.Revision, 10) + suffix
}

// Path is where a slice is below the root of the cgroups, and below that of each hierarchy of cgroup v1.
func (g *Groups) Path(name string) string { return g.parents() + "/" + name }

// parents is where systemd puts the family.
func (g *Groups) parents() string {
	above, _, _ := strings.Cut(g.family, "-")
	return "/" + above + suffix + "/" + g.family + suffix
}
