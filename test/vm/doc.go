// Package vm has one real machine: `make test-vm` boots Debian with its own kernel under QEMU, without KVM, and a single writer
// on a disk of it. Machines in containers have cgroup v1 or what their host has, and neither a watchdog nor a reset of their own;
// this one has cgroup v2, Docker with systemd as its cgroup driver, the kernel's watchdog, and a reset that is one.
//
//	units out of docs/operations.md, as a person would copy them
//	  → boot → guest: steps, one after another, across resets
//	  → a line on the serial port for each → judged here
//
// What happens inside is in test/vm/guest.
package vm
