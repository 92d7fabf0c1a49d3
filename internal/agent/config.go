package agent

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/defaults"
	"github.com/argosy-cluster/argosy/internal/state"
)

// DefaultNetwork is the Docker network of a machine's containers.
const DefaultNetwork = "argosy"

// Config of an agent. The identity fields come from joining.
type Config struct {
	// MachineID and ClusterID are never empty. Name may change; the servers' word counts.
	MachineID, ClusterID, Name string
	// Servers, host:port, at least one; what servers say replaces them and is remembered.
	Servers []string
	// HTTP speaks to servers, over HTTP/2 with the machine's certificate: see HTTPClient. Its Transport carries images too.
	HTTP *http.Client
	// Scheme is https unless said otherwise.
	Scheme string
	// Open opens what was sealed to the machine's key, with the context it was sealed with.
	Open func(sealed, context []byte) ([]byte, error)
	// SealingKey is the public half of that key.
	SealingKey []byte
	// Address that other machines reach this one at, an IP address.
	Address string
	// Subnet and NetworkRange, in CIDR form, as joining said; a Welcome replaces them. Empty means not known yet.
	Subnet, NetworkRange string
	// Version of the agent.
	Version string

	// DataDir keeps the database and configs, RunDir secrets (on a tmpfs).
	DataDir, RunDir string
	// GuardSocket is where the machine's guard answers; empty means the usual one.
	GuardSocket string
	// DockerHost is the Engine's address; empty means DOCKER_HOST or the usual socket.
	DockerHost string
	// CgroupParent of all containers; empty means the Engine's.
	CgroupParent string
	// LogDriver is json-file (also when empty) or local.
	LogDriver string
	// ImagePort of 127.0.0.1 is where the Engine pulls the cluster's images from. 0 means the default.
	ImagePort int
	// AcceptNoLiveRestore runs though a restart of the Engine would stop all containers.
	AcceptNoLiveRestore bool
	// NoNetwork leaves containers on Docker's own bridge, without routes to other machines and without names.
	NoNetwork bool
	// Prefix of the names of containers and volumes; empty means argosy. Two agents on one Engine need two.
	Prefix string

	// Declared capacity: what is not 0 wins over what is detected.
	Declared Capacity
	// Grace is how long servers are awaited before what was assigned last is acted on; 0 means 5 s after a boot and 2 s
	// after a restart of the agent.
	Grace time.Duration
	// UsageEvery is how often usage is sampled while nobody watches; 0 means 15 s, negative never.
	UsageEvery time.Duration

	// Greeted is called with each greeting of a server. May be nil.
	Greeted func(*argosyv1.Welcome)
	// Ready is called once when the agent watches over its containers. May be nil.
	Ready func()
	Log   *slog.Logger
}

// Capacity of a machine, in thousandths of a cpu and bytes.
type Capacity struct {
	CPUMilli, Memory               int64
	ReserveCPUMilli, ReserveMemory int64
}

func (c Config) withDefaults() Config {
	c.DataDir = cmp.Or(c.DataDir, defaults.AgentDir)
	c.RunDir = cmp.Or(c.RunDir, defaults.RunDir)
	c.ImagePort = cmp.Or(c.ImagePort, defaults.ImagePort)
	c.GuardSocket = cmp.Or(c.GuardSocket, defaults.GuardSocket)
	c.Scheme = cmp.Or(c.Scheme, "https")
	c.UsageEvery = cmp.Or(c.UsageEvery, 15*time.Second)
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	if c.HTTP == nil {
		c.HTTP = http.DefaultClient
	}
	if c.Ready == nil {
		c.Ready = func() {}
	}
	return c
}

func (c Config) validate() error {
	var errs []error
	for what, v := range map[string]string{"machine id": c.MachineID, "cluster id": c.ClusterID} {
		if v == "" {
			errs = append(errs, fmt.Errorf("the agent has no %s: this machine has not joined a cluster; join it with: argosy join TOKEN", what))
		}
	}
	if len(c.Servers) == 0 {
		errs = append(errs, errors.New("the agent knows no server"))
	}
	if c.Address != "" {
		if _, err := netip.ParseAddr(c.Address); err != nil {
			errs = append(errs, fmt.Errorf("the machine's address %q is not an IP address", c.Address))
		}
	}
	if c.Declared.CPUMilli < 0 || c.Declared.Memory < 0 || c.Declared.ReserveCPUMilli < 0 || c.Declared.ReserveMemory < 0 {
		errs = append(errs, errors.New("declared capacity cannot be negative"))
	}
	return errors.Join(errs...)
}

func (c Config) databasePath() string { return filepath.Join(c.DataDir, "agent.db") }

func (c Config) capacity(seen *argosyv1.Capacity) *argosyv1.Capacity {
	d := c.Declared
	out := &argosyv1.Capacity{
		CpuMilli: cmp.Or(d.CPUMilli, seen.GetCpuMilli()), Memory: cmp.Or(d.Memory, seen.GetMemory()), DiskTotal: seen.GetDiskTotal(),
		ReserveCpuMilli: d.ReserveCPUMilli, ReserveMemory: d.ReserveMemory,
	}
	state.FillReserve(out)
	return out
}
