// Package localcluster runs a cluster of Argosy machines on one host, for
// trying out and for tests: each machine is a container that boots systemd as
// its PID 1 with its own Docker Engine inside, and runs argosy as a systemd
// service, as a real machine does.
//
//	c, err := localcluster.New(localcluster.Options{Name: "local", Progress: print})
//	cluster, err := c.Up(ctx, 3)      // machines m1, m2, m3; a server on m1
//	out, err := c.Exec(ctx, "m2", "docker", "ps")
//	err = c.Kill(ctx, "m2")           // as if its power failed
//	err = c.Start(ctx, "m2")
//	err = c.Down(ctx, localcluster.DownOptions{Images: true})
//
// Up is the main loop: it makes true, in this order, what is not true yet, so
// calling it again is quick and repairs what is missing.
//
//	check       what the host lacks, all of it in sentences, before touching anything
//	engine      a Docker Engine answers; without systemd one is started by hand
//	image       argosy-machine:<hash of the recipe>, built from Debian packages
//	network     one bridge network, a fixed address for each machine
//	machines    volumes and container of each, booted, all at the same time
//	argosy      the two executables and their units copied in, restarted where they changed
//	server      on m1, its administration socket reachable from the host
//	join        every machine that is not yet a member, with a token of its own
//
// The image holds no argosy, so a new build costs a copy, not a build. The
// Engine's labels are the only record of what exists: List and Down work from
// them. Two things are elsewhere: which Engine processes were started by hand,
// so that the last Down can end exactly those, and the disks of machines that
// have some of their own (Options.Disk), files below /var/lib/argosy-local.
//
// Every machine lives in a cgroup namespace of its own, so that systemd and the
// inner Engine see their own subtree as the root, with cgroup v1 and v2 alike,
// and nothing they create can land beside another machine's.
package localcluster
