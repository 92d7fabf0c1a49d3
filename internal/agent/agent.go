package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/database"
	"github.com/argosy-cluster/argosy/internal/agent/docker"
	"github.com/argosy-cluster/argosy/internal/agent/executor"
	"github.com/argosy-cluster/argosy/internal/agent/files"
	"github.com/argosy-cluster/argosy/internal/agent/host"
	"github.com/argosy-cluster/argosy/internal/agent/session"
	"github.com/argosy-cluster/argosy/internal/agent/storage"
	"github.com/argosy-cluster/argosy/internal/agent/systemd"
	"github.com/argosy-cluster/argosy/internal/agent/work"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/image/relay"
	"github.com/argosy-cluster/argosy/internal/tracing"
)

// ErrRemoved says that the cluster does not know this machine any more, for good.
var ErrRemoved = errors.New("this machine was removed from its cluster")

// agent is everything that Run wires together.
type agent struct {
	cfg    Config
	log    *slog.Logger
	db     *database.DB
	engine *docker.Engine
	files  *files.Store
	x      *executor.Executor
	net    *wire // nil with NoNetwork
	sess   *session.Client
	desk   *work.Desk
	// storage speaks to the machine's guard.
	storage *storage.Keeper
	// troubles are told to the leader.
	troubles troubles
	flows    *http.Client // for works that are streams of bytes
	disk     func(dir string) (total, used int64, err error)
	relay    *relay.Relay
	diary    *journal
	tracer   *tracing.Tracer

	hello     atomic.Pointer[argosyv1.Hello]
	bus       *systemd.Connection // nil where there is no systemd
	unmet     error               // why the Engine was not met yet, by an agent that knows it from before
	name      atomic.Pointer[string]
	installed chan struct{} // a full set of assignments came from a leader
	once      sync.Once
	removed   chan string
	foresight *foresight
	stray     chan struct{} // 1: volumes are to be looked for that belong to nothing
}

// HTTPClient makes a Config's HTTP out of a transport that has the machine's TLS configuration.
func HTTPClient(t *http.Transport) *http.Client { return session.HTTPClient(t) }

// Run keeps this machine's part of the cluster until ctx ends, then returns nil; nothing that it started stops. It returns
// early with an error when it cannot begin, and with ErrRemoved when the cluster does not know the machine any more.
func Run(ctx context.Context, cfg Config) error {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return err
	}
	a := &agent{cfg: cfg, log: cfg.Log, installed: make(chan struct{}), removed: make(chan string, 1), stray: make(chan struct{}, 1), foresight: newForesight(), disk: host.Disk}
	a.name.Store(&cfg.Name)
	var err error
	if a.tracer, err = tracing.New(ctx, "argosy-agent", cfg.Version, os.Getenv); err != nil {
		return err
	}
	defer a.tracer.Close()
	db, aside, err := database.Open(cfg.databasePath())
	if err != nil {
		return err
	}
	defer db.Close()
	a.db = db
	if aside != "" {
		a.log.Error("the agent's database was damaged and is set aside; what it had not reported is lost", "aside", aside)
	}
	if a.files, err = files.Open(files.Config{
		Secrets: filepath.Join(cfg.RunDir, "secrets"), Configs: filepath.Join(cfg.DataDir, "configs"), Unseal: a.unseal,
	}); err != nil {
		return err
	}
	if err := a.connect(ctx); err != nil {
		return err
	}
	defer a.engine.Close()
	if err := a.prepare(); err != nil {
		return err
	}
	return a.run(ctx)
}

