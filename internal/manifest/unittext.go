package manifest

import (
	"errors"
	"math"
	"strconv"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// UnitResources is what is kept free for a unit on its machine: what its own section limits, CPUQuota= and MemoryMax=, else
// the default.
func UnitResources(name, content string) *argosyv1.Resources {
	r := &argosyv1.Resources{}
	n, err := unitfile.ParseName(name)
	if file, _ := unitfile.Parse(name, content); err == nil && file != nil {
		section := strings.ToUpper(n.Type[:1]) + n.Type[1:]
		for _, s := range file.Values(section, "CPUQuota") {
			r.ReserveCpuMilli, _ = parseQuota(s.Value)
		}
		for _, option := range []string{"MemoryLimit", "MemoryMax"} { // the second is the first's name since cgroups have versions
			for _, s := range file.Values(section, option) {
				r.ReserveMemory, _ = parseUnitMemory(s.Value)
			}
		}
	}
	if r.ReserveCpuMilli == 0 {
		r.ReserveCpuMilli, r.DefaultCpu = DefaultCPUMilli, true
	}
	if r.ReserveMemory == 0 {
		r.ReserveMemory, r.DefaultMemory = DefaultMemory, true
	}
	return r
}

var errNoAmount = errors.New("it is no amount")

// parseQuota reads CPUQuota=: 50% is half a cpu.
func parseQuota(s string) (milli int64, err error) {
	percent, ok := strings.CutSuffix(s, "%")
	n, err := strconv.ParseFloat(percent, 64)
	if !ok || err != nil || !(n > 0) || n*10 > maxCPUMilli {
		return 0, errNoAmount
	}
	return max(1, int64(math.Ceil(n*10))), nil
}

// parseUnitMemory reads MemoryMax=; a share of the machine's, or no limit at all, is no amount.
func parseUnitMemory(s string) (int64, error) {
	shift := 0
	if s != "" {
		if i := strings.IndexByte("KMGT", s[len(s)-1]); i >= 0 {
			shift, s = 10*(i+1), s[:len(s)-1]
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSuffix(s, "B"), 64)
	bytes := n * float64(int64(1)<<shift)
	if err != nil || !(bytes >= 1) || bytes > maxMemory {
		return 0, errNoAmount
	}
	return int64(bytes), nil
}
