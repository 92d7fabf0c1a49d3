package state

import (
	"fmt"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// What a machine keeps for itself when nobody says otherwise: a twentieth, at least so much, at most half.
const (
	reserveShare  = 20
	minReserveCPU = 100       // thousandths
	minReserve    = 128 << 20 // bytes of memory
)

// FillReserve fills in what a machine keeps for itself, where a capacity does not say it.
func FillReserve(c *argosyv1.Capacity) {
	if c.ReserveCpuMilli == 0 {
		c.ReserveCpuMilli = min(max(minReserveCPU, c.CpuMilli/reserveShare), c.CpuMilli/2)
	}
	if c.ReserveMemory == 0 {
		c.ReserveMemory = min(max(minReserve, c.Memory/reserveShare), c.Memory/2)
	}
}

// A machine has at most this much; beyond it a number is damage or malice, and sums of many could overflow.
const (
	maxCPU    = 100_000_000    // thousandths
	maxMemory = int64(1) << 50 // bytes: a pebibyte
)

// CheckCapacity refuses amounts that no machine has, or that leave nothing to run on.
func CheckCapacity(c *argosyv1.Capacity) error {
	cpu, memory, ownCPU, ownMemory := c.GetCpuMilli(), c.GetMemory(), c.GetReserveCpuMilli(), c.GetReserveMemory()
	switch {
	case ownCPU < 0 || ownMemory < 0 || cpu <= ownCPU || memory <= ownMemory:
		return fmt.Errorf("the machine declares %d thousandths of a cpu and %d bytes of memory, and keeps %d and %d for itself: nothing would be left to run on it", cpu, memory, ownCPU, ownMemory)
	case cpu > maxCPU || memory > maxMemory || c.GetDiskTotal() < 0:
		return fmt.Errorf("the machine declares %d thousandths of a cpu and %d bytes of memory, more than a machine can have", cpu, memory)
	}
	return nil
}
