// Package agent is one machine's side of a cluster: it keeps the machine's containers as the leader assigned them, tells
// every server that it lives, and the leader what it sees.
//
//	err := agent.Run(ctx, agent.Config{MachineID: id, ClusterID: cluster, Servers: servers, HTTP: client, Open: open, …})
//
// Run only wires rooms together:
//
//	session ── assignments ──▶ database (durable) ──▶ executor ── core.Decide ──▶ docker, files
//	   ▲                                                 │ observations
//	   ├────────────── newest of each replica ───────────┤
//	   └── transitions, in order ── database ◀── journal ┘
//
// # What holds
//
//   - Restarting the agent touches no container; stopping it stops nothing.
//   - What was assigned is on disk before it is acted on, and what happened is on disk before it is told. A machine that
//     boots without servers starts what it had.
//   - Nothing is started that the cluster moved while the machine was off, if a server answers within the grace.
//   - The machine opens no control port: it dials, and serves only its own containers (names) and its own Engine (images).
package agent
