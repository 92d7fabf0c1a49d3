package server

import (
	"sync"

	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// unitFacts keeps what listings show of units' texts, so that these are not read again for each. The zero value is ready.
type unitFacts struct {
	mu    sync.Mutex
	known map[unitText]unitFact
}

type unitText struct{ name, content string }

type unitFact struct {
	hash   string
	global bool
}

// maxUnitFacts bounds what is kept: enough for a cluster's units, and for those that they were before.
const maxUnitFacts = 20_000

// of is what there is to know of a text; the zero fact if it cannot be read.
func (u *unitFacts) of(name, content string) unitFact {
	key := unitText{name, content}
	u.mu.Lock()
	defer u.mu.Unlock()
	if f, ok := u.known[key]; ok {
		return f
	}
	f := readFact(key)
	if u.known == nil || len(u.known) >= maxUnitFacts {
		u.known = map[unitText]unitFact{}
	}
	u.known[key] = f
	return f
}

func readFact(t unitText) (f unitFact) {
	file, faults := unitfile.Parse(t.name, t.content)
	if len(faults) > 0 {
		return f
	}
	f.hash = file.Hash()
	if name, err := unitfile.ParseName(t.name); err == nil {
		fleet, _ := file.Fleet(name) // it was judged when it was submitted
		f.global = fleet.Global
	}
	return f
}