// prepare brings back what an earlier agent left.
func (a *agent) prepare() error {
	boot, err := host.Root("/").BootID()
	if err != nil {
		return err
	}
	rebooted, err := a.rebooted(boot)
	if err != nil {
		return err
	}
	if a.cfg.Grace == 0 {
		a.cfg.Grace = 2 * time.Second
		if rebooted {
			a.cfg.Grace = 5 * time.Second
		}
	}
	assigned, complete, err := a.db.Assignments()
	if err != nil {
		return err
	}
	last, memory, err := a.db.Last()
	if err != nil {
		return err
	}
	a.diary = newJournal(a.db, a.cfg.MachineID, a.log, last)
	units, systemdVersion, err := a.units()
	if err != nil {
		return err
	}
	if err := a.prepareStorage(); err != nil {
		return err
	}
	processes, err := a.processes(boot)
	if err != nil {
		return err
	}
	a.x = executor.New(executor.Config{
		Processes: processes, Units: units, Storage: a.storage,
		Engine: a.engine, Files: a.files, Changed: a.changed, Used: a.used, Trouble: a.engineTrouble, Log: a.log, Memory: core.Memory{Members: memory},
		Did: a.did,
	})
	a.diary.memories = a.x.Memories
	a.x.Expect(last)
	a.x.Assign(complete, assigned, nil)
	a.flows = apart(a.cfg.HTTP)
	a.desk = work.New(work.Config{Engine: a.engine, Members: a.x, Log: a.log})
	if !a.cfg.NoNetwork {
		if err := a.prepareNetwork(); err != nil {
			return err
		}
	}
	info := a.engine.Info()
	cpu, mem := host.Root("/").Capacity()
	seen := &argosyv1.Capacity{CpuMilli: cpu, Memory: mem}
	if seen.DiskTotal, _, err = host.Disk(info.RootDir); err != nil {
		a.log.Warn("the size of the disk is not known", "error", err)
	}
	a.hello.Store(&argosyv1.Hello{
		BootId: boot, SessionId: rand.Text(), AgentVersion: a.cfg.Version, EngineVersion: info.Version, SystemdVersion: systemdVersion,
		Capacity: a.cfg.capacity(seen), Address: a.cfg.Address, SealingKey: a.cfg.SealingKey, ClusterId: a.cfg.ClusterID,
	})
	met, err := a.met()
	if err != nil {
		return err
	}
	a.sess = session.New(session.Config{
		Servers: a.knownServers(), HTTP: a.cfg.HTTP, Scheme: a.cfg.Scheme, Hello: a.hello.Load,
		Met: met, Outbox: a.db, Ears: a, Log: a.log,
	})
	a.diary.recorded = a.sess.Recorded
	return nil
}

func (a *agent) prepareNetwork() error {
	a.net = newWire(a.engine, a.cfg.MachineID, a.log, a.db.SetValue, a.networkTrouble)
	place0, err := a.db.Value("network")
	if err != nil {
		return err
	}
	peers, err := a.db.Value("peers")
	if err != nil {
		return err
	}
	a.x.Connect("containers are not connected yet: this machine's network is being made")
	a.net.recall(place0, peers)
	a.net.set(place{Address: a.cfg.Address, Subnet: a.cfg.Subnet, Range: a.cfg.NetworkRange})
	return nil
}

// rebooted says whether the machine booted since an agent ran here, and notes this boot.
func (a *agent) rebooted(boot string) (bool, error) {
	before, err := a.db.Value("boot")
	if err != nil || before == boot {
		return false, err
	}
	return before != "", a.db.SetValue("boot", boot)
}

// knownServers are those that were told last, and those of the configuration.
func (a *agent) knownServers() []string {
	list := append([]string(nil), a.cfg.Servers...)
	kept, err := a.db.Value("servers")
	if err != nil || kept == "" {
		return list
	}
	for _, s := range strings.Split(kept, ",") {
		seen := false
		for _, have := range list {
			seen = seen || have == s
		}
		if !seen {
			list = append(list, s)
		}
	}
	return list
}

// met is the latest leader that an agent met here.
func (a *agent) met() (m session.Met, err error) {
	kept, err := a.db.Value("leader")
	if err != nil || kept == "" {
		return m, err
	}
	if _, err := fmt.Sscanf(kept, "%d/%d", &m.Generation, &m.Term); err != nil {
		a.log.Warn("which leader was met last is not known", "kept", kept, "error", err)
		return session.Met{}, nil
	}
	return m, nil
}

func (a *agent) servers() []string {
	if a.sess == nil {
		return a.cfg.Servers
	}
	return a.sess.Servers()
}

