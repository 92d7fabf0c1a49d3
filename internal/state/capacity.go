package state

import argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"

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
