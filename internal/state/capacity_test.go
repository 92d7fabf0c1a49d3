package state

import (
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

func TestFillReserve(t *testing.T) {
	for _, c := range []struct{ cpu, memory, said, wantCPU, wantMemory int64 }{
		{4000, 8 << 30, 0, 200, 8 << 30 / 20},
		{1000, 1 << 30, 0, 100, 128 << 20}, // at least
		{100, 128 << 20, 0, 50, 64 << 20},  // at most half
		{4000, 8 << 30, 7, 7, 7},           // what is said counts
		{0, 0, 0, 0, 0},
	} {
		got := &argosyv1.Capacity{CpuMilli: c.cpu, Memory: c.memory, ReserveCpuMilli: c.said, ReserveMemory: c.said}
		FillReserve(got)
		if got.ReserveCpuMilli != c.wantCPU || got.ReserveMemory != c.wantMemory {
			t.Errorf("%+v: got %d and %d", c, got.ReserveCpuMilli, got.ReserveMemory)
		}
	}
}
