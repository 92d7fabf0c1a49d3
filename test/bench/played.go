package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/agent/session"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/join"
)

// playedCluster is a server as a process of its own, with machines that this process plays: they join, hold the sessions that
// agents hold, and show whatever they are assigned as ready at once.
type playedCluster struct {
	dir    string
	socket string
	apps   argosyv1connect.AppServiceClient
	log    bytes.Buffer
	cmd    *exec.Cmd
	ended  chan error

	stop     context.CancelFunc // of the sessions
	sessions sync.WaitGroup
}

// newPlayedCluster starts a server and returns once that many machines have a session with it.
func (b *bench) newPlayedCluster(ctx context.Context, machines int) (*playedCluster, error) {
	dir, err := os.MkdirTemp("", "argosy-bench-")
	if err != nil {
		return nil, err
	}
	c := &playedCluster{dir: dir, socket: filepath.Join(dir, "server.sock"), ended: make(chan error, 1), stop: func() {}}
	c.apps = apps("unix://" + c.socket)
	if err := c.startServer(ctx, b.binary); err != nil {
		return nil, errors.Join(err, c.down())
	}
	if err := c.play(ctx, machines); err != nil {
		return nil, errors.Join(err, c.down())
	}
	return c, nil
}

func (c *playedCluster) startServer(ctx context.Context, binary string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	address := fmt.Sprintf("127.0.0.1:%d", port)
	c.cmd = exec.Command(binary, "server", "--data-dir", filepath.Join(c.dir, "data"), "--listen", address, "--advertise", address, "--socket", c.socket)
	c.cmd.Stderr = &c.log
	if err := c.cmd.Start(); err != nil {
		c.ended <- nil
		return err
	}
	go func() { c.ended <- c.cmd.Wait() }()
	return c.until(ctx, "the server answers", func(ctx context.Context) (bool, error) {
		_, err := c.apps.ListApps(ctx, connect.NewRequest(&argosyv1.ListAppsRequest{}))
		if connect.CodeOf(err) == connect.CodeUnavailable {
			return false, nil
		}
		return err == nil, err
	})
}

// until asks again and again, for some minutes.
func (c *playedCluster) until(ctx context.Context, what string, is func(context.Context) (bool, error)) error {
	const limit = 3 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	pause := time.NewTicker(50 * time.Millisecond)
	defer pause.Stop()
	for {
		if ok, err := is(ctx); ok || err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case end := <-c.ended:
			c.ended <- end
			return fmt.Errorf("the server ended: %w\n%s", end, c.log.String())
		case <-ctx.Done():
			return fmt.Errorf("waiting until %s: %w", what, ctx.Err())
		case <-pause.C:
		}
	}
}

// play has machines join, some at a time, and then all hold their sessions.
func (c *playedCluster) play(ctx context.Context, machines int) error {
	cluster, list := c.services()
	const together = 16
	joined := make([]*playedMachine, machines)
	failures := make([]error, together)
	var all sync.WaitGroup
	for first := range together {
		all.Go(func() {
			for n := first; n < machines && failures[first] == nil; n += together {
				joined[n], failures[first] = joinPlayed(ctx, cluster, n, filepath.Join(c.dir, fmt.Sprint("m", n)))
			}
		})
	}
	all.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	var own context.Context
	own, c.stop = context.WithCancel(context.Background())
	for _, m := range joined {
		c.sessions.Go(func() {
			m.client.Run(own)
			m.transport.CloseIdleConnections()
		})
	}
	return c.until(ctx, "all machines are ready", func(ctx context.Context) (bool, error) {
		res, err := list.ListMachines(ctx, connect.NewRequest(&argosyv1.ListMachinesRequest{}))
		if err != nil {
			return false, err
		}
		ready := 0
		for _, m := range res.Msg.Machines {
			if m.Condition == argosyv1.MachineCondition_MACHINE_CONDITION_READY {
				ready++
			}
		}
		return ready == machines, nil
	})
}

// services are those of the server's that only the beginning needs.
func (c *playedCluster) services() (argosyv1connect.ClusterServiceClient, argosyv1connect.MachineServiceClient) {
	hc, base := socketClient("unix://" + c.socket)
	return argosyv1connect.NewClusterServiceClient(hc, base), argosyv1connect.NewMachineServiceClient(hc, base)
}

// allReady waits until that many replicas are wanted and all are shown as ready.
func (c *playedCluster) allReady(ctx context.Context, replicas int) error {
	return c.until(ctx, fmt.Sprintf("%d replicas are ready", replicas), func(ctx context.Context) (bool, error) {
		res, err := c.apps.ListApps(ctx, connect.NewRequest(&argosyv1.ListAppsRequest{}))
		if err != nil {
			return false, err
		}
		ready := 0
		for _, a := range res.Msg.Apps {
			ready += int(a.Ready)
		}
		return ready == replicas, nil
	})
}

