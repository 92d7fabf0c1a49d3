package localcluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/client"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/defaults"
)

// Engine makes sure that a Docker Engine answers on this host, starting one by hand where nothing else does it. Down ends
// one that was started so, when nothing is left in it.
func (l *Local) Engine(ctx context.Context) error {
	if _, err := l.docker.Ping(ctx, client.PingOptions{}); err == nil {
		return nil
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := l.Check(ctx, 0); err != nil {
		return err
	}
	return l.ensureEngine(ctx)
}

// Up makes the cluster run with n machines, or with as many as it has if that is
// more: it never takes one away. n of 0 means as many as it has, and
// defaults.LocalMachines for a new one. A *MissingError says what the host lacks,
// before anything was started.
func (l *Local) Up(ctx context.Context, n int) (Cluster, error) {
	if n < 0 || n > MaxMachines {
		return Cluster{}, fmt.Errorf("a local cluster has 1 to %d machines, not %d", MaxMachines, n)
	}
	unlock, err := l.lock(ctx)
	if err != nil {
		return Cluster{}, err
	}
	defer unlock()
	if n, err = l.target(ctx, n); err != nil {
		return Cluster{}, err
	}
	if err := l.Check(ctx, n); err != nil {
		return Cluster{}, err
	}
	if err := l.ensureEngine(ctx); err != nil {
		return Cluster{}, err
	}
	if err := l.ensureImage(ctx); err != nil {
		return Cluster{}, err
	}
	subnet, err := l.ensureNetwork(ctx)
	if err != nil {
		return Cluster{}, err
	}
	if err := os.MkdirAll(l.socketDir(), 0o755); err != nil {
		return Cluster{}, err
	}
	bins, err := l.executables()
	if err != nil {
		return Cluster{}, err
	}
	defer closeAll(bins)
	g, gctx := errgroup.WithContext(ctx)
	g.SetLimit(max(4, 2*runtime.NumCPU())) // booting is work for the processors
	for number := 1; number <= n; number++ {
		g.Go(func() error {
			if err := l.ensureMachine(gctx, number, subnet); err != nil || l.opts.Bare {
				return err
			}
			return l.install(gctx, number, machineAddress(subnet, number), bins)
		})
	}
	if err := g.Wait(); err != nil {
		return Cluster{}, err
	}
	if l.opts.Bare {
		return l.Show(ctx)
	}
	if err := l.ensureMembers(ctx, n); err != nil {
		return Cluster{}, err
	}
	return l.Show(ctx)
}

// target turns what was asked for into the number of machines to have.
func (l *Local) target(ctx context.Context, n int) (int, error) {
	if _, err := l.docker.Ping(ctx, client.PingOptions{}); err == nil {
		have, err := l.machines(ctx)
		if err != nil {
			return 0, err
		}
		n = max(n, len(have))
	}
	if n == 0 {
		n = defaults.LocalMachines
	}
	return n, nil
}

// Show returns what exists of the cluster; with no machine there is none.
func (l *Local) Show(ctx context.Context) (Cluster, error) {
	have, err := l.machines(ctx)
	if err != nil {
		return Cluster{}, err
	}
	return Cluster{Name: l.opts.Name, Server: ServerURL(l.opts.Name), Machines: have}, nil
}

// List returns all local clusters of this host, in the order of their names.
func List(ctx context.Context) ([]Cluster, error) {
	docker, err := client.New(client.FromEnv)
	if err != nil {
		return nil, err
	}
	defer docker.Close()
	list, err := docker.ContainerList(ctx, client.ContainerListOptions{
		All: true, Filters: client.Filters{}.Add("label", labelCluster, labelMachine),
	})
	if err != nil {
		return nil, fmt.Errorf("list local clusters: %w", err)
	}
	byName := map[string][]container.Summary{}
	for _, item := range list.Items {
		name := item.Labels[labelCluster]
		byName[name] = append(byName[name], item)
	}
	var out []Cluster
	for name, items := range byName {
		out = append(out, Cluster{Name: name, Server: ServerURL(name), Machines: machinesOf(items)})
	}
	slices.SortFunc(out, func(a, b Cluster) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}

// socketDir is /run/argosy of m1 as the host sees it: the server's socket is in
// it. Secrets that an agent keeps there are on a tmpfs that it mounts within,
// which the host does not see.
func (l *Local) socketDir() string { return filepath.Join(runDir, l.opts.Name) }

// install puts argosy and its units into a machine and starts afresh what is
// changed by that.
func (l *Local) install(ctx context.Context, number int, address netip.Addr, bins []executable) error {
	name := machineName(number)
	units := unitsOf(number, address.String(), l.opts.LeaseProfile)
	check := []string{"sha256sum", "--"}
	for _, b := range bins {
		check = append(check, b.to)
	}
	for _, u := range units {
		check = append(check, unitDir+u.name)
	}
	out, err := l.Exec(ctx, name, check...)
	var exit *ExitError
	if err != nil && !errors.As(err, &exit) { // a missing file is an ExitError
		return err
	}
	sums := parseSums(out)
	var files []file
	for _, b := range bins {
		if sums[b.to] != b.hash {
			files = append(files, file{b.to, 0o755, b.size, io.NewSectionReader(b.file, 0, b.size)})
		}
	}
	for _, u := range units {
		sum := sha256.Sum256([]byte(u.text))
		if sums[unitDir+u.name] != hex.EncodeToString(sum[:]) {
			files = append(files, file{unitDir + u.name, 0o644, int64(len(u.text)), bytes.NewReader([]byte(u.text))})
		}
	}
	if len(files) == 0 {
		return nil
	}
	return l.step(name, "install argosy", func() error {
		if err := l.copyIn(ctx, name, files...); err != nil {
			return err
		}
		if _, err := l.Exec(ctx, name, "systemctl", "daemon-reload"); err != nil {
			return err
		}
		for _, u := range units {
			if u.name == leaveUnit {
				continue // to stop it is to give everything back
			}
			// Only what runs is started again; what does not has its own time.
			if _, err := l.Exec(ctx, name, "systemctl", "try-restart", u.name); err != nil {
				return err
			}
		}
		return nil
	})
}

// parseSums reads the output of sha256sum: sums by path.
func parseSums(out []byte) map[string]string {
	sums := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if sum, path, ok := strings.Cut(strings.TrimSpace(line), "  "); ok {
			sums[path] = sum
		}
	}
	return sums
}

// lock keeps two Ups or Downs of one host apart: the second waits. The returned
// function gives it back.
func (l *Local) lock(ctx context.Context) (func(), error) {
	unlock, err := tryLock()
	if !errors.Is(err, errNotYet) {
		return unlock, err
	}
	l.say(Event{Text: "wait for another `argosy cluster up` or `down` on this host to end"})
	err = poll(ctx, 10*time.Minute, func(context.Context) (err error) {
		unlock, err = tryLock()
		return err
	})
	return unlock, err
}

// tryLock returns errNotYet while somebody else has the lock.
func tryLock() (func(), error) {
	path := filepath.Join(runDir, ".lock")
	if err := os.MkdirAll(runDir, 0o755); err != nil {
		return nil, rootError(err)
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, notYet("the directory was removed meanwhile")
	}
	if err != nil {
		return nil, rootError(err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return nil, notYet("another `argosy cluster up` or `down` is at work on this host")
		}
		return nil, fmt.Errorf("lock %s: %w", path, err)
	}
	held, err := f.Stat()
	if err == nil {
		// A Down removes the file with its directory: what is locked must be
		// what the next one will find.
		if there, statErr := os.Stat(path); statErr == nil && os.SameFile(held, there) {
			return func() { _ = f.Close() }, nil
		}
		err = notYet("the lock was removed meanwhile")
	}
	_ = f.Close()
	return nil, err
}

// forgetRunDir removes the directory of the lock that the caller holds, unless
// another cluster's socket is in it.
func forgetRunDir() error {
	entries, err := os.ReadDir(runDir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.Name() != ".lock" {
			return nil
		}
	}
	return os.RemoveAll(runDir)
}

// rootError says in a sentence what a refused lock means.
func rootError(err error) error {
	if errors.Is(err, fs.ErrPermission) {
		return &MissingError{Sentences: []string{"Local machines need root: run this as root or with sudo."}}
	}
	return err
}
