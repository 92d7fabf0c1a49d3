//go:build !race

package manifest

// How much more time and memory the race detector may take: none, it is off.
const (
	slowdown = 1
	growth   = 1
)
