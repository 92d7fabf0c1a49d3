package cli

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/defaults"
	"github.com/argosy-cluster/argosy/internal/join"
)

func (a *app) serversCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "servers",
		Short: "List and remove servers of the control plane",
		Long: `List and remove servers of the control plane: which leads, which have a vote, how each is, and how far it is behind.

Three servers survive the loss of one, five that of two. One joins with 'argosy token create --for-server' and 'argosy join --server'.`,
		Example: `  argosy servers
  argosy servers -o name
  argosy servers remove s3`,
		Args: cobra.NoArgs,
		RunE: a.listServers,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List servers", Args: cobra.NoArgs, RunE: a.listServers,
			Example: "  argosy servers list\n  argosy servers list -o json"},
		a.serverRemoveCmd(),
	)
	return cmd
}

func (a *app) listServers(cmd *cobra.Command, _ []string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	res, err := c.servers().ListServers(cmd.Context(), connect.NewRequest(&argosyv1.ListServersRequest{}))
	if err != nil {
		return err
	}
	t := &table{header: []string{"SERVER", "ROLE", "HEALTH", "LAG", "MACHINES", "STORE", "VERSION", "WITNESS", "ADDRESS"}, wide: []string{"IN USE", "QUOTA"}}
	var names, notes []string
	leads, external := false, false
	for _, s := range res.Msg.Servers {
		names = append(names, s.Name)
		leads = leads || s.Leader
		if s.Message != "" {
			notes = append(notes, s.Name+": "+oneLine(s.Message))
		}
		lag, machines, store, version := "-", "-", "-", "-"
		if h := s.Health; h != nil {
			lag, machines, store, version = fmt.Sprint(s.Lag), fmt.Sprint(h.Machines), size(h.StoreSize), h.Version
		}
		warn := storeWarning(s.Health)
		if s.Role == argosyv1.ServerRole_SERVER_ROLE_CLIENT {
			external, lag, warn = true, "-", ""
			if s.Leader {
				warn = etcdWarning(s.Health)
			}
		}
		if warn != "" {
			notes = append(notes, s.Name+": "+warn)
		}
		t.add(text(s.Name), text(serverRole(s)), healthCell(s), text(lag), text(machines), text(store), text(version), witnessCell(s, res.Msg),
			text(strings.Join(s.Addresses, ",")))
		if w := witnessNote(s, res.Msg); w != "" {
			notes = append(notes, s.Name+": "+oneLine(w))
		}
		if h := s.Health; h != nil {
			t.also(text(size(h.StoreInUse)), text(size(h.StoreQuota)))
		}
	}
	if err := a.show(res.Msg, t, names); err != nil || a.output != "table" {
		return err
	}
	if res.Msg.LeaseMessage != "" && len(res.Msg.LeaseMembers) > 0 {
		notes = append(notes, "Leases: "+oneLine(res.Msg.LeaseMessage)+".")
	}
	for _, n := range append(notes, upgradeNotes(res.Msg)...) {
		a.note("%s", n)
	}
	switch {
	case !leads && external:
		a.note("No server leads now: what runs goes on, and nothing can be changed until etcd answers.")
	case !leads:
		a.note("No server leads now: what runs goes on, and nothing can be changed until a majority is back.")
	case res.Msg.Spare == 0 && external:
		a.note("No server can be spared: the loss of one more ends the control plane until it is back. Two survive the loss of one, as long as etcd does.")
	case res.Msg.Spare == 0:
		a.note("No server can be spared: the loss of one more ends the control plane until it is back. Three servers survive the loss of one.")
	default:
		a.note("The loss of %d more is survived.", res.Msg.Spare)
	}
	return nil
}

// decides says whether a server's witness decides about leases now.
func decides(s *argosyv1.ServerStatus, r *argosyv1.ListServersResponse) bool {
	return slices.Contains(r.LeaseMembers, s.Id) || slices.Contains(r.LeaseNext, s.Id)
}

// witnessCell says how the witness beside a server is.
func witnessCell(s *argosyv1.ServerStatus, r *argosyv1.ListServersResponse) cell {
	w := s.GetHealth().GetWitness()
	switch {
	case w == nil && decides(s, r):
		return cell{"away", red}
	case w == nil:
		return text("-")
	case w.Trouble != "":
		return cell{"in trouble", red}
	case w.Silent:
		return cell{"silent", yellow}
	case !decides(s, r):
		return cell{"joining", yellow}
	}
	return cell{"votes", green}
}

