package agent

import (
	"context"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/usage"
)

// leastPace bounds how often a server can have usage sampled.
const leastPace = time.Second

// sample tells the leader what containers use while one listens: at a slow pace, or at the leader's while it has people who
// watch.
func (a *agent) sample(ctx context.Context) {
	s := usage.New("/")
	pace := func() (time.Duration, <-chan struct{}) {
		asked, changed := a.sess.Pace()
		return paceOf(asked, a.cfg.UsageEvery), changed
	}
	atPace(ctx, pace, func() {
		if _, leader := a.sess.Connected(); leader {
			a.sess.Usage(s.Sample(time.Now(), a.x.Containers(), a.engine.Info().RootDir))
		}
	})
}

// paceOf is how often usage is sampled when a server asks for something (0: for nothing) and the machine's own pace is given:
// never less often than that, and no more than once in a second unless the machine does that by itself.
func paceOf(asked, own time.Duration) time.Duration {
	if asked <= 0 {
		return own
	}
	return min(max(asked, leastPace), own)
}

// atPace does something now, and again whenever the time between two has passed since the last. When that time changes
// (changed is closed), what is overdue by the new one is done at once; so changes, however many, have nothing done more often
// than the shortest time allows.
func atPace(ctx context.Context, pace func() (every time.Duration, changed <-chan struct{}), do func()) {
	t := time.NewTimer(0)
	defer t.Stop()
	var last time.Time
	for {
		every, changed := pace()
		t.Reset(time.Until(last.Add(every)))
		select {
		case <-ctx.Done():
			return
		case <-changed:
		case <-t.C:
			last = time.Now()
			do()
		}
	}
}
