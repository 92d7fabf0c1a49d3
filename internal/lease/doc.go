// Package lease is the channel between guards and witnesses: what they say to each other, how each knows whom it speaks to, and
// the clocks that leases are measured with. docs/design/SINGLE-WRITER.md says what leases are for.
//
//	guard                                            witness
//	conn := tls.Client(raw, id.Dial(pin))   ─────▶   tls.Server(raw, id.Serve(pins)), then machine := pins(lease.PeerOf(conn))
//	lease.Write(conn, renewal)              ─────▶   lease.Read(conn, renewal)
//	lease.Read(conn, ack)                   ◀─────   lease.Write(conn, ack)
//
// Both sides have a key of their own, made at first use and kept, and each knows the other's: the cluster says which. There
// are no certificates that could run out, since a cluster that slept for a year must still be able to tell who holds what. A
// process that speaks here links neither an Engine's nor systemd's nor etcd's client.
package lease