// run runs everything that lasts as long as the agent.
func (a *agent) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var under sync.WaitGroup
	run := func(f func(context.Context)) {
		under.Add(1)
		go func() {
			defer under.Done()
			f(ctx)
		}()
	}
	l, err := relay.Listen(a.cfg.ImagePort)
	if err != nil {
		return err
	}
	run(func(ctx context.Context) {
		if err := a.relay.Serve(ctx, l); err != nil {
			cancel(fmt.Errorf("serve images to the Engine: %w", err))
		}
	})
	if a.unmet != nil {
		a.x.Lose(a.unmet)
		run(func(ctx context.Context) {
			if err := a.meetLater(ctx); err != nil {
				cancel(err)
			}
		})
	}
	if a.bus != nil {
		run(func(ctx context.Context) { a.meetSystemdLater(ctx, a.bus, systemdEvery) })
	}
	run(a.x.Run)
	run(a.storage.Run)
	run(a.diary.run)
	if a.net != nil {
		run(a.net.run)
	}
	run(a.begin)
	run(a.collect)
	run(a.strays)
	run(a.fetchForeseen)
	if a.cfg.UsageEvery > 0 {
		run(a.sample)
	}
	select {
	case <-a.x.Ready():
		run(a.sess.Run)
		run(a.trim)
		a.cfg.Ready()
		a.log.Info("the agent watches over this machine", "machine", a.cfg.MachineID, "engine", a.engine.Info().Version, "cpus", a.hello.Load().GetCapacity().GetCpuMilli(), "memory", a.hello.Load().GetCapacity().GetMemory())
	case <-ctx.Done():
	}
	select {
	case <-ctx.Done():
	case why := <-a.removed:
		cancel(fmt.Errorf("%w: %s", ErrRemoved, why))
	}
	under.Wait()
	a.desk.Wait()
	if err := a.diary.flush(); err != nil { // steps that ended on the way out
		a.log.Error("what happened last could not be recorded", "error", err)
	}
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return nil
}

// begin lets the executor act: when a leader has said what is wanted, or when none did within the grace.
func (a *agent) begin(ctx context.Context) {
	grace := time.NewTimer(a.cfg.Grace)
	defer grace.Stop()
	select {
	case <-a.installed:
	case <-grace.C:
		a.log.Info("no leader answered yet; going on with what was assigned last")
	case <-ctx.Done():
		return
	}
	a.x.Act()
}

// changed passes on what the executor sees.
func (a *agent) changed(before, after *argosyv1.ReplicaObservation) {
	a.diary.changed(before, after)
	a.sess.Changed(before, after)
	if a.net == nil {
		return
	}
	o := after
	if o == nil {
		o = before
	}
	a.net.names.seen(idOf(o), after, a.x.Assignment(core.KeyOf(o.GetKey())))
}

func (a *agent) unseal(tenant string, s *argosyv1.SealedSecret) ([]byte, error) {
	if a.cfg.Open == nil {
		return nil, errors.New("this agent was started without its key")
	}
	return a.cfg.Open(s.GetSealed(), auth.SecretContext(auth.KindSecret, tenant, s.GetName(), s.GetVersion()))
}

// credential finds what a registry asks for among an assignment's credentials.
func (a *agent) credential(as *argosyv1.Assignment, registry string) (docker.Credential, error) {
	for _, s := range as.GetRegistryCredentials() {
		if !sameRegistry(s.GetName(), registry) {
			continue
		}
		if a.cfg.Open == nil {
			return docker.Credential{}, errors.New("this agent was started without its key")
		}
		text, err := a.cfg.Open(s.GetSealed(), auth.SecretContext(auth.KindRegistry, as.GetKey().GetTenant(), s.GetName(), s.GetVersion()))
		if err != nil {
			return docker.Credential{}, fmt.Errorf("the credential for registry %s cannot be opened with this machine's key: %w", registry, err)
		}
		user, password, _ := strings.Cut(string(text), ":")
		return docker.Credential{Username: user, Password: password}, nil
	}
	return docker.Credential{}, nil
}

// sameRegistry knows that Docker Hub has several names.
func sameRegistry(a, b string) bool {
	hub := func(s string) string {
		if s == "index.docker.io" || s == "registry-1.docker.io" || s == "hub.docker.com" {
			return "docker.io"
		}
		return s
	}
	return hub(a) == hub(b)
}
