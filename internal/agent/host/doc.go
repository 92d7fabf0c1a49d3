// Package host reads what a machine is: how much it has, when it booted, how full its disk is. Everything comes from /proc,
// /sys and statfs; Root stands for / in tests.
//
//	h := host.Root("/")
//	boot, err := h.BootID()
//	cpus, memory := h.Capacity()
package host
