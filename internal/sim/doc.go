// Package sim runs a whole cluster in virtual time, with faults: the leader's own core with its orchestrator, scheduler and
// dispatcher, the agent's own core on every machine, the in-memory store. What it models is only what they act on: the
// network between them, container engines, and the moments at which processes die.
//
//	w := sim.New(sim.Config{Seed: 7, Trace: os.Stdout})
//	m := w.AddMachine("m1", nil, 4000, 8<<30)
//	w.Apply("default", spec)
//	w.Run(30 * time.Second)
//	w.Crash(m)
//	…
//
// Everything that happens is an event at an instant of virtual time, taken from one heap; everything random comes from one
// generator. So a run is a function of its seed, and [World.Digest] tells two runs apart.
//
// # Replaying
//
// TestSim runs one seed after another, each with machines that die and return, messages that are lost, late, or arrive from
// sessions that are over, agents and leaders that are killed at any instant, commits whose outcome nobody learns, containers
// that fail, images that do not exist. A seed that breaks an invariant prints its trace's end and
//
//	go test ./internal/sim -run TestSim -seed N -show
//
// which runs that seed alone and prints everything. -simtime 60s runs as many seeds as fit into that much wall time.
// TestTranscripts runs the conversations in testdata; -rewrite writes them anew.
//
// # What is checked
//
// While faults happen: no view says ready of what did not run within the age that it shows (2); nothing that was
// acknowledged is missing from the store (4); everything that waits says why (8); a machine that is heard of has at most
// one incarnation of a replica running at a time. After faults ended and time passed: machines run exactly what the store
// says, nothing besides and nothing twice (3); everything is ready but what cannot be, whatever else is broken (6); the
// leader's mirror equals the store; the same seed gives the same trace (7).
package sim
