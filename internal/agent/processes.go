package agent

import (
	"fmt"
	"os"

	"github.com/argosy-cluster/argosy/internal/agent/process"
)

// processes watches the processes of this machine's containers. That the kernel shows them, where this agent's Engine has them, is kept
// until the machine boots or the agent is run elsewhere.
func (a *agent) processes(boot string) (*process.Watcher, error) {
	namespace, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		return nil, fmt.Errorf("find out which processes this agent sees: %w", err)
	}
	here := fmt.Sprintf("%s %s %s", boot, namespace, a.engine.API().DaemonHost())
	kept, err := a.db.Value("processes")
	if err != nil {
		return nil, err
	}
	return process.New(process.Config{Shown: kept == here, Log: a.log, FirstShown: func() {
		if err := a.db.SetValue("processes", here); err != nil {
			a.log.Warn("that this machine shows the processes of its containers could not be kept", "error", err)
		}
	}})
}
