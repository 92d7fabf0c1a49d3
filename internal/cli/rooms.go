package cli

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/manifest"
)

// Rooms are what commands need of the rooms that take long to load, because of the libraries they use. Only argosyd has
// them: where a command finds none, argosyd carries it out, see package handover.
type Rooms struct {
	// Serve runs a server until ctx is done.
	Serve func(ctx context.Context, o ServerOptions) error
	// Recover makes the server in a data directory the only one of its cluster.
	Recover func(ctx context.Context, dir string, log *slog.Logger) (*Recovered, error)
	// Restore makes a server out of a backup, in an empty data directory.
	Restore func(ctx context.Context, dir string, backup io.Reader, key BackupKey, to StoreOptions, log *slog.Logger) (*Recovered, error)
	// FetchBackup opens a file of S3-compatible storage, with credentials as a file holds them, and says how large it is.
	FetchBackup func(ctx context.Context, from string, credentials []byte) (io.ReadCloser, int64, error)
	// NewBackupKey makes a key that opens backups: the text of its file, and its public half.
	NewBackupKey func() (file []byte, public string, err error)
	// LockBackup makes what a passphrase opens.
	LockBackup func(passphrase []byte) (*argosyv1.BackupLock, error)
	// VerifyBackup reads a backup to its end: what is in it, too, if key is not nil.
	VerifyBackup func(in io.Reader, key *BackupKey) (*BackupFacts, error)
	// Work runs an agent until ctx is done.
	Work func(ctx context.Context, o AgentOptions) error
	// CheckEngine says why an agent would refuse to work with this host's Engine, nil also when none answers yet.
	CheckEngine func(ctx context.Context) error
	// Routes are the networks that this host has routes into, in CIDR form, without those of Argosy's own.
	Routes func() ([]string, error)
	// Import turns Compose files into a manifest.
	Import func(files []manifest.File, o ImportOptions) Imported
	// Load sends an image to the cluster: one of the local Engine, or an archive when in is not nil.
	Load func(ctx context.Context, name string, in io.Reader, o LoadOptions) (*Loaded, error)
	// Local is one local cluster, whether it exists or not; Locals are those that do.
	Local  func(o LocalOptions) (Local, error)
	Locals func(ctx context.Context) ([]LocalCluster, error)
}

// rooms are argosyd's. Where this is not argosyd, it takes this process over, and what is returned is why it did not.
// Nothing may have been read from standard input or asked before, because all begins anew.
func (a *app) rooms() (*Rooms, error) {
	switch {
	case a.sys.Rooms != nil:
		return a.sys.Rooms, nil
	case a.sys.HandOver == nil:
		return nil, errors.New("this command is argosyd's, and cannot be handed over from here")
	}
	return nil, a.sys.HandOver(a.args)
}

// ServerOptions say how to run a server.
type ServerOptions struct {
	DataDir, Listen, PeerListen, PeerAdvertise, Socket, Name string
	WitnessSocket, WitnessAdvertise, FenceDir                string
	Advertise, FleetAPI                                      []string
	StoreQuota                                               int64 // bytes
	Store                                                    StoreOptions
	Compaction                                               time.Duration // of an external store
	HistoryAge                                               time.Duration
	// NetworkRange, Liveness and LeaseProfile hold for a cluster that is made now.
	NetworkRange string
	Liveness     time.Duration
	LeaseProfile string
	Log          *slog.Logger
}

// StoreOptions say where an external etcd is; without endpoints there is none.
type StoreOptions struct {
	Endpoints                                             []string
	CAFile, CertFile, KeyFile, User, PasswordFile, Prefix string
}

// Recovered is what a recovery found.
type Recovered struct {
	Cluster    string   `json:"cluster"`
	Server     string   `json:"server"`
	Generation uint64   `json:"generation"`
	Revision   int64    `json:"revision"`
	Given      []string `json:"given_up"` // the servers that were given up
	// Kept is how many replicas were about to be removed together with their volumes, which now stay.
	Kept int `json:"volumes_kept"`
	// Backup is what it was restored from, nil where a directory had a store.
	Backup *BackupFacts `json:"backup,omitempty"`
}

// BackupKey is what opens a backup: the text of a file of keys, or a passphrase.
type BackupKey struct{ File, Passphrase []byte }

// BackupFacts are what is known of a backup. Opened says that what is in it was read; what follows is known only then.
type BackupFacts struct {
	ID         string    `json:"id"`
	Cluster    string    `json:"cluster"`
	Made       time.Time `json:"made"`
	Server     string    `json:"server"`
	Version    string    `json:"version"`
	Recipients []string  `json:"recipients"`
	Passphrase bool      `json:"passphrase"`
	Size       int64     `json:"size"`
	Opened     bool      `json:"opened"`
	Generation uint64    `json:"generation,omitempty"`
	Revision   int64     `json:"revision,omitempty"`
	Content    int64     `json:"content_size,omitempty"`
	History    bool      `json:"history,omitempty"`
	Images     bool      `json:"images,omitempty"`
}

// AgentOptions say how to run an agent.
type AgentOptions struct {
	DataDir, RunDir, DockerHost, CgroupParent string
	ImagePort                                 int
	AcceptNoLiveRestore                       bool
	Log                                       *slog.Logger
}

// ImportOptions say how to turn Compose files into a manifest.
type ImportOptions struct {
	// App is the app's name, empty for the project's. Dir is where the manifest will be, empty for beside the first file.
	App, Dir string
	// Stacks is auto, each or one.
	Stacks                  string
	Profiles, EnvFiles      []string
	BindsAsVolumes, Partial bool
	LookupEnv               func(string) (string, bool)
}

// Imported is what became of Compose files. Manifest is nil when there are faults.
type Imported struct {
	Manifest      []byte
	App           string
	Notes, Faults manifest.Faults
}

// LoadOptions say where an image goes, and as what.
type LoadOptions struct {
	HTTP       *http.Client
	Server     string // its URL
	Tenant, As string
	// Progress, if not nil, is told how many bytes are read, where the total is not known, and then how many are sent.
	Progress func(sending bool, bytes, total int64)
}

// Loaded is how a load went.
type Loaded struct {
	Image              string
	Unchanged          bool
	Layers, LayersSent int
	BytesSent          int64
}

// LocalOptions say which local cluster, and with what; what is zero is as it is or as always.
type LocalOptions struct {
	Name     string
	Memory   int64
	Servers  int
	Progress func(LocalEvent)
}

// LocalEvent is one thing that was begun, or done when Took is not 0.
type LocalEvent struct {
	Machine, Text string // Machine is empty for the whole cluster
	Took          time.Duration
}

// Local is a handle of a local cluster.
type Local interface {
	Up(ctx context.Context, machines int) (LocalCluster, error)
	Down(ctx context.Context, images bool) error
	Engine(ctx context.Context) error
	Close() error
}

// LocalCluster is what exists of a local cluster.
type LocalCluster struct {
	Name     string         `json:"name"`
	Server   string         `json:"server"`
	Machines []LocalMachine `json:"machines"`
}

// LocalMachine is one machine in a container.
type LocalMachine struct {
	Name      string     `json:"name"`
	Container string     `json:"container"`
	Address   netip.Addr `json:"address"`
	State     string     `json:"state"`
}
