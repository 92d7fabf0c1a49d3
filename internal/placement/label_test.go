package placement_test

import (
	"strings"
	"testing"

	"github.com/argosy-cluster/argosy/internal/placement"
)

func TestLabels(t *testing.T) {
	for key, want := range map[string]bool{
		"rack": true, "a.b/c-d_e": true, "A1": true, "1a": false, "": false, "machine": false, "a b": false, "é": false, "a:b": false,
		strings.Repeat("a", 63): true, strings.Repeat("a", 64): false,
	} {
		if err := placement.CheckKey(key); (err == nil) != want {
			t.Errorf("key %q: %v", key, err)
		}
	}
	for value, want := range map[string]bool{
		"r1": true, "": true, "us-east-1:a/b@c.d_e": true, "New York": false, `"`: false, "90%": false, "é": false, strings.Repeat("a", 64): false,
	} {
		if err := placement.CheckValue("k", value); (err == nil) != want {
			t.Errorf("value %q: %v", value, err)
		}
	}
}

func TestOneOf(t *testing.T) {
	for _, c := range []struct {
		values []string
		want   string
		is     string
	}{
		{[]string{"a"}, "region == a", "a"},
		{[]string{"a", "b@c"}, `region in (a, "b@c")`, "b@c"},
		{[]string{"1", ""}, `region in (1, "")`, "1"},
	} {
		e, err := placement.OneOf("region", c.values)
		if err != nil || e.String() != c.want {
			t.Errorf("%q: %v, %v, want %s", c.values, e, err, c.want)
			continue
		}
		for value, want := range map[string]bool{c.is: true, "z": false} {
			if got := e.Eval(func(string) (string, bool) { return value, true }); got != want {
				t.Errorf("%s of %q is %t", e, value, got)
			}
		}
	}
	if _, err := placement.OneOf("region", []string{`a" || has(x) || region == "`}); err == nil {
		t.Error("a value broke out of its quotes")
	}
}
