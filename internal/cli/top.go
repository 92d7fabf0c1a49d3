package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/cli/live"
	"github.com/argosy-cluster/argosy/internal/cli/words"
)

func (a *app) topCmd() *cobra.Command {
	var all, machines, once bool
	var machine, sort, filter string
	cmd := &cobra.Command{
		Use:   "top [APP[/STACK[.NUMBER]]]",
		Short: "Watch machines and replicas and what they use, and jump to logs and shells",
		Long: `Watch machines and replicas with the cpu, memory, network and disk that they use.

Keys:

    ` + strings.ReplaceAll(live.Help, "\n", "\n    ") + `

On a pipe, or with --once, it prints one sample as a table and ends.`,
		Example: `  argosy top
  argosy top shop/lamp --sort cpu
  argosy top --machines
  argosy top --filter 'state:failed machine:m2'
  argosy top --once -o json`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := a.replicaRequest(args, machine, all)
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			if once || a.output != "table" || !a.interactive() {
				return a.topOnce(cmd.Context(), c, req, machines)
			}
			m := live.New(live.Options{Title: "argosy top", Target: first(args), Tenants: all, Color: a.colorful(a.sys.Out),
				Machines: machines, Filter: filter, Sort: sort})
			return live.Run(cmd.Context(), &liveSource{a: a, c: c, req: req}, a.sys.In, a.sys.Out, a.environment(), m)
		},
	}
	flags := cmd.Flags()
	flags.BoolVarP(&all, "all-tenants", "A", false, "show the replicas of all tenants")
	flags.BoolVar(&machines, "machines", false, "begin with the machines")
	flags.BoolVar(&once, "once", false, "print one sample and end")
	flags.StringVar(&machine, "machine", "", "only replicas on this machine")
	flags.StringVar(&sort, "sort", "", "column to sort by, for example cpu")
	flags.StringVar(&filter, "filter", "", "show only what matches, as after /")
	_ = cmd.RegisterFlagCompletionFunc("machine", a.completeMachineFlag)
	_ = cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions([]string{"replica", "state", "machine", "cpu", "mem", "rx", "tx", "rd", "wr", "for"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func first(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// interactive reports whether a person sits at a terminal that can show a screen.
func (a *app) interactive() bool {
	return isTerminal(a.sys.Out) && isTerminal(a.sys.In) && a.sys.Getenv("TERM") != "dumb"
}

// environment is what a terminal's program is told of it.
func (a *app) environment() []string {
	var env []string
	for _, name := range []string{"TERM", "COLORTERM", "TERM_PROGRAM", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "LANG", "LC_ALL", "LC_CTYPE", "TMUX", "SSH_TTY"} {
		if v, ok := a.sys.LookupEnv(name); ok {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// replicaRequest is which replicas a command's arguments name.
func (a *app) replicaRequest(args []string, machine string, all bool) (*argosyv1.ListReplicasRequest, error) {
	req := &argosyv1.ListReplicasRequest{Tenant: a.tenant, AllTenants: all, Machine: machine}
	if len(args) == 0 {
		return req, nil
	}
	t, err := parseTarget(args[0])
	if err != nil {
		return nil, err
	}
	req.App, req.Stack, req.Number = t.app, t.stack, t.number
	return req, nil
}

// liveSource is a cluster behind a connection.
type liveSource struct {
	a   *app
	c   *connection
	req *argosyv1.ListReplicasRequest
}

func (s *liveSource) Replicas(ctx context.Context, tell func(*argosyv1.WatchReplicasResponse)) error {
	stream, err := s.c.apps().WatchReplicas(ctx, connect.NewRequest(s.req))
	return receive(stream, err, tell)
}

func (s *liveSource) Usage(ctx context.Context, of *argosyv1.ReplicaKey, tell func(*argosyv1.WatchUsageResponse)) error {
	stream, err := s.c.cluster().WatchUsage(ctx, connect.NewRequest(s.usageRequest(of)))
	return receive(stream, err, tell)
}

func (s *liveSource) usageRequest(of *argosyv1.ReplicaKey) *argosyv1.WatchUsageRequest {
	r := &argosyv1.WatchUsageRequest{Tenant: s.req.Tenant, AllTenants: s.req.AllTenants, App: s.req.App, Stack: s.req.Stack,
		Number: s.req.Number, Machine: s.req.Machine}
	if of != nil {
		r = &argosyv1.WatchUsageRequest{Tenant: of.Tenant, App: of.App, Stack: of.Stack, Number: of.Number, Members: true}
	}
	return r
}

// receive tells of each message of a stream until it ends.
func receive[M any](stream *connect.ServerStreamForClient[M], err error, tell func(*M)) error {
	if err != nil {
		return err
	}
	defer stream.Close()
	for stream.Receive() {
		tell(stream.Msg())
	}
	return stream.Err()
}

func (s *liveSource) Machines(ctx context.Context) ([]*argosyv1.MachineStatus, error) {
	res, err := s.c.machines().ListMachines(ctx, connect.NewRequest(&argosyv1.ListMachinesRequest{}))
	if err != nil {
		return nil, err
	}
	return res.Msg.Machines, nil
}

func (s *liveSource) Explain(ctx context.Context, key *argosyv1.ReplicaKey) (string, error) {
	res, err := s.c.apps().Explain(ctx, connect.NewRequest(&argosyv1.ExplainRequest{Key: key}))
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	shown := *s.a
	shown.sys.Out, shown.color = &b, "never"
	err = shown.explain(res.Msg, &explaining{}, s.a.machineNames(ctx, s.c))
	return b.String(), err
}

// enterShell is the best shell that a container has.
const enterShell = `if command -v bash >/dev/null 2>&1; then exec bash; else exec sh; fi`

func (s *liveSource) Command(ctx context.Context, what live.Action, key *argosyv1.ReplicaKey, member string) (*exec.Cmd, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("finding this program: %w", err)
	}
	name := replicaName(key)
	if member != "" {
		name += "/" + member
	}
	args := []string{"--tenant", key.Tenant, "--color", s.a.color}
	if s.a.server != "" {
		args = append(args, "--server", s.a.server)
	}
	if what == live.Logs {
		args = append(args, "logs", "-f", name)
	} else {
		args = append(args, "exec", "-it", name, "--", "sh", "-c", enterShell)
	}
	return exec.CommandContext(ctx, self, args...), nil
}

func (s *liveSource) Refused(err error) bool {
	switch connect.CodeOf(err) {
	case connect.CodeInvalidArgument, connect.CodeNotFound, connect.CodePermissionDenied, connect.CodeUnauthenticated, connect.CodeUnimplemented:
		return err != nil
	}
	return false
}

func (s *liveSource) Say(err error) string {
	if err == nil {
		return ""
	}
	what, _, _ := strings.Cut(s.a.explainError(err), "\n") // what to do next is to wait: it is tried again
	return what
}

// onceWithin is how long one sample may take.
const onceWithin = 10 * time.Second

// topOnce prints what is used now.
func (a *app) topOnce(ctx context.Context, c *connection, req *argosyv1.ListReplicasRequest, machines bool) error {
	ctx, cancel := context.WithTimeout(ctx, onceWithin)
	defer cancel()
	s := &liveSource{a: a, c: c, req: req}
	stream, err := c.cluster().WatchUsage(ctx, connect.NewRequest(s.usageRequest(nil)))
	if err != nil {
		return err
	}
	defer stream.Close()
	if !stream.Receive() {
		return stream.Err()
	}
	usage := stream.Msg()
	if machines {
		return a.machinesOnce(ctx, s, usage)
	}
	res, err := c.apps().ListReplicas(ctx, connect.NewRequest(req))
	if err != nil {
		return err
	}
	used := map[string]*argosyv1.ReplicaUsage{}
	for _, u := range usage.Replicas {
		used[u.Key.GetTenant()+":"+replicaName(u.Key)] = u
	}
	t := &table{header: []string{"REPLICA", "STATE", "MACHINE", "CPU", "MEM", "RX/s", "TX/s", "RD/s", "WR/s"}}
	var names []string
	for _, r := range res.Msg.Replicas {
		k := r.GetReplica().GetKey()
		name := replicaName(k)
		names = append(names, name)
		if req.AllTenants {
			name = k.GetTenant() + ":" + name
		}
		u := used[k.GetTenant()+":"+replicaName(k)]
		row := []cell{text(name), stateCell(r), text(orDash(r.MachineName))}
		if u == nil {
			row = append(row, text("-"), text("-"))
		} else {
			row = append(row, text(words.CPUs(u.CpuMilli)), text(words.Bytes(u.Memory)))
		}
		t.add(append(row, rates(u.GetRate())...)...)
	}
	if len(names) == 0 && a.output == "table" {
		a.note("Nothing is wanted here. Apply a manifest: argosy apply FILE")
		return nil
	}
	return a.show(usage, t, names)
}

func rates(r *argosyv1.Traffic) []cell {
	if r == nil {
		return []cell{text("-"), text("-"), text("-"), text("-")}
	}
	return []cell{text(words.Bytes(r.NetworkReceived)), text(words.Bytes(r.NetworkSent)), text(words.Bytes(r.DiskRead)), text(words.Bytes(r.DiskWritten))}
}

func (a *app) machinesOnce(ctx context.Context, s *liveSource, usage *argosyv1.WatchUsageResponse) error {
	list, err := s.Machines(ctx)
	if err != nil {
		return err
	}
	used := map[string]*argosyv1.MachineReport{}
	for _, m := range usage.Machines {
		used[m.Id] = m
	}
	t := &table{header: []string{"MACHINE", "CONDITION", "REPLICAS", "CPU", "MEM", "DISK", "RX/s", "TX/s", "RD/s", "WR/s", "SEEN"}}
	var names []string
	for _, m := range list {
		names = append(names, m.Machine.Name)
		row := []cell{text(m.Machine.Name), conditionCell(m.Condition), text(fmt.Sprint(m.Replicas))}
		u := used[m.Machine.Id].GetUsage()
		if u == nil {
			row = append(row, text("-"), text("-"), text("-"))
		} else {
			row = append(row, text(words.CPUs(u.CpuMilli)+"/"+words.CPUs(m.Machine.GetCapacity().GetCpuMilli())),
				text(words.Bytes(u.Memory)+"/"+words.Bytes(m.Machine.GetCapacity().GetMemory())), text(words.Bytes(u.DiskUsed)+"/"+words.Bytes(u.DiskTotal)))
		}
		t.add(append(append(row, rates(u.GetRate())...), text(age(m.Age)))...)
	}
	return a.show(usage, t, names)
}
