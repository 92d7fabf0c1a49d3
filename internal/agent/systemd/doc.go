// Package systemd runs units: it writes their files, has systemd load, start and stop them, and shows what became of them.
//
//	m := systemd.New(systemd.Config{ClusterID: cluster, Bus: systemd.Connect()})
//	id, err := m.Create(ctx, systemd.Creation{Assignment: a, Unit: unit, Definition: def})
//	err = m.Start(ctx, id)
//	go m.Watch(ctx, ready, func(id string) { c, err := m.Look(ctx, id) … })
//
// A unit's file lies in systemd's runtime directory. It begins with a section that systemd passes over, and that says whose
// it is (file.go); what stands in the manifest follows, byte for byte. So an agent that comes back finds what is its, and
// whatever has no such section is somebody else's: its name is refused, and nothing of it is touched.
//
// # What holds
//
//   - Nothing is polled: systemd tells of changes, and one cheap call says whether it lives. What it told is not asked (told.go); what
//     it tells of other units is not even decoded (sieve.go).
//   - Of a file that is new systemd is asked nothing before it is started, since each question makes it load the file once more; and
//     never for all properties of a unit, since for some of them it reads all its directories, twice.
//   - systemd is made to read all its files again only when it says that what it has is not what is there, once for all who
//     need that at the time.
//   - Each file has an id of its own, so that what is seen of one is never taken for its successor.
//   - Removing leaves nothing: no file, no failed state, no loaded unit.
//
// systemd is behind a Bus; the twin in the tests and the real one pass the same suite.
package systemd
