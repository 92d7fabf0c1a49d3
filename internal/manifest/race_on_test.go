//go:build race

package manifest

// How much more time and memory the race detector may take.
const (
	slowdown = 20
	growth   = 4
)
