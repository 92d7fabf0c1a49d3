package fault

import (
	"cmp"
	"fmt"
	"slices"
)

// Max is how many faults are shown.
const Max = 100

// A Collector keeps faults up to a bound and counts the others. The zero Collector is ready for use.
type Collector struct {
	kept []*Fault
	more int
}

// keptFaults bounds what is remembered before sorting; what a person sees is bounded by Max.
const keptFaults = 10 * Max

// Full is true when a further fault would only be counted, which it then is.
func (c *Collector) Full() bool {
	if len(c.kept) < keptFaults {
		return false
	}
	c.more++
	return true
}

// Add returns nil when the fault is only counted.
func (c *Collector) Add(f Fault) *Fault {
	if c.Full() {
		return nil
	}
	f.Message = Clip(f.Message)
	c.kept = append(c.kept, &f)
	return &f
}

// Kept are the faults that are kept so far, in the order in which they were found. They may be added to.
func (c *Collector) Kept() []*Fault { return c.kept }

// Gather is faults by place, each once, and not too many.
func Gather(list []Fault) Faults {
	c := Collector{}
	for _, f := range slices.Clone(list) {
		if !c.Full() {
			c.kept = append(c.kept, &f)
		}
	}
	return c.Sorted()
}

// Sorted is the faults by place, each once, cut to Max.
func (c *Collector) Sorted() Faults {
	slices.SortStableFunc(c.kept, func(a, b *Fault) int {
		return cmp.Or(cmp.Compare(a.Order, b.Order), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col),
			cmp.Compare(a.Message, b.Message))
	})
	c.kept = slices.CompactFunc(c.kept, func(a, b *Fault) bool {
		return a.Order == b.Order && a.Line == b.Line && a.Col == b.Col && a.Message == b.Message
	})
	var out Faults
	for _, f := range c.kept[:min(len(c.kept), Max)] {
		if f.Suggestion == "" {
			f.Suggestion = Nearest(f.word, f.among)
		}
		f.word, f.among = "", nil
		out = append(out, *f)
	}
	if more := c.more + len(c.kept) - len(out); more > 0 {
		out = append(out, Fault{Message: fmt.Sprintf("and %d more", more)})
	}
	return out
}
