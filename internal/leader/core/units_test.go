package core

import (
	"fmt"
	"strings"
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
)

// asks is what a shape asks because of its units.
func asks(s *scheduler.Shape) string {
	var b strings.Builder
	for _, e := range s.Require {
		fmt.Fprintf(&b, "require %s; ", e)
	}
	for _, u := range s.Units {
		fmt.Fprintf(&b, "unit %s conflicts %v beside %v; ", u.Name, u.Conflicts, u.Beside)
	}
	return b.String()
}

func TestUnitsAsk(t *testing.T) {
	k := state.StackKey{Tenant: "default", App: "shop", Stack: "db"}
	sh := shapeOf(k, &argosyv1.StackSpec{Name: "db"}, nil, []*argosyv1.Unit{
		{Name: "data.mount", Content: "[Mount]\nWhat=a\nWhere=/data\n[X-Fleet]\nMachineMetadata=\"disk=ssd\" \"rack=r1\"\nMachineMetadata=rack=r2\nMachineID=0123abcd\n"},
		{Name: "db@.service", Content: "[Service]\nExecStart=/bin/true\n[X-Fleet]\nConflicts=%p@*.service\nMachineOf=main@%i.service\nMachineMetadata=slot=s%i\n"},
	}, nil)
	if sh.fault != "" {
		t.Fatal(sh.fault)
	}
	common := "require has(argosy/systemd); require disk == ssd; require rack in (r1, r2); require argosy/short-id == 0123abcd; "
	if got, want := asks(sh.Shape), common+"unit data.mount conflicts [] beside []; "; got != want {
		t.Errorf("the stack asks\n%s\nwant\n%s", got, want)
	}
	for _, number := range []uint32{3, 12, 3} {
		want := fmt.Sprintf("%srequire slot == s%d; unit data.mount conflicts [] beside []; unit db@%[2]d.service conflicts [db@*.service] beside [main@%[2]d.service]; ", common, number)
		if got := asks(sh.of(state.Key{Tenant: "default", App: "shop", Stack: "db", Number: number})); got != want {
			t.Errorf("replica %d asks\n%s\nwant\n%s", number, got, want)
		}
	}
	if third := (state.Key{Number: 3}); sh.of(third) != sh.of(third) {
		t.Error("the shape of a replica is another every time, and would be given to the scheduler again and again")
	}
	if again := asks(sh.Shape); strings.Contains(again, "db@") {
		t.Errorf("the stack's own shape was changed: %s", again)
	}
	other := shapeOf(k, &argosyv1.StackSpec{Name: "db"}, nil, []*argosyv1.Unit{{Name: "data.mount", Content: "[Mount]\nWhat=a\nWhere=/data\n"}}, nil)
	if other.sign == sh.sign {
		t.Error("what units ask does not show in the sign")
	}
	if bad := shapeOf(k, &argosyv1.StackSpec{Name: "db"}, nil, []*argosyv1.Unit{{Name: "a.service", Content: "[Service\n"}}, nil); !strings.Contains(bad.fault, "a.service") {
		t.Errorf("a unit that cannot be read: %q", bad.fault)
	}
}
