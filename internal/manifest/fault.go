package manifest

import "github.com/argosy-cluster/argosy/internal/fault"

// What is wrong with a manifest is told as with every other text.
type (
	// A Fault is one thing that is wrong with a manifest, and where.
	Fault = fault.Fault
	// Faults is what is wrong with a manifest, sorted by place. At most [MaxFaults] are kept.
	Faults = fault.Faults
	// Style paints the parts of a rendered fault.
	Style = fault.Style
)

// MaxFaults is how many faults are shown.
const MaxFaults = fault.Max

// collector gathers faults about values of a manifest.
type collector struct{ fault.Collector }

// Gather is faults by place, each once, and not too many.
func Gather(list []Fault) Faults { return fault.Gather(list) }

// Nearest is the candidate that was probably meant by a mistyped word, or "" when none is near.
func Nearest(word string, candidates []string) string { return fault.Nearest(word, candidates) }

func nearest(word string, candidates []string) string { return fault.Nearest(word, candidates) }
func quoted(s string) string                          { return fault.Quoted(s) }
func printable(s string) string                       { return fault.Printable(s) }
func clip(s string) string                            { return fault.Clip(s) }
func runeOffset(s string, n int) int                  { return fault.RuneOffset(s, n) }
