package kill

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/freeport"
	"github.com/argosy-cluster/argosy/internal/join"
)

// patience is how long a busy host may take for what takes seconds.
const patience = 5 * time.Minute

// servers is how many there are.
const servers = 3

// cluster are the processes: the servers, and the agent last.
type cluster struct {
	t      testing.TB
	list   []*process
	engine *engine
}

// newCluster has three servers with a vote and a machine whose agent works.
func newCluster(t testing.TB) *cluster {
	t.Helper()
	c := &cluster{t: t, engine: newEngine(t)}
	for n := range servers {
		p := newProcess(t, child{Name: fmt.Sprintf("s%d", n+1), Dir: shortDir(t), Addr: freePort(t), Peer: freePort(t)})
		if n > 0 {
			token := c.token(argosyv1.TokenPurpose_TOKEN_PURPOSE_SERVER)
			c.until(p.Name+" joins", func(ctx context.Context) error {
				_, err := join.Server(ctx, token, join.ServerFacts{Name: p.Name}, p.data())
				return err
			})
		}
		c.add(p)
	}
	c.until("three servers vote", func(ctx context.Context) error {
		res, err := c.list[0].servers.ListServers(ctx, connect.NewRequest(&argosyv1.ListServersRequest{}))
		if err == nil && res.Msg.Spare != 1 {
			err = fmt.Errorf("%v", res.Msg.Servers)
		}
		return err
	})
	c.addAgent()
	return c
}

func (c *cluster) addAgent() {
	c.t.Helper()
	run, err := os.MkdirTemp("/dev/shm", "argosy-kill")
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = os.RemoveAll(run) })
	_, port, err := net.SplitHostPort(freePort(c.t))
	if err != nil {
		c.t.Fatal(err)
	}
	p := newProcess(c.t, child{Name: "agent", Dir: shortDir(c.t), Prefix: fmt.Sprintf("argosy-kill-%d", os.Getpid()), RunDir: run})
	if _, err := fmt.Sscan(port, &p.ImagePort); err != nil {
		c.t.Fatal(err)
	}
	token := c.token(argosyv1.TokenPurpose_TOKEN_PURPOSE_MACHINE)
	c.until("the machine joins", func(ctx context.Context) error {
		m, err := join.Machine(ctx, token, join.Facts{Name: "m1", Address: "192.0.2.1", BootID: "boot",
			Declared: join.Membership{CPUMilli: 4000, MemoryBytes: 8 << 30}}, p.data())
		if err == nil {
			c.engine.cluster = m.Cluster
		}
		return err
	})
	c.add(p)
}

func (c *cluster) add(p *process) {
	c.t.Helper()
	if err := p.start(); err != nil {
		c.t.Fatal(err)
	}
	c.list = append(c.list, p)
}

func (c *cluster) token(purpose argosyv1.TokenPurpose) (token auth.Token) {
	c.t.Helper()
	c.until("a token is made", func(ctx context.Context) error {
		res, err := c.list[0].cluster.CreateToken(ctx, connect.NewRequest(&argosyv1.CreateTokenRequest{Purpose: purpose, ExpiresIn: durationpb.New(time.Hour)}))
		if err == nil {
			token, err = auth.ParseToken(res.Msg.Token, purpose)
		}
		return err
	})
	return token
}

// agent is the process that works with the Engine.
func (c *cluster) agent() *process { return c.list[servers] }

// fell is an error when a process has ended that nobody killed.
func (c *cluster) fell() error {
	var errs []error
	for _, p := range c.list {
		errs = append(errs, p.fell())
	}
	return errors.Join(errs...)
}

// until asks until f returns nil.
func (c *cluster) until(what string, f func(ctx context.Context) error) {
	c.t.Helper()
	if _, err := await(c.t.Context(), f); err != nil {
		c.t.Fatalf("%s: not within %s: %v", what, patience, err)
	}
}

// await asks until f returns nil, and returns its last error when patience is at its end.
func await(ctx context.Context, f func(ctx context.Context) error) (took time.Duration, err error) {
	begun := time.Now()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		one, cancel := context.WithTimeout(ctx, 10*time.Second)
		err = f(one)
		cancel()
		if err == nil || time.Since(begun) > patience || ctx.Err() != nil {
			return time.Since(begun), err
		}
		<-tick.C
	}
}

func freePort(t testing.TB) string {
	t.Helper()
	addr, err := freeport.Address()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// shortDir is a directory whose path leaves room for a socket's.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "argosy-kill")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// keepLogs copies what the processes said to a directory.
func (c *cluster) keepLogs(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for _, p := range c.list {
		b, err := os.ReadFile(filepath.Join(p.Dir, "log"))
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, strings.ToLower(p.Name)+".log"), b, 0o644); err != nil {
			return err
		}
	}
	return nil
}
