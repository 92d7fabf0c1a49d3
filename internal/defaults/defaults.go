// Package defaults is what holds unless somebody says otherwise, for those that show it in their help and those that go by it.
package defaults

import "time"

// Of a server.
const (
	ServerDir    = "/var/lib/argosy/server"
	ServerPort   = "7400"
	PeerPort     = "7401"
	ServerSocket = "/run/argosy/server.sock"
	// FenceDir has a server's programs that have a storage refuse a machine.
	FenceDir = "/etc/argosy/fence"
	// WitnessPort is where guards reach the witness beside a server.
	WitnessPort = "7402"
	// GuardSocket is where a machine's guard answers its agent.
	GuardSocket = "/run/argosy-guard/guard.sock"
	// Compaction is how old the history is that servers have an external etcd drop, where it does not by itself.
	Compaction = time.Hour
	// HistoryAge is how long servers keep what happened.
	HistoryAge = 90 * 24 * time.Hour
)

// Of a new cluster.
const (
	NetworkRange = "10.64.0.0/10" // that machines' subnets are cut from
	Liveness     = 10 * time.Second
)

// Of an agent.
const (
	AgentDir  = "/var/lib/argosy/agent"
	RunDir    = "/run/argosy"
	ImagePort = 7480
)

// Of a local cluster.
const (
	LocalName     = "local"
	LocalMachines = 3
)
