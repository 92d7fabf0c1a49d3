package manifest

import "time"

// Bounds on what a manifest may be. Whatever is beyond them is refused with a fault, before it costs time or memory.
const (
	MaxFileSize   = 4 << 20 // bytes of one manifest file
	MaxFiles      = 100     // manifest files of one app
	MaxReadSize   = 1 << 20 // bytes of one file that a manifest names: a config, an env_file
	MaxContainers = 5000    // containers of one app
	MaxSpecSize   = 1 << 20 // bytes of the app as the protocol encodes it: a revision is one record
	MaxMembers    = 64      // containers of one stack
	MaxReplicas   = 100000  // copies of one stack

	maxTotalSize  = 8 << 20 // bytes of all manifest files
	maxDepth      = 40      // nesting of lists and maps
	maxWeight     = 100_000 // values of all files, see weigh
	maxVisits     = 300_000 // values looked at, aliases counted each time they are used
	maxExpanded   = 8 << 20 // bytes made by interpolation
	maxReadTotal  = 8 << 20 // bytes of all files that a manifest names
	maxPorts      = 20_000  // ports of all containers, ranges counted out
	maxComparison = 5_000_000
	maxDepends    = 64     // names in one depends_on, and rules in one placement
	maxWords      = 10_000 // of one command
	maxMerge      = 8      // merge keys within merge keys
)

// What is reserved for a container that says nothing, in thousandths of a cpu and in bytes.
const (
	DefaultCPUMilli = 100
	DefaultMemory   = 64 << 20
)

const (
	minMemory   = 6 << 20 // the engine refuses less
	maxMemory   = 1 << 50
	minCPUMilli = 10
	maxCPUMilli = 1_000_000
	maxDuration = 365 * 24 * time.Hour
)
