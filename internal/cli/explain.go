package cli

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// explaining is the explain command's flags.
type explaining struct {
	machine    string
	files      []string
	at         string
	rules, all bool
	member     string // from the target
}

func (a *app) explainCmd() *cobra.Command {
	var e explaining
	cmd := &cobra.Command{
		Use:   "explain APP[/STACK[.NUMBER[/CONTAINER]]] | --machine MACHINE",
		Short: "Say why something is where it is, or nowhere: for each machine, with numbers",
		Long: `Say why something is where it is, or nowhere.

A replica is explained with how each machine stands for it now; a number that does not exist too: why not, and where it would
go. A stack or an app is explained with all its replicas, those first that are not as they should be. With -f it is explained
as if a manifest were applied, with --at as it was decided at that time.`,
		Example: `  argosy explain shop/lamp.3
  argosy explain shop/lamp.9 --rules
  argosy explain shop
  argosy explain --machine m2
  argosy explain -f lamp.yaml shop/lamp.3
  argosy explain shop/lamp.3 --at 03:12`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: a.completeTargets,
		RunE: func(cmd *cobra.Command, args []string) error {
			req, err := a.explainRequest(&e, args)
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.apps().Explain(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			if a.output != "table" {
				return a.show(res.Msg, nil, []string{cmp.Or(e.machine, strings.Join(args, ""))})
			}
			return a.explain(res.Msg, &e, res.Msg.MachineNames)
		},
	}
	cmd.Flags().StringVar(&e.machine, "machine", "", "explain this machine")
	cmd.Flags().StringSliceVarP(&e.files, "file", "f", nil, "as if this manifest were applied")
	cmd.Flags().StringVar(&e.at, "at", "", "as it was decided at this `time`: 03:12, 2026-11-27T03:12, 2h")
	cmd.Flags().BoolVar(&e.rules, "rules", false, "show every rule for every machine, those that hold too (-o json always has them)")
	cmd.Flags().BoolVar(&e.all, "all", false, "list every machine, however many")
	_ = cmd.RegisterFlagCompletionFunc("machine", a.completeMachines)
	return cmd
}

func (a *app) explainRequest(e *explaining, args []string) (*argosyv1.ExplainRequest, error) {
	req := &argosyv1.ExplainRequest{Machine: e.machine, Key: &argosyv1.ReplicaKey{Tenant: a.tenant}, Rules: e.rules || a.output == "json"}
	if (len(args) == 1) == (e.machine != "") {
		return nil, usageError("name what is to be explained: a replica, a stack, an app, or --machine MACHINE")
	}
	if len(args) == 1 {
		t, err := parseTarget(args[0])
		if err != nil {
			return nil, err
		}
		req.Key, e.member = a.key(t), t.member
	}
	if e.at != "" {
		at, err := instant(e.at, time.Now())
		if err != nil {
			return nil, err
		}
		req.At = timestamppb.New(at)
	}
	if len(e.files) > 0 {
		spec, err := a.parseManifest(e.files)
		if err != nil {
			return nil, err
		}
		req.Spec = spec
	}
	return req, nil
}

// paint puts a cell into a line that is no table.
func (a *app) paint(c cell) string {
	if !a.colorful(a.sys.Out) || c.style == plain {
		return c.text
	}
	return string(c.style) + c.text + "\x1b[0m"
}

func (a *app) explain(res *argosyv1.ExplainResponse, e *explaining, machines map[string]string) error {
	out, now := a.sys.Out, time.Now()
	for i, s := range res.Summary {
		if i > 0 {
			fmt.Fprint(out, "  ")
		}
		fmt.Fprintln(out, s)
	}
	if res.Then != nil {
		a.explainThen(res.Then, machines)
	} else {
		if res.Status != nil {
			a.explainStatus(res.Status, e.member)
		}
		if d := res.Decided; d != nil && len(res.Changes) == 0 {
			when := "Decided " + since(d.At, now) + " ago"
			if d.At == nil {
				when = "It would be"
			}
			fmt.Fprintf(out, "\n%s: %s\n", when, d.Summary)
		}
	}
	shared := map[string]bool{}
	for _, v := range res.VolumeStatus {
		if v.State != argosyv1.VolumeState_VOLUME_STATE_LOCAL {
			shared[v.Name] = true
			fmt.Fprintln(out, explainVolume(v))
		}
	}
	for _, v := range res.Volumes {
		if shared[v.Name] {
			continue
		}
		fmt.Fprintf(out, "  volume %s: on %s since %s ago\n", v.Name, orDash(machineName(machines, v.Machine)), since(v.CreatedAt, now))
	}
	for _, show := range []func() error{
		func() error { return a.explainChanges(res.Changes) },
		func() error { return a.explainReplicas(res.Replicas) },
		func() error { return a.explainMachines(res.Now, e, res.Then != nil) },
		func() error { return a.explainHistory(res.History, machines) },
	} {
		if err := show(); err != nil {
			return err
		}
	}
	return nil
}

// explainStatus says what is wanted and seen of a replica, and of its members or one of them.
func (a *app) explainStatus(s *argosyv1.ReplicaStatus, member string) {
	out, r := a.sys.Out, s.GetReplica()
	where, seen := " on no machine", "never seen"
	if s.MachineName != "" {
		where = " on " + s.MachineName
	}
	if s.Age != nil {
		seen = "seen " + age(s.Age) + " ago"
	}
	fmt.Fprintf(out, "%s is %s%s (incarnation %d, revision %d; %s)\n", a.paint(cell{replicaName(r.GetKey()), bold}),
		a.paint(stateCell(s)), where, r.GetIncarnation(), r.GetRevision(), seen)
	if s.Message != "" {
		fmt.Fprintf(out, "  %s\n", s.Message)
	}
	for _, m := range s.GetObservation().GetMembers() {
		if member != "" && m.Name != member {
			continue
		}
		fmt.Fprintf(out, "  %s: %s", m.Name, a.paint(memberCell(m, s.State)))
		if msg := memberMessage(m); msg != "" {
			fmt.Fprintf(out, " (%s)", oneLine(msg))
		}
		fmt.Fprintln(out)
	}
}

// explainThen says what history knows of a time.
func (a *app) explainThen(t *argosyv1.Then, machines map[string]string) {
	out, at := a.sys.Out, t.At.AsTime().Local().Format(time.DateTime)
	d := t.Decision
	switch {
	case d == nil && t.KnownSince != nil:
		fmt.Fprintf(out, "Nothing was decided by %s that history knows of; it begins at %s.\n", at, t.KnownSince.AsTime().Local().Format(time.DateTime))
		return
	case d == nil:
		fmt.Fprintf(out, "Nothing was decided by %s that history knows of.\n", at)
		return
	case d.Machine == "":
		fmt.Fprintf(out, "At %s %s was on no machine", at, a.paint(cell{replicaName(d.Replica), bold}))
	default:
		fmt.Fprintf(out, "At %s %s was on %s", at, a.paint(cell{replicaName(d.Replica), bold}), machineName(machines, d.Machine))
	}
	fmt.Fprintf(out, " (incarnation %d), decided at %s: %s\n", d.Incarnation, d.At.AsTime().Local().Format(time.DateTime), d.Cause)
	for _, v := range d.Verdicts {
		fmt.Fprintf(out, "  %s: %s\n", v.Machine, v.Detail)
	}
	for _, s := range t.Seen {
		fmt.Fprintf(out, "  by then: %s at %s %s\n", what(s, machines), s.At.AsTime().Local().Format(time.TimeOnly), oneLine(s.Cause))
	}
}

func (a *app) explainChanges(list []*argosyv1.Change) error {
	if len(list) == 0 {
		return nil
	}
	t := &table{header: []string{"CHANGE", "REPLICA", "MACHINE", "WHY"}}
	for _, c := range list {
		t.add(changeMarks[c.Kind], text(replicaName(c.Key)), text(changeMachine(c)), text(oneLine(c.GetReason().GetSummary())))
	}
	return t.write(a.sys.Out, a.colorful(a.sys.Out), false)
}

func (a *app) explainReplicas(list []*argosyv1.ExplainedReplica) error {
	if len(list) == 0 {
		return nil
	}
	fmt.Fprintln(a.sys.Out)
	t := &table{header: []string{"REPLICA", "STATE", "MACHINE", "WHY"}}
	for _, r := range list {
		why := r.GetDecided().GetSummary()
		if r.GetStatus().GetReplica().GetMachine() == "" || r.GetStatus().GetState() != argosyv1.ReplicaState_REPLICA_STATE_READY {
			why = cmp.Or(r.GetStatus().GetMessage(), why)
		}
		t.add(text(replicaName(r.GetStatus().GetReplica().GetKey())), stateCell(r.GetStatus()), text(orDash(r.GetStatus().GetMachineName())), text(oneLine(why)))
	}
	return t.write(a.sys.Out, a.colorful(a.sys.Out), false)
}

// maxMachinesShown is how many machines are listed unless all are asked for.
const maxMachinesShown = 20

func (a *app) explainMachines(list []*argosyv1.MachineVerdict, e *explaining, then bool) error {
	if len(list) == 0 {
		return nil
	}
	shown := list
	if !e.all {
		shown = list[:min(len(list), maxMachinesShown)]
	}
	head := "Each machine as it stands now:"
	if then {
		head = "Each machine as it stands now, not then:"
	}
	fmt.Fprintln(a.sys.Out, "\n"+head)
	t := &table{header: []string{"MACHINE", "FITS", "WHY"}}
	if e.rules {
		t.header = []string{"MACHINE", "FITS", "RULE", "HOLDS", "HAS", "NEEDS"}
	}
	for _, v := range shown {
		if !e.rules {
			t.add(text(v.Machine), yes(v.Fits), text(strings.TrimPrefix(v.Detail, "no: "))) // the column says no already
			continue
		}
		name, fits := text(v.Machine), yes(v.Fits)
		for _, r := range v.Rules {
			t.add(name, fits, text(r.Rule), yes(r.Holds), text(r.Have), text(r.Need))
			name, fits = text(""), text("")
		}
	}
	if err := t.write(a.sys.Out, a.colorful(a.sys.Out), false); err != nil {
		return err
	}
	if rest := list[len(shown):]; len(rest) > 0 {
		fit := 0
		for _, v := range rest {
			if v.Fits {
				fit++
			}
		}
		fmt.Fprintf(a.sys.Out, "and %s, of which %d would do: --all lists them\n", plural(uint32(len(rest)), "more machine"), fit)
	}
	return nil
}

func yes(is bool) cell {
	if is {
		return cell{"yes", green}
	}
	return cell{"no", red}
}

func (a *app) explainHistory(list []*argosyv1.Transition, machines map[string]string) error {
	if len(list) == 0 {
		return nil
	}
	fmt.Fprintln(a.sys.Out, "\nWhat happened:")
	t := &table{header: []string{"WHEN", "WHAT", "CAUSE"}}
	for _, tr := range list {
		t.add(text(since(tr.At, time.Now())+" ago"), text(what(tr, machines)), text(oneLine(tr.Cause)))
	}
	return t.write(a.sys.Out, a.colorful(a.sys.Out), false)
}
