// Package server is the process of the control plane: it starts the store, leads when it is its turn, and answers what
// machines and people ask on one TLS port and, for the local administrator, on a Unix socket.
//
//	err := server.Run(ctx, server.Config{DataDir: dir, Listen: ":7400", …})
//
// How it starts:
//
//	embedded.Start      the etcd member in this process; or external.Open, an etcd elsewhere
//	store.While         all that follows, until it ends or the store gives up
//	auth.Bootstrap      makes or loads the cluster's identity
//	history.Open        what happened, in a database of this server's own
//	leader.Run          decides, while this server leads
//	listen              machines, the CLI, image blobs
//
// A handler checks what came in, reads or proposes through the leader, and answers. Every change goes through
// [Server.change], which makes it happen once for each idempotency key.
package server
