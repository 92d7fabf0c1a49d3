// Package storage is the agent's side of shared volumes: it speaks to the machine's guard, looks for the storage before a lease is asked
// for, and says what the machine reaches.
//
//	k, err := storage.New(storage.Config{Socket: "/run/argosy-guard/guard.sock", …})
//	go k.Run(ctx)
//	claims, unguarded := k.Claims(replica)      // for core.Decide
//	k.Do(step)                                  // of core.Claims; does not wait
//	k.Servers(list)                             // from the leader: whom the guard asks
//
// What was told to a guard and is not known to be over is kept in the agent's database, so that an agent that finds no guard
// does not take a lease for given back. A guard that answers, and does not know a claim, has none: its machine has booted since.
package storage
