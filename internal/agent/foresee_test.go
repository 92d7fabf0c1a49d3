package agent

import (
	"errors"
	"slices"
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// TestForesight: each image is fetched once for a list, in its order; another list replaces what was not begun.
func TestForesight(t *testing.T) {
	replica := func(images ...string) *argosyv1.Assignment {
		a := &argosyv1.Assignment{Key: &argosyv1.ReplicaKey{Tenant: "default", App: "shop", Stack: "web", Number: 1}}
		for _, image := range images {
			a.Containers = append(a.Containers, &argosyv1.ContainerSpec{Image: image})
		}
		return a
	}
	name := func(w fetch) (string, error) {
		if w.spec.GetImage() == "broken" {
			return "", errors.New("no reference")
		}
		return w.spec.GetImage(), nil
	}
	f := newForesight()
	take := func(n int) (got []string) {
		for range n {
			w, ok := f.next(name)
			if !ok {
				break
			}
			got = append(got, w.spec.GetImage())
		}
		return got
	}
	never := replica("never")
	never.Containers[0].PullPolicy = argosyv1.PullPolicy_PULL_POLICY_NEVER
	f.set([]*argosyv1.Assignment{replica("a", "broken", "b"), never, replica("a", "c"), replica("d")})
	if got := take(2); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("first come %v", got)
	}
	f.set([]*argosyv1.Assignment{replica("c", "e")})
	if got := take(10); !slices.Equal(got, []string{"c", "e"}) {
		t.Errorf("of another list come %v", got)
	}
	f.set([]*argosyv1.Assignment{replica("a")})
	f.set(nil)
	if got := take(10); got != nil {
		t.Errorf("when nothing is foreseen any more, there come %v", got)
	}
	var many []*argosyv1.Assignment
	for i := range 2 * mostFetched {
		many = append(many, replica(string(rune('a'+i%26))+string(rune('a'+i/26))))
	}
	f.set(many)
	if got := take(3 * mostFetched); len(got) != mostFetched {
		t.Errorf("%d are fetched, want %d", len(got), mostFetched)
	}
}