// down ends sessions and server, and removes what they kept.
func (c *playedCluster) down() error {
	c.stop()
	c.sessions.Wait()
	if c.cmd.Process != nil {
		_ = c.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-c.ended:
		case <-time.After(10 * time.Second):
			_ = c.cmd.Process.Kill()
			<-c.ended
		}
	}
	return os.RemoveAll(c.dir)
}

// playedMachine shows what it is assigned as ready, and runs nothing. It is the session's ears and outbox.
type playedMachine struct {
	client    *session.Client
	transport *http.Transport

	mu   sync.Mutex
	runs map[string]*argosyv1.ReplicaObservation
}

func joinPlayed(ctx context.Context, cluster argosyv1connect.ClusterServiceClient, n int, dir string) (*playedMachine, error) {
	res, err := cluster.CreateToken(ctx, connect.NewRequest(&argosyv1.CreateTokenRequest{
		Purpose: argosyv1.TokenPurpose_TOKEN_PURPOSE_MACHINE, ExpiresIn: durationpb.New(time.Hour)}))
	if err != nil {
		return nil, err
	}
	token, err := auth.ParseToken(res.Msg.Token, argosyv1.TokenPurpose_TOKEN_PURPOSE_MACHINE)
	if err != nil {
		return nil, err
	}
	const cpu, memory = 16_000, 64 << 30
	// These addresses are set aside for measuring: nobody has them.
	address := fmt.Sprintf("198.18.%d.%d", n/250, n%250+1)
	member, err := join.Machine(ctx, token, join.Facts{Name: fmt.Sprintf("m%04d", n), Address: address, BootID: "boot",
		Labels: map[string]string{"rack": fmt.Sprint("r", n/20)}, Declared: join.Membership{CPUMilli: cpu, MemoryBytes: memory}}, dir)
	if err != nil {
		return nil, err
	}
	cred, err := auth.Files{Dir: dir}.Load()
	if err != nil {
		return nil, err
	}
	verifier, err := cred.Verifier()
	if err != nil {
		return nil, err
	}
	capacity, err := member.Capacity()
	if err != nil {
		return nil, err
	}
	m := &playedMachine{runs: map[string]*argosyv1.ReplicaObservation{}}
	m.transport = join.NewTransport(auth.ClientTLS(auth.NewSource(cred), verifier))
	m.client = session.New(session.Config{Servers: member.Servers, HTTP: &http.Client{Transport: m.transport}, Outbox: m, Ears: m,
		Hello: func() *argosyv1.Hello {
			return &argosyv1.Hello{BootId: "boot", SessionId: member.MachineID, Address: address, ClusterId: member.Cluster, Capacity: capacity}
		}})
	return m, nil
}

// Assigned shows what is wanted as ready, and what is wanted no more as gone.
func (m *playedMachine) Assigned(_ string, a *argosyv1.Assignments) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range a.Set {
		name := fmt.Sprint(s.Key.Tenant, "/", s.Key.App, "/", s.Key.Stack, ".", s.Key.Number)
		o := &argosyv1.ReplicaObservation{Key: s.Key, AppUid: s.AppUid, Incarnation: s.Incarnation, Revision: s.Revision, Restart: s.Restart,
			State: argosyv1.ReplicaState_REPLICA_STATE_READY, ObservedAt: timestamppb.Now()}
		if s.Goal == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
			m.client.Changed(m.runs[name], nil)
			delete(m.runs, name)
			continue
		}
		for i, ct := range s.Containers {
			o.Members = append(o.Members, &argosyv1.MemberObservation{Name: ct.Name, State: argosyv1.MemberState_MEMBER_STATE_RUNNING,
				Address: fmt.Sprintf("10.64.0.%d", i+2), ContainerId: playedID(s.Key, i), ImageId: "sha256:" + playedID(s.Key, -1), Since: timestamppb.Now()})
		}
		m.client.Changed(m.runs[name], o)
		m.runs[name] = o
	}
	return nil
}

// playedID is as long as Docker's ids are.
func playedID(k *argosyv1.ReplicaKey, n int) string {
	return fmt.Sprintf("%064x", uint64(k.Number)<<32|uint64(uint32(n)))
}

// Pending: a played machine has no transitions to tell.
func (m *playedMachine) Pending(uint64, int) ([]*argosyv1.Transition, error) { return nil, nil }

func (*playedMachine) Leased(string, *argosyv1.LeaseServers) {}

// Welcomed, Acknowledged, Networked and Refused change nothing here.
func (m *playedMachine) Welcomed(string, *argosyv1.Welcome)        {}
func (m *playedMachine) Acknowledged(string, uint64) error         { return nil }
func (m *playedMachine) Networked(string, *argosyv1.NetworkUpdate) {}

// Foreseen implements session.Ears.
func (m *playedMachine) Foreseen(string, *argosyv1.Foreseen) {}
func (m *playedMachine) Refused(string, *argosyv1.Refusal)   {}

// Asked: nobody asks for logs or commands while this is measured.
func (m *playedMachine) Asked(context.Context, string, argosyv1connect.AgentServiceClient, *argosyv1.Work) {
}
