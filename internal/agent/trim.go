package agent

import (
	"context"
	"runtime/debug"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/host"
)

const (
	// trimAfter is when starting is over, with what an earlier agent left looked at and the first session under way.
	trimAfter = 15 * time.Second
	// trimEvery keeps what bursts of work left from staying for good. The runtime collects that often in any case.
	trimEvery = 2 * time.Minute
)

// trim gives memory back that nothing uses any more: an agent is a guest on its machine.
func (a *agent) trim(ctx context.Context) {
	t := time.NewTimer(trimAfter)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		debug.FreeOSMemory()
		if err := host.ReleaseCode(); err != nil {
			a.log.Debug("memory stays taken", "error", err)
		}
		t.Reset(trimEvery)
	}
}
