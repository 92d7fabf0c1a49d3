package upkeep

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// Member is a member of the store as it is.
type Member struct {
	Name string
	// Leads says that it leads the store; Well that it answers and is not behind.
	Leads, Well bool
	// Size is its database file's, of which InUse is needed. Quota is the most that Size may be.
	Size, InUse, Quota int64
	// Tended is when it was last defragmented, zero for not lately.
	Tended time.Time
}

// Store is the store as it is.
type Store struct {
	Members []Member
	// Full says that the store refuses writes, since some member was beyond its quota.
	Full bool
	// Compacted is when its history was last dropped for want of room, zero for not lately.
	Compacted time.Time
}

// Kind is what a step does.
type Kind int

// Kinds of steps.
const (
	Nothing    Kind = iota
	Compact         // drop the store's history
	HandOver        // have another member lead
	Defragment      // have a member give back what it does not need
	Reopen          // let the store be written to again
)

var kinds = map[Kind]string{Nothing: "nothing", Compact: "compact", HandOver: "hand over", Defragment: "defragment", Reopen: "reopen"}

func (k Kind) String() string { return kinds[k] }

// Step is what to do now. Member is whom it is about; Why a sentence's end.
type Step struct {
	Kind   Kind
	Member string
	Why    string
}

const (
	// again is how long a member is left alone after it was defragmented, and hurry the same while the store is full.
	again, hurry = time.Hour, time.Minute
	// least is what is worth giving back at any time, if it is also half of the file; leastShort where room is short, if it
	// is also a tenth.
	least, leastShort = 64 << 20, 4 << 20
	// short is the part of the quota, in percent, from which room is short. Below open a full store is opened again.
	short, open = 80, 90
)

// Percent is how much of its quota a member takes.
func (m Member) Percent() int {
	if m.Quota <= 0 {
		return 0
	}
	return int(100 * float64(m.Size) / float64(m.Quota))
}

// Short says that room is short.
func (m Member) Short() bool { return m.Percent() >= short }

// gain is what defragmenting a member gives back, 0 when that is not worth it.
func (m Member) gain(full bool) int64 {
	free := m.Size - m.InUse
	switch {
	case free >= least && free >= m.Size/2, (full || m.Short()) && free >= leastShort && free >= m.Size/10:
		return free
	}
	return 0
}

// tight says that a member alone keeps a full store from being opened again, and was not defragmented since history was dropped. What
// that freed shows only once something is written, which a full store does not allow: so it is tried, whatever the file says of itself.
func (m Member) tight(s Store) bool {
	return s.Full && m.Percent() >= open && m.Tended.Before(s.Compacted)
}

// Next is the step that helps most now.
func Next(now time.Time, s Store) Step {
	if s.Full && now.Sub(s.Compacted) >= again {
		return Step{Kind: Compact, Why: "the store is full"}
	}
	if step := defragment(now, s); step.Kind != Nothing {
		return step
	}
	if s.Full && mayOpen(s) {
		return Step{Kind: Reopen, Why: "every member has room again"}
	}
	return Step{}
}

// mayOpen says that writing will not fill the store at once.
func mayOpen(s Store) bool {
	return !slices.ContainsFunc(s.Members, func(m Member) bool { return m.Percent() >= open })
}

func defragment(now time.Time, s Store) Step {
	wait := again
	if s.Full {
		wait = hurry
	}
	var need []Member
	ill := 0
	for _, m := range s.Members {
		if !m.Well {
			ill++
			continue
		}
		if m.gain(s.Full) > 0 && now.Sub(m.Tended) >= wait || m.tight(s) {
			need = append(need, m)
		}
	}
	// A store that is full decides nothing anyhow; otherwise none is taken away while another is.
	if len(need) == 0 || ill > 0 && !s.Full {
		return Step{}
	}
	slices.SortFunc(need, func(a, b Member) int {
		return cmp.Or(order(a.Leads)-order(b.Leads), cmp.Compare(b.gain(s.Full), a.gain(s.Full)), cmp.Compare(a.Name, b.Name))
	})
	m := need[0]
	why := fmt.Sprintf("%d of %d MiB are free in its file", (m.Size-m.InUse)>>20, m.Size>>20)
	if m.Leads && len(s.Members) > 1 {
		if i := slices.IndexFunc(s.Members, func(o Member) bool { return o.Name != m.Name && o.Well }); i >= 0 {
			return Step{Kind: HandOver, Member: s.Members[i].Name, Why: m.Name + " leads and has to be defragmented: " + why}
		}
		return Step{}
	}
	return Step{Kind: Defragment, Member: m.Name, Why: why}
}

func order(last bool) int {
	if last {
		return 1
	}
	return 0
}
