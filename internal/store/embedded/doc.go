// Package embedded runs a member of etcd inside a server.
//
//	m, err := embedded.Start(ctx, embedded.Config{Dir: dir, Name: id, Log: log})
//	defer m.Stop()
//	s := etcd.New(m.Client())
//	err = store.Lead(ctx, s, m, id, reign)  // leads while this member leads raft
//	err = store.While(ctx, m.Failed(), use) // ends when the member gave up: the server has to end, too
//
// Nobody outside reaches it: the server talks to it in process, and a cluster of one opens no port and no socket at all.
// Members of a larger one hear each other on one port with mutual TLS, and take only servers' certificates.
//
// The data directory belongs to one version of the layout and of etcd. One made by a newer release, by something else,
// or in use by another process is refused with a sentence, before anything in it is touched.
package embedded
