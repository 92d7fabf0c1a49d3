// Package claims is the pure heart of single-writer storage: who may write a volume, and until when. No clock, I/O,
// goroutine or randomness is in it or in the rooms below it; docs/design/SINGLE-WRITER.md is the protocol that they carry
// out, and internal/claims/check explores it over these very functions.
//
//	claims          the words that are shared: tokens, sessions, timing, configurations, messages; and the leader's Decide
//	claims/witness  beside each server: the table of who holds what, and when each session was last heard
//	claims/guard    on each machine: the rounds, the deadlines, and the order of start and stop
//	claims/gate     for each token: frozen, armed, shut, sealed, and never back
//	claims/check    the explicit-state checker and the mistakes that it must find
//
// # How a claim flows
//
//	leader   claims.Decide ─▶ grants a token ─▶ agent ─▶ guard.Want
//	guard    a round every P:  Renewal ─▶ each witness ─▶ Ack;  a majority for one round and token is the lease
//	         lease ─▶ mount, verified ─▶ arm ─▶ the agent starts what writes
//	         T−2G: asks to stop   T−G: freezes, kills, unmounts, looks for quiet   T: quiet, or the machine is reset
//	         quiet ─▶ sealed ─▶ Released ─▶ witnesses let it go at once;  otherwise they do after W of silence
//
// Times are readings of a clock that only ever runs forward on its machine, as a duration since some instant that does not
// matter: of guards the greater, of witnesses the smaller of what CLOCK_BOOTTIME and CLOCK_MONOTONIC_RAW have advanced.
// Readings of two machines are never compared.
package claims
