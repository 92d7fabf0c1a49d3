package server

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/freeport"
	"github.com/argosy-cluster/argosy/internal/join"
)

// several are servers of one cluster in this process, with real stores and real TLS on the loopback interface.
type several struct {
	t       *testing.T
	servers []*cluster
	made    time.Time     // when the cluster was made; zero for now
	change  func(*Config) // of servers that are started from now on; may be nil
}

func freePort(t testing.TB) string {
	t.Helper()
	addr, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// threeServers starts one server and has two join it; it returns when all have a vote.
func threeServers(t *testing.T) *several {
	t.Helper()
	return threeSince(t, time.Time{})
}

// threeSince are three servers of a cluster that was made a while ago.
func threeSince(t *testing.T, made time.Time) *several {
	t.Helper()
	s := &several{t: t, made: made}
	s.start(shortDir(t), "s1")
	for _, name := range []string{"s2", "s3"} {
		s.join(name, "")
	}
	s.votes(3)
	return s
}

func (s *several) start(dir, name string) *cluster {
	s.t.Helper()
	c := own(s.t, dir, s.config(dir, name))
	s.servers = append(s.servers, c)
	return c
}

// config is that of a server in a directory, which keeps the port of its store.
func (s *several) config(dir, name string) func(*Config) {
	s.t.Helper()
	peer := freePort(s.t)
	if b, err := os.ReadFile(filepath.Join(dir, "peer")); err == nil {
		peer = string(b)
	} else if err := os.WriteFile(filepath.Join(dir, "peer"), []byte(peer), 0o600); err != nil {
		s.t.Fatal(err)
	}
	// As without --peer-listen: every address.
	_, port, err := net.SplitHostPort(peer)
	if err != nil {
		s.t.Fatal(err)
	}
	return func(c *Config) {
		c.Name, c.PeerListen, c.PeerAdvertise, c.made = name, ":"+port, peer, s.made
		if s.change != nil {
			s.change(c)
		}
	}
}

// join has a new server enter.
func (s *several) join(name, replace string) *cluster {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), time.Minute)
	defer cancel()
	res, err := s.any().cluster.CreateToken(ctx, connect.NewRequest(&argosyv1.CreateTokenRequest{
		Purpose: argosyv1.TokenPurpose_TOKEN_PURPOSE_SERVER, ExpiresIn: durationpb.New(time.Hour)}))
	if err != nil {
		s.t.Fatal(err)
	}
	token, err := auth.ParseToken(res.Msg.Token, argosyv1.TokenPurpose_TOKEN_PURPOSE_SERVER)
	if err != nil {
		s.t.Fatal(err)
	}
	dir := shortDir(s.t)
	if _, err := join.Server(ctx, token, join.ServerFacts{Name: name, Replace: replace}, filepath.Join(dir, "data")); err != nil {
		s.t.Fatal(err)
	}
	return s.start(dir, name)
}

// any is the administrator on the socket of the first server that runs.
func (s *several) any() *clients { return s.servers[0].local }

func (c *cluster) asServers() argosyv1connect.ServerServiceClient {
	return argosyv1connect.NewServerServiceClient(c.local.hc, c.local.base)
}

// until asks again and again until it is satisfied.
func until(t testing.TB, what string, f func(ctx context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for {
		err := f(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s: %v", what, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// votes waits until so many servers have a vote and answer.
func (s *several) votes(n int) {
	s.t.Helper()
	until(s.t, fmt.Sprintf("%d voters", n), func(ctx context.Context) error {
		res, err := s.servers[0].asServers().ListServers(ctx, connect.NewRequest(&argosyv1.ListServersRequest{}))
		if err != nil {
			return err
		}
		have := 0
		for _, srv := range res.Msg.Servers {
			if srv.Role == argosyv1.ServerRole_SERVER_ROLE_VOTER && srv.Healthy {
				have++
			}
		}
		if have != n || len(res.Msg.Servers) != n {
			return fmt.Errorf("%d of %v", have, res.Msg.Servers)
		}
		return nil
	})
}

// leader is the server that leads, and the others.
func (s *several) leader() (lead *cluster, others []*cluster) {
	s.t.Helper()
	until(s.t, "a leader", func(context.Context) error {
		lead, others = nil, nil
		for _, c := range s.servers {
			if c.server.leader.Leading() {
				lead = c
			} else {
				others = append(others, c)
			}
		}
		if lead == nil {
			return errors.New("nobody leads")
		}
		return nil
	})
	return lead, others
}

// drop forgets a server that was stopped.
func (s *several) drop(c *cluster) {
	for i, x := range s.servers {
		if x == c {
			s.servers = append(s.servers[:i:i], s.servers[i+1:]...)
			return
		}
	}
}

// Any server answers any request, and what one was told all know.
func TestThreeServers(t *testing.T) {
	t.Parallel()
	s := threeServers(t)
	lead, others := s.leader()
	for i, c := range s.servers {
		c.apply(t, spec(fmt.Sprintf("app%d", i+1), 1))
	}
	for _, c := range s.servers {
		res, err := c.local.apps.ListApps(t.Context(), connect.NewRequest(&argosyv1.ListAppsRequest{}))
		if err != nil || len(res.Msg.Apps) != 3 {
			t.Fatalf("%d apps, %v", len(res.Msg.GetApps()), err)
		}
	}
	agent := others[0].machine(t, facts()) // joins through a server that does not lead
	if agent.m.Subnet == "" || len(agent.m.Servers) != 3 {
		t.Errorf("the machine was told %+v", agent.m)
	}
	viewer := others[0].user(t, "vera", "viewer")
	if _, err := viewer.apps.ListApps(t.Context(), connect.NewRequest(&argosyv1.ListAppsRequest{})); err != nil {
		t.Errorf("a viewer at a server that does not lead: %v", err)
	}
	_, err := viewer.apps.Apply(t.Context(), connect.NewRequest(&argosyv1.ApplyRequest{Spec: spec("no", 1)}))
	wantError(t, err, connect.CodePermissionDenied, "operator")

	stream, err := others[1].local.apps.WatchReplicas(t.Context(), connect.NewRequest(&argosyv1.ListReplicasRequest{App: "app1"}))
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	if !stream.Receive() || len(stream.Msg().Replicas) != 1 {
		t.Fatalf("a watch through another server: %v, %v", stream.Msg(), stream.Err())
	}
	watched := lead.machine(t, facts())
	watched.connect(t)
	usage, err := others[1].local.cluster.WatchUsage(t.Context(), connect.NewRequest(&argosyv1.WatchUsageRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	defer usage.Close()
	watched.told(t, 2*time.Second) // the leader knows who watches at other servers
	lead.stop()
	s.drop(lead)
	for _, c := range s.servers {
		c.apply(t, spec("after", 2))
		res, err := c.local.apps.ListApps(t.Context(), connect.NewRequest(&argosyv1.ListAppsRequest{}))
		if err != nil || len(res.Msg.Apps) != 4 {
			t.Fatalf("after the loss of the leader: %d apps, %v", len(res.Msg.GetApps()), err)
		}
	}
	// A new one takes its place, with one token and one join.
	s.join("s4", lead.server.cfg.Name)
	s.votes(3)
	if next, _ := s.leader(); next == nil {
		t.Error("nobody leads")
	}
}
