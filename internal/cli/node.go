package cli

import (
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"time"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/defaults"
)

func quiet() *slog.Logger { return slog.New(slog.NewTextHandler(io.Discard, nil)) }

// logFlags say what a daemon logs and how.
type logFlags struct {
	level  string
	format string
}

func (l *logFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&l.level, "log-level", "info", "what to log: debug, info, warn or error")
	cmd.Flags().StringVar(&l.format, "log-format", "text", "how to log: text or json")
}

func (l *logFlags) logger(w io.Writer) (*slog.Logger, error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(l.level)); err != nil {
		return nil, usageError("--log-level %q is not known: use debug, info, warn or error", l.level)
	}
	opts := &slog.HandlerOptions{Level: level}
	switch l.format {
	case "text":
		return slog.New(slog.NewTextHandler(w, opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, opts)), nil
	}
	return nil, usageError("--log-format %q is not known: use text or json", l.format)
}

// leastQuota and mostQuota bound what may be said of the store's size.
const (
	leastQuota = 64 << 20
	mostQuota  = 64 << 30
)

// leastHistory is how long what happened is kept at least.
const leastHistory = 24 * time.Hour

// leastCompaction is how much history an external store keeps at least.
const leastCompaction = time.Minute

// add are the flags for an external etcd.
func (o *StoreOptions) add(flags *pflag.FlagSet) {
	flags.StringSliceVar(&o.Endpoints, "store-endpoints", nil, "keep the cluster in an etcd of your own, https://HOST:PORT of each of its members, instead of one within the servers")
	flags.StringVar(&o.CAFile, "store-ca", "", "file with the authorities of that etcd's certificates (default: the host's)")
	flags.StringVar(&o.CertFile, "store-cert", "", "file with the certificate to show to it")
	flags.StringVar(&o.KeyFile, "store-key", "", "file with that certificate's key")
	flags.StringVar(&o.User, "store-user", "", "its user, where it has authentication")
	flags.StringVar(&o.PasswordFile, "store-password-file", "", "file with that user's password")
	flags.StringVar(&o.Prefix, "store-prefix", "", "what all keys begin with, where several clusters use one etcd (default: none, keys begin with /argosy/)")
}

