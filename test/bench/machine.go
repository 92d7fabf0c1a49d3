package main

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/moby/moby/client"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/image/testimage"
	"github.com/argosy-cluster/argosy/internal/localcluster"
	"github.com/argosy-cluster/argosy/internal/manifest"
)

// machine is a local cluster of one machine with its own Docker Engine, a server and an agent.
type machine struct {
	local  *localcluster.Local
	server string // unix:///path
	image  string // the cluster has it
	apps   argosyv1connect.AppServiceClient
	at     string // the machine, where it is not the only one
}

const machineName = "m1"

// newMachine makes the machine and gives its cluster the image that all measurements use. What it made when it fails is
// removed with the rest.
func (b *bench) newMachine(ctx context.Context) error {
	local, err := localcluster.New(localcluster.Options{Name: b.name, Binary: b.binary, Progress: func(e localcluster.Event) {
		if e.Took > 0 {
			b.say("  %s (%.1fs)", strings.TrimSpace(e.Machine+" "+e.Text), e.Took.Seconds())
		}
	}})
	if err != nil {
		return err
	}
	if have, err := local.Show(ctx); err == nil && len(have.Machines) > 0 {
		return fmt.Errorf("a local cluster %s exists already: remove it with 'argosy cluster down --name %s', so that what is measured is new", b.name, b.name)
	}
	m := &machine{local: local, server: localcluster.ServerURL(b.name)}
	m.apps = apps(m.server)
	if _, err := local.Up(ctx, 1); err != nil {
		if begun, err := local.Show(context.WithoutCancel(ctx)); err == nil && len(begun.Machines) > 0 {
			b.m = m
		}
		return err
	}
	b.m = m
	m.image, err = b.loadTestImage(ctx, m.server)
	return err
}

// loadTestImage gives a cluster the test image, and returns its name.
func (b *bench) loadTestImage(ctx context.Context, server string) (string, error) {
	docker, err := client.New(client.FromEnv)
	if err != nil {
		return "", err
	}
	defer docker.Close()
	image, err := testimage.Ensure(ctx, docker)
	if err != nil {
		return "", err
	}
	load := exec.CommandContext(ctx, b.binary, "image", "load", image)
	load.Env = append(os.Environ(), "ARGOSY_SERVER="+server)
	if out, err := load.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%s: %w\n%s", load, err, out)
	}
	return image, nil
}

func (m *machine) down(ctx context.Context) error {
	defer m.local.Close()
	return m.local.Down(ctx, localcluster.DownOptions{})
}

// on runs a command in the machine and returns what it wrote.
func (m *machine) on(ctx context.Context, cmd ...string) (string, error) {
	out, err := m.local.Exec(ctx, cmp.Or(m.at, machineName), cmd...)
	if err != nil {
		return "", fmt.Errorf("%w\n%s", err, out)
	}
	return string(out), nil
}

// apps asks the server behind a Unix socket, as the command line does.
func apps(server string) argosyv1connect.AppServiceClient {
	return argosyv1connect.NewAppServiceClient(socketClient(server))
}

// socketClient reaches a server's services over its Unix socket.
func socketClient(server string) (hc *http.Client, base string) {
	var protocols http.Protocols
	protocols.SetUnencryptedHTTP2(true)
	transport := &http.Transport{Protocols: &protocols, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", strings.TrimPrefix(server, "unix://"))
	}}
	return &http.Client{Transport: transport}, "http://server.argosy.internal"
}

// manifestText is an app of n replicas of one small container, which reserves next to nothing, so that as many fit as are
// wanted.
func manifestText(app, image string, n int) string {
	return fmt.Sprintf(`argosy: v1
app: %s
containers:
  small:
    image: %s
    command: [sleep, infinity]
    stop_grace_period: 0s
    deploy: {resources: {reservations: {cpus: "0.01", memory: 16M}}}
stacks:
  one: {containers: [small]}
cluster:
  one: %d
`, app, image, n)
}

func spec(app, image string, n int) (*argosyv1.AppSpec, error) {
	return parseSpec(app, manifestText(app, image, n))
}

func parseSpec(app, text string) (*argosyv1.AppSpec, error) {
	s, _, faults := manifest.Parse([]manifest.File{{Name: app + ".yaml", Data: []byte(text)}}, manifest.Options{})
	if len(faults) > 0 {
		return nil, faults.Err()
	}
	return s, nil
}

// apply makes n replicas of app wanted and returns when the server has acknowledged that.
func (m *machine) apply(ctx context.Context, app string, n int) (sent, acknowledged time.Time, err error) {
	s, err := spec(app, m.image, n)
	if err != nil {
		return sent, acknowledged, err
	}
	return m.applySpec(ctx, app, s)
}

func (m *machine) applySpec(ctx context.Context, app string, s *argosyv1.AppSpec) (sent, acknowledged time.Time, err error) {
	sent = time.Now()
	res, err := m.apps.Apply(ctx, connect.NewRequest(&argosyv1.ApplyRequest{Spec: s}))
	acknowledged = time.Now()
	if err != nil {
		return sent, acknowledged, fmt.Errorf("apply %s: %w", app, err)
	}
	if w := res.Msg.Warnings; len(w) > 0 {
		return sent, acknowledged, fmt.Errorf("apply %s: %s", app, strings.Join(w, "; "))
	}
	return sent, acknowledged, nil
}

