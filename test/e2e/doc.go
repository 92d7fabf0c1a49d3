// Package e2e proves Argosy whole: the executables as they are shipped, on three
// machines in containers with real systemd and Docker, used through its command
// line alone.
//
//	make e2e                      all of it, on a cluster of its own (root)
//	make e2e RUN=TestLamp/scale   a part
//	go test -tags e2e ./test/e2e -args -keep    leaves the cluster for a look
//
// Every test brings its own app, except the parts of TestLamp, which follow one
// app through its life in the order they stand in. What is wanted from outside
// comes when it comes: tests ask until it is so or a limit passes, and then say
// what they saw last.
package e2e
