package agent

import (
	"context"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/usage"
)

// sample tells the leader what containers use, at a slow pace, and only while one listens.
func (a *agent) sample(ctx context.Context) {
	s := usage.New("/")
	t := time.NewTicker(a.cfg.UsageEvery)
	defer t.Stop()
	for {
		if _, leader := a.sess.Connected(); leader {
			a.sess.Usage(s.Sample(time.Now(), a.x.Containers(), a.engine.Info().RootDir))
		}
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}
