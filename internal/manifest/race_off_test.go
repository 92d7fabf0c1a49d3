//go:build !race

package manifest

// slowdown is how much longer the build may take than a plain one.
const slowdown = 1
