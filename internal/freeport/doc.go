// Package freeport finds ports for tests that have to know one before they listen on it, or that give it to another process:
//
//	port, err := freeport.Take()
//	cmd := exec.Command("argosyd", "server", "--listen", fmt.Sprintf("127.0.0.1:%d", port))
//
// A port of the kernel's choice (listen on :0, close, use it again) is from those that it gives connections, and may be somebody's a
// moment later. Those of this package are below, and belong to the process that took them until it ends: no other test of this host
// is given one of them, and none is given twice.
package freeport
