// Package upkeep decides how a store is kept from growing beyond its quota. It is pure: what it is given are the members as
// they are now, and what it returns is the one step that helps most.
//
// The store's database has a quota, beyond which etcd refuses to write. Compaction, which goes on by itself, frees pages
// within the file; only defragmentation gives them back, and the member that is at it answers nothing meanwhile. So:
//
//		every minute, where the store's leader is {
//			step = Next(now, the members as they are)
//			carry it out, and ask again
//		}
//
//	  - A member is defragmented when that gives back much, or something where room is short.
//	  - One at a time, and only while all others are well: the loss of one more must not be felt. The one that leads comes last,
//	    when no other needs it, and has another lead before.
//	  - When the store is full, what is no longer needed is given back in this order: history of the store, pages of each member
//	    (of each that keeps it from being opened once at least, since what history took does not show as free until something is
//	    written); then it is opened again. If that does not help, its contents are too much for its quota, and people are told.
package upkeep
