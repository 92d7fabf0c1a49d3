// Package sim runs a whole cluster in virtual time, with faults: the leader's own core with its orchestrator, scheduler and
// dispatcher, the agent's own core on every machine, the in-memory store. What it models is only what they act on: the
// network between them, container engines, systemd, disks, clocks, the servers' majority, and the moments at which processes die or
// stand still.
//
//	w := sim.New(sim.Config{Seed: 7, Trace: os.Stdout})
//	m := w.AddMachine("m1", nil, 4000, 8<<30)
//	w.Apply("default", spec)
//	w.Run(30 * time.Second)
//	w.Inject(sim.DiskFull, m, 20*time.Second)
//	w.Inject(sim.PauseServer, nil, 10*time.Second)
//	…
//
// Everything that happens is an event at an instant of virtual time, taken from one heap; everything random comes from one
// generator. So a run is a function of its seed, and [World.Digest] tells two runs apart. Processes know only their machine's
// or server's clock, whose readings are such as time.Now returns: a monotonic one that may run fast or slow, and a wall that
// may be set.
//
// # Faults
//
// A [Fault] has a name and is in force for a while, of a machine, of the server that leads, or of everything. A [Scenario]
// draws them so that they overlap, and a [Tally] counts for each two how often one began while the other was in force. TCP is
// modelled as TCP: a direction that is blocked holds up what is sent until it lets it through or somebody gives up the
// connection; what is reordered are connections, what is duplicated are messages in their place, requests, and batches of the
// watch. The agent's database syncs before it answers; [FsyncLost] is a disk that lies about that.
//
// # Shared volumes
//
// In a third of the lives some stacks have a volume on storage that all machines reach. A witness stands beside each server, with its
// own clock and two small files; a guard runs on each machine, on tmpfs, slices, mounts and a watchdog that end with the boot; both are
// the step functions of internal/claims. The agent's side is package agent/storage itself, the guard's socket package guard/port, with
// messages in place of bytes. [World.Guard] sets all that up. Storage records who mounts it and each write with its token. It refuses nobody, but
// where a stack's volume has a fence: then it refuses machines and takes them back as programs of the servers ask it to. These fail, hang, take
// effect though they failed, go on while their server is stopped, and die with it; and witnesses are told late of what they confirmed. In such lives
// servers are added and removed, from three to five, and those that decide about leases follow: at the end they are those that there are.
//
// # Replaying
//
// TestSim runs one seed after another. A seed that breaks an invariant prints its trace's end and
//
//	go test ./internal/sim -run TestSim -seed N -show
//
// which runs that seed alone and prints everything. -simtime 60s runs as many seeds as fit into that much wall time; make sim
// runs a [Campaign], on all processors. TestTranscripts runs the conversations in testdata; -rewrite writes them anew.
//
// # What is checked
//
// After each message that a leader takes in and each transaction, in the view of the server whose term is on:
// none says ready of what did not run within the age that it shows, longer only by as much as the message had been on its way,
// or a process stood still too briefly to notice (2); everything that waits says why (8). At each decision: an update or a
// drain takes one replica at a time. At each step of an agent: nothing is stopped or removed that is as wanted (5), no
// incarnation starts beside another.
//
// After faults ended and time passed: nothing that was acknowledged is missing from the store (4); machines run exactly what
// the store says, nothing besides and nothing twice (3); everything is ready but what cannot be, whatever else is broken (6); the
// leader's mirror equals the store. Then, in an idle minute, nothing is committed, sent but beats, started or stopped (9); and
// when the leader and all agents are killed and others start, no container notices (5). The same seed gives the same trace (7).
//
// Of shared volumes: at no true instant has a second machine, or a second token, one mounted (S1); tokens on it only grow (S11); a writer
// finds every write that was acknowledged before it, and writes only what its machine has mounted (S8). That what waits for a claim is
// ready once faults have ended is part of 6. [Rules] can have a mistake, which a test shows to be found.
//
// A disk that lies may lose transitions that were acknowledged to its agent, whose numbers are then used again: of such a
// machine's, 4 is not asked. All else is.
package sim