// ready waits until a client of the server sees n replicas of app ready, and returns them and when.
func (m *machine) ready(ctx context.Context, app string, n int) ([]*argosyv1.ReplicaStatus, time.Time, error) {
	replicas := map[uint32]*argosyv1.ReplicaStatus{}
	at, err := m.watch(ctx, app, func(res *argosyv1.WatchReplicasResponse) bool {
		for _, r := range res.Replicas {
			replicas[r.GetReplica().GetKey().GetNumber()] = r
		}
		ready := 0
		for _, r := range replicas {
			if r.State == argosyv1.ReplicaState_REPLICA_STATE_READY {
				ready++
			}
		}
		return ready == n
	})
	if err != nil {
		return nil, at, fmt.Errorf("%d of %s ready: %w", n, app, err)
	}
	var out []*argosyv1.ReplicaStatus
	for _, r := range replicas {
		out = append(out, r)
	}
	return out, at, nil
}

// remove deletes app and waits until nothing of it is left.
func (m *machine) remove(ctx context.Context, app string) error {
	if _, err := m.apps.DeleteApp(ctx, connect.NewRequest(&argosyv1.DeleteAppRequest{App: app, Volumes: true})); err != nil {
		return fmt.Errorf("delete %s: %w", app, err)
	}
	left := map[uint32]bool{}
	_, err := m.watch(ctx, app, func(res *argosyv1.WatchReplicasResponse) bool {
		for _, r := range res.Replicas {
			left[r.GetReplica().GetKey().GetNumber()] = true
		}
		for _, k := range res.Removed {
			delete(left, k.Number)
		}
		return len(left) == 0
	})
	if err != nil {
		return fmt.Errorf("nothing left of %s: %w", app, err)
	}
	return nil
}

// watch follows an app's replicas until enough says so, and returns when it did.
func (m *machine) watch(ctx context.Context, app string, enough func(*argosyv1.WatchReplicasResponse) bool) (time.Time, error) {
	const limit = 3 * time.Minute
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	stream, err := m.apps.WatchReplicas(ctx, connect.NewRequest(&argosyv1.ListReplicasRequest{App: app}))
	if err != nil {
		return time.Time{}, err
	}
	defer stream.Close()
	for stream.Receive() {
		if enough(stream.Msg()) {
			return time.Now(), nil
		}
	}
	if ctx.Err() == context.DeadlineExceeded {
		return time.Time{}, fmt.Errorf("not so within %s", limit)
	}
	return time.Time{}, fmt.Errorf("the server's stream ended: %w", stream.Err())
}

// process is one of the two that are measured in the machine.
type process struct {
	pid int
	m   *machine
}

func (m *machine) process(ctx context.Context, unit string) (process, error) {
	out, err := m.on(ctx, "systemctl", "show", "--property=MainPID", "--value", unit)
	if err != nil {
		return process{}, err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil || pid == 0 {
		return process{}, fmt.Errorf("%s does not run: its process is %q", unit, out)
	}
	return process{pid, m}, nil
}

// ticksPerSecond is the unit of /proc/<pid>/stat on Linux, whatever the kernel's own.
const ticksPerSecond = 100

// cpuTime is what all threads of the process have used since it began, and the processes that it started and that ended.
func (p process) cpuTime(ctx context.Context) (time.Duration, error) {
	out, err := p.m.on(ctx, "cat", fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return 0, err
	}
	_, all, err := parseStat(out)
	return all, err
}

// ownTime is that without the processes that it started.
func (p process) ownTime(ctx context.Context) (time.Duration, error) {
	out, err := p.m.on(ctx, "cat", fmt.Sprintf("/proc/%d/stat", p.pid))
	if err != nil {
		return 0, err
	}
	own, _, err := parseStat(out)
	return own, err
}

// parseStat reads user and system time, a process's own and with its children's. The name in parentheses may hold anything, so fields
// count from its end.
func parseStat(text string) (own, all time.Duration, err error) {
	f := strings.Fields(text[strings.LastIndexByte(text, ')')+1:])
	const utime, stime, cstime = 14 - 3, 15 - 3, 17 - 3
	if len(f) <= cstime {
		return 0, 0, fmt.Errorf("%q is no process's stat", text)
	}
	for i := utime; i <= cstime; i++ {
		n, err := strconv.ParseInt(f[i], 10, 64)
		if err != nil {
			return 0, 0, fmt.Errorf("stat: %w", err)
		}
		all += time.Duration(n) * time.Second / ticksPerSecond
		if i == stime {
			own = all
		}
	}
	return own, all, nil
}

// memory is what a process has resident, in MB of a million bytes.
type memory struct {
	resident, anonymous float64
}

func (p process) memory(ctx context.Context) (memory, error) {
	out, err := p.m.on(ctx, "cat", fmt.Sprintf("/proc/%d/smaps_rollup", p.pid))
	if err != nil {
		return memory{}, err
	}
	var m memory
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) != 3 {
			continue
		}
		kib, err := strconv.ParseFloat(f[1], 64)
		if err != nil {
			continue
		}
		switch f[0] {
		case "Rss:":
			m.resident = kib * 1024 / 1e6
		case "Anonymous:":
			m.anonymous = kib * 1024 / 1e6
		}
	}
	if m.resident == 0 {
		return memory{}, fmt.Errorf("smaps_rollup of process %d says nothing of resident memory:\n%s", p.pid, out)
	}
	return m, nil
}

func cpus() uint32 { return uint32(runtime.NumCPU()) }

func plural(n uint32, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
