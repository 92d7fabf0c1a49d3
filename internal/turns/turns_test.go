package turns

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

var errRefused = errors.New("refused")

// TestAsk: each of those asked is a time after which it answers, negative where it refuses then.
func TestAsk(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name    string
		after   []time.Duration
		asked   []time.Duration // when each was asked
		heard   []int           // in which order, up to the first that did not refuse
		took    time.Duration
		dropped []int
	}{
		{"nobody", nil, nil, nil, 0, nil},
		{"the first, before anybody else's turn", []time.Duration{249 * ms, 0}, []time.Duration{0}, []int{0}, 249 * ms, nil},
		{"a refusal ends a turn", []time.Duration{-10 * ms, -10 * ms, 5 * ms}, []time.Duration{0, 10 * ms, 20 * ms}, []int{0, 1, 2}, 25 * ms, nil},
		{"silence does, too", []time.Duration{time.Hour, 5 * ms, 0}, []time.Duration{0, 250 * ms}, []int{1}, 255 * ms, []int{0}},
		{"the first may still be the first", []time.Duration{600 * ms, time.Hour, time.Hour}, []time.Duration{0, 250 * ms, 500 * ms}, []int{0}, 600 * ms, []int{1, 2}},
		{"a late refusal gives the next one its turn", []time.Duration{-300 * ms, time.Hour, 5 * ms}, []time.Duration{0, 250 * ms, 300 * ms}, []int{0, 2}, 305 * ms, []int{1}},
		{"all refuse", []time.Duration{-400 * ms, -20 * ms}, []time.Duration{0, 250 * ms}, []int{1, 0}, 400 * ms, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				begun := time.Now()
				var asked []time.Duration
				var dropped []int
				given := make([]context.Context, len(c.after))
				ask := func(ctx context.Context, i int) (int, error) {
					given[i] = ctx
					asked = append(asked, time.Since(begun))
					d := c.after[i]
					select {
					case <-time.After(max(d, -d)):
					case <-ctx.Done():
						if !errors.Is(context.Cause(ctx), ErrAnother) {
							t.Errorf("%d is let go, as %v", i, context.Cause(ctx))
						}
					}
					if d < 0 {
						return i, errRefused
					}
					return i, nil
				}
				var heard []int
				for said := range Ask(t.Context(), Delay, len(c.after), ask, func(i int) { dropped = append(dropped, i) }) {
					heard = append(heard, said.Index)
					if live := given[said.Index].Err() == nil; live != (said.Err == nil) {
						t.Errorf("%d said %v, and its context is live: %v", said.Index, said.Err, live)
					}
					if said.Err == nil {
						break
					}
				}
				took := time.Since(begun)
				synctest.Wait()
				slices.Sort(dropped)
				if !slices.Equal(asked, c.asked) || !slices.Equal(heard, c.heard) || took != c.took || !slices.Equal(dropped, c.dropped) {
					t.Errorf("asked at %v, heard %v in %v, dropped %v", asked, heard, took, dropped)
				}
			})
		})
	}
}

// TestAskEndsWithItsContext: all are told, and what they say is heard.
func TestAskEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
		defer cancel()
		var words []string
		for said := range Ask(ctx, Delay, 2, func(ctx context.Context, _ int) (int, error) { <-ctx.Done(); return 0, ctx.Err() }, func(int) {}) {
			words = append(words, said.Err.Error())
		}
		if got := strings.Join(words, ", "); got != "context deadline exceeded, context deadline exceeded" {
			t.Error(got)
		}
	})
}