// witnessNote is what there is to say of a witness that should vote and does not.
func witnessNote(s *argosyv1.ServerStatus, r *argosyv1.ListServersResponse) string {
	h := s.GetHealth()
	switch w := h.GetWitness(); {
	case h == nil:
		return ""
	case w == nil && decides(s, r):
		return h.WitnessMessage
	case w.GetTrouble() != "":
		return "its witness cannot work: " + w.Trouble
	case w.GetSilent() && w.GetEpoch() != nil:
		return "its witness is new and has no vote on leases yet, for " + claims.Tenths(w.Left.AsDuration())
	}
	return ""
}

// upgradeNotes say that an upgrade is under way, and what is left of it.
func upgradeNotes(r *argosyv1.ListServersResponse) (out []string) {
	versions := map[string][]string{}
	for _, s := range r.Servers {
		if v := s.GetHealth().GetVersion(); v != "" {
			versions[v] = append(versions[v], s.Name)
		}
	}
	if len(versions) > 1 {
		var each []string
		for _, v := range slices.Sorted(maps.Keys(versions)) {
			each = append(each, strings.Join(versions[v], ", ")+": "+oneLine(v))
		}
		out = append(out, "Servers are of different versions ("+strings.Join(each, "; ")+"), which work together while they are upgraded.")
	}
	if r.LayoutMessage != "" {
		out = append(out, oneLine(upper(r.LayoutMessage))+".")
	}
	return out
}

// upper begins a sentence.
func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// nearlyFull is the part of a store's quota, in percent, from which people are told.
const nearlyFull = 80

func storePercent(h *argosyv1.ServerHealth) int64 {
	if h.GetStoreQuota() <= 0 {
		return 0
	}
	return int64(100 * float64(h.StoreSize) / float64(h.StoreQuota))
}

func storeWarning(h *argosyv1.ServerHealth) string {
	switch p := storePercent(h); {
	case h.GetStoreFull():
		return fmt.Sprintf("the store is full and takes no changes; what runs goes on. Servers make room by themselves; what is needed is %s of %s", size(h.StoreInUse), size(h.StoreQuota))
	case p >= nearlyFull:
		return fmt.Sprintf("its store takes %d %% of its quota of %s, and %s are needed: if that grows, start the servers with a larger --store-quota", p, size(h.StoreQuota), size(h.StoreInUse))
	}
	return ""
}

// etcdWarning is storeWarning's for an etcd that is not the servers'.
func etcdWarning(h *argosyv1.ServerHealth) string {
	switch p := storePercent(h); {
	case h.GetStoreFull():
		return "etcd is full and takes no changes; what runs goes on. Make room there ('etcdctl defrag', or a larger --quota-backend-bytes) and take back the alarm ('etcdctl alarm disarm')"
	case p >= nearlyFull:
		return fmt.Sprintf("etcd's file takes %d %% of its quota of %s, and %s are needed: have it defragmented, or start it with a larger --quota-backend-bytes", p, size(h.StoreQuota), size(h.StoreInUse))
	}
	return ""
}

func serverRole(s *argosyv1.ServerStatus) string {
	if s.Leader {
		return "leader"
	}
	return strings.ToLower(strings.TrimPrefix(s.Role.String(), "SERVER_ROLE_"))
}

func healthCell(s *argosyv1.ServerStatus) cell {
	switch {
	case s.Healthy && s.Health.GetStoreFull():
		return cell{"full", red}
	case s.Healthy && s.Message == "" && storePercent(s.Health) >= nearlyFull:
		return cell{"nearly full", yellow}
	case s.Healthy && s.Message == "":
		return cell{"healthy", green}
	case s.Healthy, s.Role == argosyv1.ServerRole_SERVER_ROLE_EXPECTED:
		return cell{"starting", yellow}
	case s.Silent != nil:
		return cell{"away for " + span(s.Silent.AsDuration()), red}
	}
	return cell{"away", red}
}

