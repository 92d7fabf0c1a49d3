// Package guard keeps a machine's claims alive, and ends them in time, as a step function. It is pure: whoever runs it reads
// the clock, sends, kills and mounts.
//
//	state := guard.New(profile, config)                   // or what was saved, followed by guard.Restarted
//	for {
//		now := elapsed()                                  // before anything is sent: it becomes the round's b_n
//		next, effects := guard.Step(state, now, event)
//		state = next
//		for _, e := range effects {                       // in this order
//			Save:     write state to tmpfs; if that fails, reset the machine
//			Watchdog: feed it until e.Until and no longer; close it when it is off
//			Send:     e.Renewal to e.Witness; do not wait
//			Mount, Arm, AskStop, Clear, Seal: orders, each claim's carried out one after another
//			Tell:     the agent
//			Reset:    now
//		}
//		set a timerfd to guard.Wake(state), and wait for it or for an event
//	}
//
// # The way of a claim
//
//	            majority            Mounted          Release, or T−2G        Stopped, or T−G         Quiet          Sealed
//	Asking ─────────────▶ Mounting ─────────▶ Armed ─────────────────▶ Stopping ────────────▶ Clearing ─────▶ Sealing ─────▶ Sealed
//
// Phases are ordered and only grow; each may be left out, none is returned to. What is Sealed is told to the witnesses
// until all have answered.
//
// # What it promises
//
//   - The deadline is the time before the sending of a round that a majority answered, plus T. Nothing else extends it.
//   - It binds from before the mount until quiet was verified: a mount alone writes. When it passes in between, the machine
//     is reset; a guard that is dead or hung does not feed the watchdog, which then does it.
//   - A claim whose deadline passed is never mounted or armed again, and a session whose last deadline passed is spent:
//     what is wanted after that belongs to another session.
//   - Only what is quiet and sealed is released.
package guard
