// Package core is the leader's decisions as a step function, without clock, store or goroutines.
package core
