package kill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/agent"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/join"
	"github.com/argosy-cluster/argosy/internal/server"
)

// childEnv makes this test's program a server or an agent.
const childEnv = "ARGOSY_KILL_CHILD"

// child is how to run one, as it is handed to the process.
type child struct {
	Name, Dir  string
	Addr, Peer string // of a server
	Prefix     string // of an agent, as are the next two
	RunDir     string
	ImagePort  int
}

func (c child) socket() string { return filepath.Join(c.Dir, "s") }
func (c child) data() string   { return filepath.Join(c.Dir, "data") }

func TestMain(m *testing.M) {
	if text := os.Getenv(childEnv); text != "" {
		if err := runChild(text); err != nil {
			fmt.Fprintln(os.Stderr, "it ended:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// runChild is the life of such a process.
func runChild(text string) error {
	var c child
	if err := json.Unmarshal([]byte(text), &c); err != nil {
		return err
	}
	go func() { // until the test ends, however it does
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(1)
	}()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil)).With("pid", os.Getpid())
	if c.Addr != "" {
		return server.Run(ctx, server.Config{DataDir: c.data(), Listen: c.Addr, Advertise: []string{c.Addr}, Socket: c.socket(),
			PeerListen: c.Peer, PeerAdvertise: c.Peer, Name: c.Name, Log: log})
	}
	return c.work(ctx, log)
}

// work runs an agent as argosy agent does, but for the network, which is not of a machine's own here.
func (c child) work(ctx context.Context, log *slog.Logger) error {
	m, err := join.Load(c.data())
	if err != nil {
		return err
	}
	cred, err := auth.Files{Dir: c.data()}.Load()
	if err != nil {
		return err
	}
	verifier, err := cred.Verifier()
	if err != nil {
		return err
	}
	private, public, err := join.SealingKey(c.data())
	if err != nil {
		return err
	}
	return agent.Run(ctx, agent.Config{
		MachineID: m.MachineID, ClusterID: m.Cluster, Name: m.Name, Servers: m.Servers, Address: m.Address, Version: "kill", SealingKey: public,
		HTTP: &http.Client{Transport: join.NewTransport(auth.ClientTLS(auth.NewSource(cred), verifier))},
		Open: func(sealed, context []byte) ([]byte, error) {
			value, err := auth.OpenSealed(private, sealed, context)
			return value.Reveal(), err
		},
		Declared: agent.Capacity{CPUMilli: m.CPUMilli, Memory: m.MemoryBytes}, DataDir: c.data(), RunDir: c.RunDir, ImagePort: c.ImagePort,
		AcceptNoLiveRestore: true, NoNetwork: true, Prefix: c.Prefix, Log: log,
	})
}

// process is a server or an agent in a process of its own. One goroutine starts and kills it.
type process struct {
	child
	t    testing.TB
	cmd  *exec.Cmd
	gone chan struct{} // closed when it has ended
	// killed says that its end is this test's doing.
	killed bool

	apps    argosyv1connect.AppServiceClient
	cluster argosyv1connect.ClusterServiceClient
	servers argosyv1connect.ServerServiceClient
}

func newProcess(t testing.TB, c child) *process {
	p := &process{child: c, t: t}
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	hc := &http.Client{Transport: &http.Transport{Protocols: &protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", p.socket())
	}}}
	t.Cleanup(hc.CloseIdleConnections)
	const base = "http://server.test"
	p.apps, p.cluster, p.servers = argosyv1connect.NewAppServiceClient(hc, base), argosyv1connect.NewClusterServiceClient(hc, base), argosyv1connect.NewServerServiceClient(hc, base)
	t.Cleanup(func() {
		if p.kill(); t.Failed() {
			t.Logf("%s:\n%s", p.Name, p.lastWords())
		}
	})
	return p
}

// start runs it; what it says is added to its log.
func (p *process) start() error {
	text, err := json.Marshal(p.child)
	if err != nil {
		return err
	}
	log, err := os.OpenFile(filepath.Join(p.Dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+string(text))
	cmd.Stderr = log
	if _, err := cmd.StdinPipe(); err != nil { // it ends when this process does
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	gone := make(chan struct{})
	go func() {
		_ = cmd.Wait() // how it ended is in its log
		close(gone)
	}()
	p.cmd, p.gone, p.killed = cmd, gone, false
	return nil
}

// kill is kill -9; it returns when the process has ended.
func (p *process) kill() {
	if p.cmd == nil {
		return
	}
	p.killed = true
	_ = p.cmd.Process.Kill() // it may have ended
	<-p.gone
}

// fell says that it ended by itself.
func (p *process) fell() error {
	if p.cmd == nil || p.killed {
		return nil
	}
	select {
	case <-p.gone:
		return errors.New(p.Name + " has ended by itself")
	default:
		return nil
	}
}

// lastWords is the end of its log.
func (p *process) lastWords() string {
	b, err := os.ReadFile(filepath.Join(p.Dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(b[max(0, len(b)-6000):])
}
