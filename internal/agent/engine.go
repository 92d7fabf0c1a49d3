package agent

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/docker"
	"github.com/argosy-cluster/argosy/internal/image/relay"
)

// firstMeeting is how long an Engine that is known from before may take to say what it is. The session does not wait longer
// for it: a machine whose Engine hangs is there, and has to say so before it counts as lost.
const firstMeeting = 2 * time.Second

// connect meets the Engine and checks that it can be relied on. An agent that never met it waits for it: nothing of the
// cluster's can be on this machine yet.
func (a *agent) connect(ctx context.Context) error {
	a.relay = relay.New(relay.Options{
		Servers: func() []string {
			var list []string
			for _, s := range a.servers() {
				list = append(list, a.cfg.Scheme+"://"+s)
			}
			return list
		},
		Transport: apart(a.cfg.HTTP).Transport, Log: a.log,
	})
	network := DefaultNetwork
	if a.cfg.NoNetwork {
		network = ""
	}
	engine, err := docker.New(docker.Config{
		Host: a.cfg.DockerHost, ClusterID: a.cfg.ClusterID, Machine: func() string { return *a.name.Load() }, Prefix: a.cfg.Prefix,
		Network: network, CgroupParent: a.cfg.CgroupParent, LogDriver: a.cfg.LogDriver,
		RelayPort: a.cfg.ImagePort, RelayAuth: a.relay.Auth(), Credential: a.credential, Log: a.log,
		Names: func(k core.Key) docker.Names {
			if a.net == nil {
				return docker.Names{}
			}
			return a.net.resolution(k)
		},
	})
	if err != nil {
		return err
	}
	a.engine = engine
	known, err := a.recallEngine()
	if err != nil {
		return errors.Join(err, engine.Close())
	}
	if known {
		first, cancel := context.WithTimeout(ctx, firstMeeting)
		a.unmet = engine.Meet(first)
		cancel()
		if a.unmet != nil && ctx.Err() == nil {
			a.log.Error("the Docker Engine does not answer; going on without it", "error", a.unmet)
			return nil
		}
	} else if err := a.await(ctx); err != nil {
		return errors.Join(err, engine.Close())
	}
	if err := a.metEngine(); err != nil {
		return errors.Join(err, engine.Close())
	}
	return nil
}

// await asks the Engine what it is until it answers.
func (a *agent) await(ctx context.Context) error {
	told := false
	for {
		err := a.engine.Meet(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if !told {
			a.log.Error("waiting for the Docker Engine", "error", err)
			told = true
		}
		pause(ctx, time.Second)
	}
}

// meetLater meets an Engine that did not answer at first. It fails when that cannot be relied on.
func (a *agent) meetLater(ctx context.Context) error {
	if a.await(ctx) != nil {
		return nil // the agent ends
	}
	if err := a.metEngine(); err != nil {
		return err
	}
	a.amendHello(func(h *argosyv1.Hello) { h.EngineVersion = a.engine.Info().Version })
	return nil
}

// amendHello changes what the machine says of itself in sessions from now on.
func (a *agent) amendHello(change func(*argosyv1.Hello)) {
	for {
		old := a.hello.Load()
		next := proto.CloneOf(old)
		change(next)
		if a.hello.CompareAndSwap(old, next) {
			return
		}
	}
}

// metEngine checks what the Engine said it is, and keeps it.
func (a *agent) metEngine() error {
	info := a.engine.Info()
	if !info.LiveRestore && !a.cfg.AcceptNoLiveRestore {
		return errLiveRestore
	}
	raw, err := json.Marshal(info)
	if err != nil {
		return err
	}
	if kept, err := a.db.Value("engine"); err != nil || kept == string(raw) {
		return err
	}
	return a.db.SetValue("engine", string(raw))
}

// recallEngine brings back what the Engine was when an earlier agent met it.
func (a *agent) recallEngine() (known bool, err error) {
	kept, err := a.db.Value("engine")
	if err != nil || kept == "" {
		return false, err
	}
	var info docker.Info
	if err := json.Unmarshal([]byte(kept), &info); err != nil {
		a.log.Warn("what the Docker Engine was is not known any more", "error", err)
		return false, nil
	}
	a.engine.Recall(info)
	return true, nil
}

var errLiveRestore = errors.New(`a restart of the Docker Engine would stop every container on this machine: live-restore is off. ` +
	`Turn it on: echo '{"live-restore": true}' > /etc/docker/daemon.json && systemctl reload docker ` +
	`(where that file exists, add the key to it instead). ` +
	`To go on nevertheless, say --accept-no-live-restore`)

// CheckEngine says why an agent would refuse to work with this machine's Engine. Where none answers yet there is nothing to
// say: an agent waits for it.
func CheckEngine(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTime)
	defer cancel()
	engine, err := docker.Open(ctx, docker.Config{ClusterID: "none"})
	if err != nil {
		return nil
	}
	if !engine.Info().LiveRestore {
		return errors.Join(errLiveRestore, engine.Close())
	}
	return engine.Close()
}

const checkTime = 5 * time.Second
