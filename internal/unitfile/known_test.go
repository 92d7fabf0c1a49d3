package unitfile_test

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/argosy-cluster/argosy/internal/unitfile"
)

func TestKnown(t *testing.T) {
	for _, c := range []struct {
		section, option string
		want            bool
	}{
		{"Service", "ExecStart", true}, {"Service", "MemoryMax", true}, {"Service", "User", true}, {"Service", "After", false},
		{"Unit", "After", true}, {"Unit", "User", false}, {"Timer", "OnCalendar", true}, {"Timer", "User", false},
		{"Socket", "ListenStream", true}, {"Socket", "User", true}, {"Mount", "What", true}, {"Automount", "Where", true},
		{"Swap", "Priority", true}, {"Path", "PathExists", true}, {"Slice", "CPUWeight", true}, {"Slice", "User", false},
		{"Install", "WantedBy", true}, {"Service", "RestartSteps", true}, {"Slice", "MemoryZSwapMax", true}, {"Device", "What", false},
	} {
		if _, got := slices.BinarySearch(unitfile.Known(c.section), c.option); got != c.want {
			t.Errorf("[%s] has %s: %t", c.section, c.option, got)
		}
	}
	for _, kind := range unitfile.Types() {
		for _, s := range unitfile.Sections(kind) {
			list := unitfile.Known(s)
			if len(list) == 0 && s != unitfile.FleetSection {
				t.Errorf("nothing is known of [%s], which units of type %s have", s, kind)
			}
			if len(slices.Compact(slices.Clone(list))) != len(list) || slices.ContainsFunc(list, func(n string) bool { return strings.Trim(n, "%+:#") != n }) {
				t.Errorf("the options of [%s] are not clean: %q", s, list)
			}
		}
	}
}

// Whatever the systemd of this machine knows must be known; what it does not know may be of another version.
func TestKnownToSystemd(t *testing.T) {
	out, err := exec.Command("/lib/systemd/systemd", "--dump-configuration-items").Output()
	if err != nil {
		t.Skip("no systemd here tells its options: ", err)
	}
	section, n := "", 0
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
			continue
		}
		name, _, ok := strings.Cut(line, "=")
		if !ok || section == "Scope" {
			continue
		}
		n++
		if _, found := slices.BinarySearch(unitfile.Known(section), name); !found {
			t.Errorf("systemd knows %s in [%s]", name, section)
		}
	}
	if n < 1000 {
		t.Errorf("systemd told %d options only", n)
	}
}
