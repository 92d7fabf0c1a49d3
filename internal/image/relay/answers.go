package relay

import (
	"context"
	"errors"
	"iter"
	"net/http"
	"time"
)

// result is what one server said: an answer, or an error.
type result struct {
	server string
	*reply
	err error
}

var errAnother = errors.New("another server answered")

// answers asks servers in turn and yields what they say, as it comes. The next one is asked when the one before has said what does not
// settle the matter, or has said nothing for Options.Delay: of a machine that has just lost power nothing ever comes, not even a refusal,
// and what waits for the image may be what is to take its place. Once no more is taken, those that are still asked are let go.
func (r *Relay) answers(ctx context.Context, servers []string, method, path string, head http.Header) iter.Seq[result] {
	return func(yield func(result) bool) {
		results := make(chan result, len(servers))
		asked := map[string]context.CancelCauseFunc{}
		turn := time.NewTimer(0)
		defer turn.Stop()
		for len(servers) > 0 || len(asked) > 0 {
			select {
			case <-turn.C:
				if len(servers) == 0 {
					continue
				}
				s := servers[0]
				servers = servers[1:]
				ctx, cancel := context.WithCancelCause(ctx)
				asked[s] = cancel
				go func() {
					a, err := r.ask(ctx, cancel, s, method, path, head)
					results <- result{s, a, err}
				}()
				turn.Reset(r.opts.Delay)
			case got := <-results:
				delete(asked, got.server)
				if !yield(got) {
					letGo(asked, results)
					return
				}
				turn.Reset(0)
			}
		}
	}
}

// letGo ends requests that nobody waits for any more, and closes what is answered nevertheless.
func letGo(asked map[string]context.CancelCauseFunc, results <-chan result) {
	for _, cancel := range asked {
		cancel(errAnother)
	}
	go func() {
		for range len(asked) {
			if late := <-results; late.err == nil {
				late.close()
			}
		}
	}()
}
