package agent_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent"
)

// childEnv makes this test program an agent, so that one can be killed like a process.
const childEnv = "ARGOSY_AGENT_TEST_CHILD"

type child struct {
	Config agent.Config
	CA     []byte
}

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := runChild(text); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func runChild(text string) error {
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(c.CA)
	c.Config.HTTP = agent.HTTPClient(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}})
	c.Config.Log = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}))
	c.Config.Open = func(sealed, _ []byte) ([]byte, error) { return append([]byte(nil), sealed...), nil }
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	return agent.Run(ctx, c.Config)
}

// process starts an agent as a process of its own.
func (b *bench) process(t testing.TB, l *leader, usage time.Duration) *exec.Cmd {
	t.Helper()
	cfg := b.config(l, nil)
	cfg.UsageEvery = usage
	cfg.HTTP, cfg.Open, cfg.Ready, cfg.Log = nil, nil, nil, nil
	raw, err := json.Marshal(struct {
		Config map[string]any
		CA     []byte
	}{fields(t, cfg), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: l.http.Certificate().Raw})})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(raw))
	cmd.Stderr = t.Output()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if cmd.ProcessState == nil {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	})
	return cmd
}

// fields leaves out of a Config what is no data.
func fields(t testing.TB, cfg agent.Config) map[string]any {
	return map[string]any{
		"MachineID": cfg.MachineID, "ClusterID": cfg.ClusterID, "Name": cfg.Name, "Servers": cfg.Servers, "DataDir": cfg.DataDir, "RunDir": cfg.RunDir,
		"ImagePort": cfg.ImagePort, "AcceptNoLiveRestore": true, "NoNetwork": true, "Prefix": cfg.Prefix, "Grace": cfg.Grace, "UsageEvery": cfg.UsageEvery, "Version": "test",
	}
}

// TestKilledAgentLosesNothing kills the agent again and again while containers come, crash and go, and then compares the
// history that the leader was told with what it must contain.
func TestKilledAgentLosesNothing(t *testing.T) {
	b, l := newBench(t), newLeader(t)
	l.holdAcks = true
	p := b.process(t, l, time.Second)
	l.until(t, "the agent reported", func() bool { return l.full })
	const replicas = 4
	for n := uint32(1); n <= replicas; n++ {
		m := b.member("apache", "exit", "7", "1s")
		m.Restart = &argosyv1.RestartPolicy{Mode: argosyv1.RestartMode_RESTART_MODE_ON_FAILURE, MaxAttempts: 2}
		l.assign(b.assignment(n, m))
		// The moment is whatever it is: that is the point.
		<-time.After(time.Duration(n) * 170 * time.Millisecond)
		if err := p.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = p.Wait()
		p = b.process(t, l, time.Second)
	}
	for n := 1; n <= replicas; n++ {
		name := fmt.Sprintf("shop/lamp.%d", n)
		l.until(t, name+" has failed for good", func() bool { return l.full && l.state(name) == argosyv1.ReplicaState_REPLICA_STATE_FAILED })
	}
	_ = p.Process.Kill()
	_ = p.Wait()
	l.mu.Lock()
	l.holdAcks = false
	l.mu.Unlock()
	b.process(t, l, time.Second)
	for n := uint32(1); n <= replicas; n++ {
		l.until(t, fmt.Sprintf("the history of replica %d ends with its failure", n), func() bool {
			last := ""
			for _, tr := range l.transitions {
				if tr.GetReplica().GetNumber() == n && tr.GetMember() == "apache" {
					last = tr.GetTo()
				}
			}
			return last == "failed"
		})
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	state := map[string]string{}
	for _, tr := range l.transitions {
		if tr.GetReplica() == nil {
			continue // of the Engine, which each agent takes to answer until it knows better
		}
		k := nameOf(tr.GetReplica()) + "/" + tr.GetMember()
		if tr.GetFrom() != state[k] {
			t.Errorf("transition %d of %s goes from %q, but it was %q: something was forgotten or told twice", tr.GetOutboxSeq(), k, tr.GetFrom(), state[k])
		}
		state[k] = tr.GetTo()
	}
	for _, f := range l.faults {
		t.Error(f)
	}
	if got := b.containers(t); len(got) != replicas {
		t.Errorf("%d containers for %d replicas: %v", len(got), replicas, got)
	}
}