func (a *app) serverCmd() *cobra.Command {
	var opts ServerOptions
	var logs logFlags
	var quota string
	cmd := &cobra.Command{
		Use:   "server",
		Short: "Run a server of the control plane",
		Long: `Run a server of the control plane.

In an empty data directory it makes a new cluster; where 'argosy join --server' was run before, it enters that one. One TLS port serves machines and logged-in users; the Unix socket serves
root, the server's own user and members of the group argosy. Stopping a server stops nothing that machines run.

Servers keep the cluster in an etcd within them. With --store-endpoints they use one that you run, all of them the same, and
every further server joins with 'argosy join --server' and starts with the same flags. That etcd has to be started with
--max-txn-ops=8192 --max-request-bytes=10485760.`,
		Example: `  argosy server
  argosy server --data-dir /srv/argosy --advertise 192.0.2.10
  argosy server --store-endpoints https://10.0.0.1:2379,https://10.0.0.2:2379 --store-ca ca.pem --store-user argosy --store-password-file pw
  argosy --server unix:///run/argosy/server.sock token create`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if opts.Log, err = logs.logger(a.sys.Err); err != nil {
				return err
			}
			if opts.StoreQuota, err = units.RAMInBytes(quota); err != nil || opts.StoreQuota < leastQuota || opts.StoreQuota > mostQuota {
				return usageError("--store-quota %q is no size from %s to %s, such as 8GiB", quota, size(leastQuota), size(mostQuota))
			}
			if opts.Compaction != 0 && opts.Compaction < leastCompaction {
				return usageError("--store-compaction %s is too short: servers that were away for a moment could not go on where they were; use at least %s, or 0", opts.Compaction, leastCompaction)
			}
			if opts.HistoryAge != 0 && opts.HistoryAge < leastHistory {
				return usageError("--history-age %s is too short: what happened last night would be gone in the morning; use at least %s, or 0", opts.HistoryAge, leastHistory)
			}
			if _, err := claims.Named(opts.LeaseProfile); err != nil {
				return usageError("--lease-profile: %v", err)
			}
			if opts.Liveness < 3*time.Second {
				return usageError("--liveness %s is too short: machines would be lost by a hiccup; use at least 3s", opts.Liveness)
			}
			rooms, err := a.rooms()
			if err != nil {
				return err
			}
			return rooms.Serve(cmd.Context(), opts)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&opts.DataDir, "data-dir", defaults.ServerDir, "directory for everything that the server keeps")
	flags.StringVar(&opts.Listen, "listen", ":"+defaults.ServerPort, "address and port of the one TLS port")
	flags.StringSliceVar(&opts.Advertise, "advertise", nil, "where machines reach this server, host or host:port (default: the first address of this host)")
	flags.StringVar(&opts.PeerListen, "peer-listen", ":"+defaults.PeerPort, "address and port for other servers' stores; nothing listens there while the server is alone")
	flags.StringVar(&opts.PeerAdvertise, "peer-advertise", "", "where other servers' stores reach this one's (default: the host of --advertise and the port of --peer-listen)")
	flags.StringVar(&opts.Socket, "socket", defaults.ServerSocket, "the administrator's Unix socket")
	flags.StringVar(&opts.WitnessSocket, "witness-socket", "", "where the witness beside this server answers it (default: witness.sock beside --socket)")
	flags.StringVar(&opts.WitnessAdvertise, "witness-advertise", "", "where machines' guards reach that witness (default: the host of --advertise and port "+defaults.WitnessPort+")")
	flags.StringVar(&opts.FenceDir, "fence-dir", defaults.FenceDir, "directory of the programs that have a storage refuse a machine, for volumes with a fence")
	flags.StringSliceVar(&opts.FleetAPI, "fleet-api", nil, "serve fleet's HTTP API too: unix:///run/fleet.sock, or host:port for those with a login's certificate")
	flags.StringVar(&opts.Name, "name", "", "the server's name (default: the one it joined with, or the host's)")
	flags.StringVar(&opts.NetworkRange, "network-range", defaults.NetworkRange, "for a new cluster: the range that machines' subnets are cut from")
	flags.DurationVar(&opts.Liveness, "liveness", defaults.Liveness, "for a new cluster: a machine without a sign for this long is lost")
	flags.StringVar(&opts.LeaseProfile, "lease-profile", "default", "for a new cluster: the timing of leases on shared volumes: default, fast or safe")
	opts.Store.add(flags)
	flags.DurationVar(&opts.Compaction, "store-compaction", defaults.Compaction, "with an external etcd: how old the history is that the leader drops there, where etcd does not by itself; 0 for never")
	flags.DurationVar(&opts.HistoryAge, "history-age", defaults.HistoryAge, "how long this server keeps what happened (argosy events); 0 for as long as there is room")
	flags.StringVar(&quota, "store-quota", "4GiB", "how large the store may grow on this server's disk; the same on all servers")
	logs.add(cmd)
	cmd.AddCommand(a.serverRecoverCmd())
	return cmd
}

// parseLabels reads key=value pairs of a flag.
func parseLabels(pairs []string) (map[string]string, error) {
	out := map[string]string{}
	for _, p := range pairs {
		k, v, ok := strings.Cut(p, "=")
		if !ok || k == "" {
			return nil, usageError("--label %q: write key=value", p)
		}
		out[k] = v
	}
	return out, nil
}

// needRoot says plainly what a command cannot do without.
func needRoot(what string) error {
	if os.Geteuid() != 0 {
		return fmt.Errorf("%s needs root: it works with Docker Engine, mounts and the network; run it with sudo", what)
	}
	return nil
}
