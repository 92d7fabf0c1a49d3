// Package witness is the process that stands beside a server and keeps the lease table: which machine holds which claim, and
// when it was heard last. It is a process of its own, with a port and a file of its own, so that nothing that befalls the server
// or its store takes it along; what it decides is package claims/witness.
//
//	w, err := witness.Open(witness.Config{Dir: …, ID: …, Profile: …, Log: …})
//	err = w.Run(ctx, guards, server)      // two listeners: TCP for guards, a Unix socket for the server beside it
//
//	guard ─renewal─▶ claims/witness.Step ─▶ [save, and wait for the disk] ─▶ ack
//	server ─order──▶ (configure, machines, fence, drop, look)            ─▶ report
//
// # What it keeps
//
//	leases-0, leases-1   the table, written in turn, each with room to grow so that a full disk does not keep it from being written
//	machines             whose guards it speaks to
//	key                  what it is known by
//
// A table that cannot be written is as it was, and nobody is told otherwise: guards then hear nothing from this one, and the
// server is told the trouble.
package witness
