// Package schedule decides when a backup is due and which old ones go. It is pure.
//
//	if schedule.Due(now, sched, state) { … make one … }
//	for _, name := range schedule.Surplus(names, sched.Keep) { … remove it … }
package schedule
