package agent

import (
	"context"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/executor"
	"github.com/argosy-cluster/argosy/internal/agent/systemd"
)

// systemdEvery is how often a systemd that has not answered yet is asked again.
const systemdEvery = time.Second

// versionUnknown is said of a systemd that runs the machine and has never answered yet.
const versionUnknown = "unknown"

// units is what runs this machine's units, and the version of its systemd; nil where there is none.
func (a *agent) units() (executor.Units, string, error) {
	if !systemd.AtHand() {
		return nil, "", nil
	}
	a.bus = systemd.Connect()
	version, err := a.meetSystemd(context.Background(), a.bus)
	return systemd.New(systemd.Config{ClusterID: a.cfg.ClusterID, Bus: a.bus, Log: a.log}), version, err
}

// versioned is systemd, as far as it says what it is.
type versioned interface {
	Version(ctx context.Context) (string, error)
}

// meetSystemd asks systemd for its version. One that does not answer, as right after a boot or while it is starved, is what it was when
// it was met last: the machine runs units as before, and nobody knows what they do until it answers.
func (a *agent) meetSystemd(ctx context.Context, bus versioned) (string, error) {
	kept, err := a.db.Value("systemd")
	if err != nil {
		return "", err
	}
	version, err := bus.Version(ctx)
	switch {
	case err != nil && kept == "":
		kept = versionUnknown
		fallthrough
	case err != nil:
		a.log.Error("systemd does not answer; going on without it", "error", err)
		return kept, nil
	case version != kept:
		return version, a.db.SetValue("systemd", version)
	}
	return version, nil
}

// meetSystemdLater asks a systemd that did not answer at first what it is until it does.
func (a *agent) meetSystemdLater(ctx context.Context, bus versioned, every time.Duration) {
	for a.hello.Load().GetSystemdVersion() == versionUnknown && ctx.Err() == nil {
		pause(ctx, every)
		if version, err := a.meetSystemd(ctx, bus); err == nil && version != versionUnknown {
			a.amendHello(func(h *argosyv1.Hello) { h.SystemdVersion = version })
		}
	}
}