// removeQuietly is how long a server's removal takes where it waits for nothing.
const removeQuietly = 2 * time.Second

func (a *app) serverRemoveCmd() *cobra.Command {
	var force, yes bool
	cmd := &cobra.Command{
		Use:   "remove SERVER",
		Short: "Forget a server that is gone for good",
		Long: `Forget a server that is gone for good. It has no vote from then on and is not let in again; what it knew, the others know.

One that still answers is only removed with --force. Where the others could not decide about leases of shared volumes without
it, as with the second of two, they are made to first: that takes half a minute or so, in which it and its witness have to run.

To put a new one in its place at once, 'argosy join --server --replace SERVER' on the new host does both. Where so many are gone
that the others are no majority, see 'argosy server recover --help'.`,
		Example: "  argosy servers remove s3",
		Args:    cobra.ExactArgs(1), ValidArgsFunction: a.completeServers,
		RunE: func(cmd *cobra.Command, args []string) error {
			if force && !yes {
				if err := a.confirm(fmt.Sprintf("Remove server %s even if it still answers?", args[0])); err != nil {
					return err
				}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			slow := time.AfterFunc(removeQuietly, func() {
				a.note("the others are made to decide about leases without %s first, which takes half a minute or so", args[0])
			})
			defer slow.Stop()
			res, err := c.servers().RemoveServer(cmd.Context(), connect.NewRequest(&argosyv1.RemoveServerRequest{
				Server: args[0], Force: force, IdempotencyKey: requestKey()}))
			if err != nil {
				return err
			}
			return a.answer(res.Msg, args, "server %s is no longer part of the cluster", args[0])
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also when it still answers")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

func (a *app) serverRecoverCmd() *cobra.Command {
	var dir, from string
	var yes bool
	var keys keyFlags
	var to StoreOptions
	cmd := &cobra.Command{
		Use:     "recover",
		Aliases: []string{"restore"},
		Short:   "Bring the cluster back with one server: the one that is left, or from a backup",
		Long: `Bring the cluster back with one server, after a majority is lost for good.

Run it on the server that is left, or on a host where a copy of a server's data directory was put back, while no server runs
there ('systemctl stop argosy-server'). It becomes the only one, with everything that it knows; what only the lost ones knew is
lost. Where no server is left, --from makes one out of a backup ('argosy backup'), in an empty data directory, with what the
cluster was when that was made. The file is read to its end, and is right, before anything is kept of it.

Start the server then as ever, where machines expect one of the old ones, and have others join it. Machines go on by
themselves: they touch no container but what the recovered cluster does not know, or has at another revision. No volume is
removed.

With --store-endpoints and what goes with it, the store of the backup goes into an external etcd, below a prefix where it has
nothing; start the server with the same flags then. A cluster moves from one kind of store to the other in this way.

The other servers are given up and must never run again as they are: empty their data directories before they join anew.
Should one run all the same, machines take nothing from it, since it is of an earlier generation.`,
		Example: `  argosy server recover
  argosy server recover --data-dir /srv/argosy --yes
  argosy server recover --from cluster.backup --key backup.key
  argosy server recover --from 's3://safe/FILE?endpoint=https://s3.example.com' --credentials-file s3.txt --key backup.key
  ssh store cat cluster.backup | argosy server recover --from - --passphrase-file pass --yes`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if from == "" && keys.given() {
				return usageError("--key and --passphrase-file open a backup: name it with --from")
			}
			if from == "" && len(to.Endpoints) > 0 {
				return usageError("--store-endpoints says where a backup goes: name it with --from")
			}
			rooms, err := a.rooms()
			if err != nil {
				return err
			}
			if !yes {
				if err := a.confirm("Make the server in " + dir + " the only one, and give up all others for good?"); err != nil {
					return err
				}
			}
			var r *Recovered
			if from != "" {
				r, err = a.restore(cmd.Context(), rooms, dir, from, keys, to)
			} else {
				r, err = rooms.Recover(cmd.Context(), dir, quiet())
			}
			if err != nil {
				return err
			}
			if r.Kept > 0 {
				a.note("%s about to be removed with volumes: the volumes stay. Delete the app again with --volumes to remove them.", plural(uint32(r.Kept), "replica"))
			}
			if r.Backup != nil {
				return a.told(r, []string{r.Cluster}, "cluster %s is restored, as it was %s ago, in generation %d; given up: %s\nStart its server: argosy server",
					r.Cluster, span(time.Since(r.Backup.Made)), r.Generation, orNone(r.Given))
			}
			return a.told(r, []string{r.Server}, "server %s is the only one of cluster %s, generation %d, at revision %d; given up: %s\nStart it: argosy server",
				r.Server, r.Cluster, r.Generation, r.Revision, orNone(r.Given))
		},
	}
	cmd.Flags().StringVar(&dir, "data-dir", defaults.ServerDir, "the server's data directory")
	cmd.Flags().StringVar(&from, "from", "", "make it out of a backup: a file, s3://BUCKET/PREFIX/FILE?endpoint=https://HOST, or '-' for standard input")
	keys.add(cmd)
	to.add(cmd.Flags())
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}

// restore makes a server out of a backup.
func (a *app) restore(ctx context.Context, rooms *Rooms, dir, from string, keys keyFlags, to StoreOptions) (*Recovered, error) {
	in, total, err := a.openBackup(ctx, from, keys)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	key, err := a.keyFor(keys)
	if err != nil {
		return nil, err
	}
	show, end := a.progress("reading " + spoken(from))
	defer end()
	r, err := rooms.Restore(ctx, dir, &metered{in: in, told: func(n int64) { show("", n, total) }}, key, to, quiet())
	end()
	return r, err
}

func orNone(names []string) string {
	if len(names) == 0 {
		return "no other server"
	}
	return strings.Join(names, ", ")
}

// completeServers offers the names of servers.
func (a *app) completeServers(cmd *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
	return a.live(cobra.ShellCompDirectiveNoFileComp, func(ctx context.Context, c *connection) (names []string, err error) {
		res, err := c.servers().ListServers(ctx, connect.NewRequest(&argosyv1.ListServersRequest{}))
		if err != nil {
			return nil, err
		}
		for _, s := range res.Msg.Servers {
			names = append(names, s.Name)
		}
		return names, nil
	})(cmd, args, word)
}

// joinServer makes this host a server.
func (a *app) joinServer(ctx context.Context, args []string, file, name, replace, dir string) error {
	text, err := a.tokenText(args, file)
	if err != nil {
		return err
	}
	token, err := auth.ParseToken(text, argosyv1.TokenPurpose_TOKEN_PURPOSE_SERVER)
	if err != nil {
		return err
	}
	if name == "" {
		if name, err = join.DefaultName(); err != nil {
			return err
		}
	}
	m, err := join.Server(ctx, token, join.ServerFacts{Name: name, Replace: replace}, dir)
	if err != nil {
		return err
	}
	return a.told(map[string]string{"server": m.Name, "cluster": m.Cluster}, []string{m.Name},
		"this host is server %s of cluster %s\nRun it: argosy server", m.Name, m.Cluster)
}

const (
	// retryTime is how long a command tries again what a server that went away did not answer; a server waits for a leader
	// by itself, so what took longer has been tried enough.
	retryTime  = 4 * time.Second
	retryPause = 200 * time.Millisecond
)

// retrying asks again when a server went away before it answered, where that does no harm: by the convention of the
// protocol, what changes something takes an idempotency key. A server that cannot be reached at all is not waited for.
func retrying() connect.Interceptor {
	return connect.UnaryInterceptorFunc(func(next connect.UnaryFunc) connect.UnaryFunc {
		return func(ctx context.Context, req connect.AnyRequest) (connect.AnyResponse, error) {
			begin := time.Now()
			for {
				res, err := next(ctx, req)
				if connect.CodeOf(err) != connect.CodeUnavailable || isDial(err) || time.Since(begin) > retryTime || !repeatable(req.Any()) {
					return res, err
				}
				select {
				case <-ctx.Done():
					return res, err
				case <-time.After(retryPause):
				}
			}
		}
	})
}

func repeatable(req any) bool {
	m, ok := req.(proto.Message)
	if !ok {
		return false
	}
	key := m.ProtoReflect().Descriptor().Fields().ByName("idempotency_key")
	return key == nil || m.ProtoReflect().Get(key).String() != ""
}
