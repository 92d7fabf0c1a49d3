package pattern

import (
	"sync"
	"testing"
)

func TestPatternIsTheExpression(t *testing.T) {
	p := New(`^([a-z]+)=([0-9]+)$`)
	if p.re != nil {
		t.Error("compiled before anybody used it")
	}
	if !p.MatchString("a=1") || p.MatchString("a=b") {
		t.Error("it does not match what its expression does")
	}
	if m := p.FindStringSubmatch("ab=12"); len(m) != 3 || m[1] != "ab" || m[2] != "12" {
		t.Errorf("groups: %q", m)
	}
	if got := New("[^a-z]+").ReplaceAllString("a.b_c", "-"); got != "a-b-c" {
		t.Errorf("replaced: %q", got)
	}
}

func TestPatternIsSharedByMany(t *testing.T) {
	p := New(`^x+$`)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if !p.MatchString("xxx") {
				t.Error("no match")
			}
		})
	}
	wg.Wait()
}
