// Package live is the views of a cluster that a person looks at on a terminal: machines, replicas and members with what they
// use, as it changes.
//
// The [Model] decides and draws, and does nothing else: what happens comes to it as messages (keys, sizes, data, the time),
// what it wants done it returns as effects, and View is a function of it. [Run] is the thin actor around it: it reads a
// [Source] and the keyboard, draws with bubbletea, and carries out the effects.
//
//	m := New(options)
//	for msg := range messages {                    // Key, Resize, Tick, Replicas, Usage, Machines, Link
//		for _, effect := range m.Update(msg) { carry out }
//		screen := m.View()                     // never wider or higher than the terminal
//	}
//
// # What it costs
//
// A change of a replica costs that replica's row: the order is a sorted slice, the row finds its place in it by what it was
// sorted by, and only rows that are visible are drawn. A list that is sorted by what changes all the time is sorted anew every
// few seconds, so that rows can be read, and not while somebody moves in it.
//
// # What may be believed
//
// Each row knows when what it shows was last confirmed, and says so when that is not just now. While no server answers, the
// title says since when, and states that were seen carry a question mark.
package live
