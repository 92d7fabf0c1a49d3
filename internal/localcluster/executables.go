package localcluster

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"

	"github.com/argosy-cluster/argosy/internal/handover"
)

// Where the executables are in a machine.
const (
	lightPath = "/usr/local/bin/" + handover.Light
	heavyPath = "/usr/local/bin/" + handover.Heavy
	// witnessPath is the small one's that keeps a server's lease table.
	witnessPath = "/usr/local/bin/" + witnessName
	witnessName = "argosy-witness"
	// guardPath is the small one's that keeps a machine's leases.
	guardPath = "/usr/local/bin/" + guardName
	guardName = "argosy-guard"
)

// executable is one that machines get, held open so that what was hashed is what is copied, whoever replaces the file
// meanwhile.
type executable struct {
	file *os.File
	to   string // in the machine
	size int64
	hash string
}

// pair finds the two executables of this host.
func (l *Local) pair() (light, heavy string, err error) {
	if light = l.opts.Binary; light == "" {
		if light, err = handover.Find(handover.Light); err != nil {
			return "", "", err
		}
	}
	if st, err := os.Stat(light); err != nil {
		return "", "", err
	} else if !st.Mode().IsRegular() || st.Mode()&0o111 == 0 {
		return "", "", fmt.Errorf("%s is not an executable file", light)
	}
	heavy, err = handover.FindFor(light, handover.Heavy)
	return light, heavy, err
}

// executables opens what machines get, none where they are bare.
func (l *Local) executables() (all []executable, err error) {
	if l.opts.Bare {
		return nil, nil
	}
	defer func() {
		if err != nil {
			closeAll(all)
		}
	}()
	light, heavy, err := l.pair()
	if err != nil {
		return nil, err
	}
	witness, err := handover.FindFor(light, witnessName)
	if err != nil {
		return nil, err
	}
	guard, err := handover.FindFor(light, guardName)
	if err != nil {
		return nil, err
	}
	for _, e := range []struct{ from, to string }{{light, lightPath}, {heavy, heavyPath}, {witness, witnessPath}, {guard, guardPath}} {
		f, err := os.Open(e.from)
		if err != nil {
			return all, err
		}
		all = append(all, executable{file: f, to: e.to})
		x := &all[len(all)-1]
		h := sha256.New()
		if x.size, err = io.Copy(h, f); err != nil {
			return all, fmt.Errorf("read %s: %w", e.from, err)
		}
		x.hash = hex.EncodeToString(h.Sum(nil))
	}
	return all, nil
}

func closeAll(all []executable) {
	for _, x := range all {
		_ = x.file.Close() // was only read
	}
}
