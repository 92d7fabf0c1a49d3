package cli

import (
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

func TestGuardText(t *testing.T) {
	key := []byte("key")
	for _, k := range []struct {
		guard *argosyv1.Guard
		want  string
	}{
		{nil, ""},
		{&argosyv1.Guard{}, "none answers"},
		{&argosyv1.Guard{Trouble: "it does not\nanswer"}, oneLine("it does not\nanswer")},
		{&argosyv1.Guard{Key: key, Watchdog: "softdog", Trouble: "the agent cannot write"}, "the agent cannot write"},
		{&argosyv1.Guard{Key: key, Watchdog: "softdog"}, "keeps leases; softdog resets the machine should it fail"},
		{&argosyv1.Guard{Key: key}, "keeps leases; nothing resets the machine should it fail"},
	} {
		if got := guardText(k.guard); got != k.want {
			t.Errorf("%v: %q, not %q", k.guard, got, k.want)
		}
	}
}
