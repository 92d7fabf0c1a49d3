package localcluster

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"sync"
	"time"

	"github.com/moby/moby/client"

	"github.com/argosy-cluster/argosy/internal/defaults"
	"github.com/argosy-cluster/argosy/internal/pattern"
)

// Defaults of Options and Up.
const (
	MaxMachines   = 50
	DefaultMemory = 2 << 30
)

// Labels on everything that this package makes in the host's Engine.
const (
	labelCluster = "argosy.localcluster"         // name of the cluster
	labelMachine = "argosy.localcluster.machine" // m1, m2, …
	labelImage   = "argosy.localcluster.image"   // on images: hash of their recipe
)

// runDir is where the host finds the administration sockets of local clusters,
// each at runDir/<name>/server.sock.
const runDir = "/run/argosy-local"

// Options say which cluster, and with what. The zero value is the cluster
// "local", run from the present executables.
type Options struct {
	// Name tells clusters on one host apart: a DNS label of at most 20
	// characters.
	Name string
	// Binary is the argosy executable that machines get (Linux, same
	// architecture), with the argosyd that it finds. Empty means the one that
	// belongs to the present executable.
	Binary string
	// Memory is the limit of each machine in bytes, and what it declares as
	// its capacity. 0 means DefaultMemory.
	Memory int64
	// CPUs are what each machine declares as its capacity, as `argosy join` reads
	// them. Empty means the host's, which all machines share.
	CPUs string
	// Servers is how many machines run a server, m1 and those after it: 1, 3 or 5. 0 means as many as do, and 1 in a new
	// cluster. None is ever taken away.
	Servers int
	// Disk is the size in bytes of the two disks that each machine gets: one for its Engine and one for what Argosy keeps, so
	// that filling them fills nothing of the host's. They take only the space that is used. 0 means the host's disk.
	Disk int64
	// LeaseProfile is the timing of leases in a new cluster; empty means what the server takes by itself.
	LeaseProfile string
	// Mirror is the Debian mirror to build the machine image from. Empty means
	// mmdebstrap's default.
	Mirror string
	// Packages are Debian packages to have in the machines beside those of the
	// recipe. Machines with others are made from an image of their own.
	Packages []string
	// Bare machines have an Engine and nothing of Argosy's: no binary, no server,
	// no member.
	Bare bool
	// Progress is told of each thing done, one call at a time, or nil.
	Progress func(Event)
}

// Event is one thing that Up or Down does or has done.
type Event struct {
	// Machine is the machine it concerns, empty for the whole cluster.
	Machine string
	Text    string
	// Took is how long it took; 0 when it has just begun.
	Took time.Duration
}

// Cluster is what exists of one local cluster.
type Cluster struct {
	Name string `json:"name"`
	// Server is where the host's CLI reaches the server: unix:///path.
	Server   string    `json:"server"`
	Machines []Machine `json:"machines"` // in the order of their numbers
}

// Machine is one machine in a container.
type Machine struct {
	Name      string     `json:"name"`      // m1, m2, …
	Container string     `json:"container"` // its name in the host's Engine
	Address   netip.Addr `json:"address"`   // on the cluster's network, the same for life
	State     string     `json:"state"`     // the Engine's word: running, exited, created …
}

// Running reports whether the machine's container runs.
func (m Machine) Running() bool { return m.State == "running" }

// Local drives one local cluster. Its methods may be called from several
// goroutines; one Up or Down runs at a time on a host, and a second one waits.
type Local struct {
	opts   Options
	docker *client.Client

	progressMu sync.Mutex // serializes calls of opts.Progress
	paused     sync.Map   // what stops those that Pause stopped, by the machine's name
}

var nameRE = pattern.New(`^[a-z]([a-z0-9-]{0,18}[a-z0-9])?$`)

// New checks the options and returns a handle. It touches nothing yet.
func New(opts Options) (*Local, error) {
	if opts.Name == "" {
		opts.Name = defaults.LocalName
	}
	if !nameRE.MatchString(opts.Name) {
		return nil, fmt.Errorf("%q cannot name a local cluster: use at most 20 lower-case letters, digits and hyphens, beginning with a letter", opts.Name)
	}
	if opts.Memory == 0 {
		opts.Memory = DefaultMemory
	}
	if opts.Memory < 512<<20 {
		return nil, fmt.Errorf("a local machine needs at least 512 MiB of memory, not %d bytes", opts.Memory)
	}
	if opts.Servers < 0 || opts.Servers > 5 || opts.Servers == 2 || opts.Servers == 4 {
		return nil, fmt.Errorf("a cluster has 1, 3 or 5 servers, not %d: an even number survives no more losses than one fewer", opts.Servers)
	}
	docker, err := client.New(client.FromEnv)
	if err != nil {
		return nil, fmt.Errorf("set up the Docker client from the environment: %w", err)
	}
	return &Local{opts: opts, docker: docker}, nil
}

// Close gives up the connections to the Engine. The cluster goes on running.
func (l *Local) Close() error { return l.docker.Close() }

// ServerURL is where the host's CLI reaches the server of the cluster name.
func ServerURL(name string) string {
	return "unix://" + filepath.Join(runDir, name, "server.sock")
}

// prefix starts the names of all that belongs to this cluster in the Engine.
func (l *Local) prefix() string { return "argosy-" + l.opts.Name }

func machineName(number int) string { return fmt.Sprintf("m%d", number) }

var errNoMachine = errors.New("no such machine")

// step reports text as begun, runs f, and reports it done with its time.
func (l *Local) step(machine, text string, f func() error) error {
	begun := time.Now()
	l.say(Event{Machine: machine, Text: text})
	if err := f(); err != nil {
		if machine != "" {
			return fmt.Errorf("machine %s: %s: %w", machine, text, err)
		}
		return fmt.Errorf("%s: %w", text, err)
	}
	l.say(Event{Machine: machine, Text: text, Took: max(time.Since(begun), 1)})
	return nil
}

func (l *Local) say(e Event) {
	if l.opts.Progress == nil {
		return
	}
	l.progressMu.Lock()
	defer l.progressMu.Unlock()
	l.opts.Progress(e)
}
