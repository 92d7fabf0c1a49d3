package docker

import (
	"context"
	"errors"
	"time"

	"github.com/containerd/errdefs"
	"github.com/moby/moby/client"

	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// checkTime is how long a health check may take that says nothing.
const checkTime = 30 * time.Second

// errNoCheck says that there is no health check to be run.
var errNoCheck = errors.New("the container has no health check")

// Probe runs a container's own health check once, beside those of the Engine, and says whether it passed. It fails when the check
// could not be run, or took longer than it may.
func (e *Engine) Probe(ctx context.Context, containerID string) (passed bool, err error) {
	about, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	res, err := e.api.ContainerInspect(about, containerID, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return false, &core.Fault{Kind: core.FaultGone, Message: "the container does not exist any more", Err: err}
	}
	if err != nil {
		return false, fault("look at container", err)
	}
	cfg := res.Container.Config
	if cfg == nil || cfg.Healthcheck == nil || cfg.Labels[labelCluster] != e.cfg.ClusterID {
		return false, errNoCheck
	}
	command := checkCommand(cfg.Healthcheck.Test, cfg.Shell)
	if command == nil {
		return false, errNoCheck
	}
	patience := checkTime
	if t := cfg.Healthcheck.Timeout; t > 0 {
		patience = t
	}
	ctx, cancelCheck := context.WithTimeout(ctx, patience)
	defer cancelCheck()
	p, err := e.Exec(ctx, containerID, Exec{Command: command})
	if err != nil {
		return false, err
	}
	defer p.Close()
	stop := context.AfterFunc(ctx, p.Close) // who reads its output finds it closed
	defer stop()
	if err := p.Output(func(bool, []byte) error { return nil }); err != nil {
		return false, err
	}
	if err := ctx.Err(); err != nil {
		return false, err
	}
	code, err := p.ExitCode(ctx)
	return err == nil && code == 0, err
}

// checkCommand is what the Engine runs for a health check, nil when that is none.
func checkCommand(test, shell []string) []string {
	if len(test) < 2 {
		return nil
	}
	switch test[0] {
	case "CMD":
		return test[1:]
	case "CMD-SHELL":
		if len(shell) == 0 {
			shell = []string{"/bin/sh", "-c"}
		}
		return append(append([]string(nil), shell...), test[1])
	}
	return nil
}
