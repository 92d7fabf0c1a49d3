package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
)

// Below where Linux begins to take ports for connections, 32768, and above what services of a host are likely to have.
const from, ports = 18_000, 14_000

// attempts is how many ports may be somebody's before it is given up.
const attempts = 1000

// kept are the sockets that say which ports are this process's; the kernel closes them when it ends.
var kept struct {
	sync.Mutex
	marks []net.Listener
}

// Take is a port that nobody listens on, at any address of this host.
func Take() (int, error) {
	var last error
	for range attempts {
		port := from + rand.IntN(ports)
		mark, err := net.Listen("unix", fmt.Sprintf("@argosy-test-port-%d", port)) // abstract: of no file, and nobody's any more when the process ends
		if err != nil {
			last = err
			continue
		}
		l, err := net.Listen("tcp", fmt.Sprintf(":%d", port))
		if err == nil {
			err = l.Close()
		}
		if err != nil {
			last = errors.Join(err, mark.Close())
			continue
		}
		kept.Lock()
		kept.marks = append(kept.marks, mark)
		kept.Unlock()
		return port, nil
	}
	return 0, fmt.Errorf("find a free port: none of %d is, the last: %w", attempts, last)
}

// Address is a port of 127.0.0.1 that nobody listens on.
func Address() (string, error) {
	port, err := Take()
	return fmt.Sprintf("127.0.0.1:%d", port), err
}
