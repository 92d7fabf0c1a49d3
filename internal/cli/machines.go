package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/cli/words"
)

func (a *app) machinesCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "machines",
		Aliases: []string{"machine"},
		Short:   "List, show, label, drain and remove machines",
		Example: `  argosy machines
  argosy machines show m2
  argosy machines label m2 rack=r1 disk=ssd
  argosy machines drain m2 --wait`,
		Args: cobra.NoArgs,
		RunE: a.listMachines,
	}
	cmd.AddCommand(
		&cobra.Command{Use: "list", Aliases: []string{"ls"}, Short: "List machines", Args: cobra.NoArgs, RunE: a.listMachines,
			Example: "  argosy machines list\n  argosy machines list -o name"},
		a.machineShowCmd(), a.machineLabelCmd(), a.machineDrainCmd(), a.machineActivateCmd(), a.machineLostCmd(), a.machineRemoveCmd(),
	)
	return cmd
}

func (a *app) listMachines(cmd *cobra.Command, _ []string) error {
	c, err := a.connect()
	if err != nil {
		return err
	}
	res, err := c.machines().ListMachines(cmd.Context(), connect.NewRequest(&argosyv1.ListMachinesRequest{}))
	if err != nil {
		return err
	}
	t := &table{header: []string{"MACHINE", "CONDITION", "AGE", "REPLICAS", "CPU", "MEMORY", "ADDRESS", "SUBNET", "LABELS", "MESSAGE"},
		wide: []string{"ID", "IN USE", "AGENT", "ENGINE", "JOINED"}}
	var names []string
	for _, m := range res.Msg.Machines {
		names = append(names, m.Machine.Name)
		t.add(text(m.Machine.Name), standing(m), text(age(m.Age)), text(fmt.Sprint(m.Replicas)),
			text(cpus(m.ReservedCpuMilli)+"/"+cpus(usableCPU(m.Machine))), text(size(m.ReservedMemory)+"/"+size(usableMemory(m.Machine))),
			text(m.Machine.Address), text(m.Machine.Subnet), text(labelList(m.Machine.Labels)), text(oneLine(m.Message)))
		use := "-"
		if u := m.Usage; u != nil {
			use = cpus(u.CpuMilli) + ", " + size(u.Memory)
		}
		t.also(text(shortID(m.Machine.Id)), text(use), text(orDash(m.Machine.AgentVersion)), text(orDash(m.Machine.EngineVersion)),
			text(since(m.Machine.JoinedAt, time.Now())+" ago"))
	}
	if len(names) == 0 && a.output == "table" {
		a.note("No machines yet. Make a token with 'argosy token create' and run 'argosy join TOKEN' on a machine.")
		return nil
	}
	return a.show(res.Msg, t, names)
}

func usableCPU(m *argosyv1.Machine) int64 {
	return m.GetCapacity().GetCpuMilli() - m.GetCapacity().GetReserveCpuMilli()
}

func usableMemory(m *argosyv1.Machine) int64 {
	return m.GetCapacity().GetMemory() - m.GetCapacity().GetReserveMemory()
}

// standing is a machine's condition, and how far a drain is.
func standing(m *argosyv1.MachineStatus) cell {
	c := conditionCell(m.GetCondition())
	switch {
	case m.GetMachine().GetDrain() == nil || m.GetCondition() != argosyv1.MachineCondition_MACHINE_CONDITION_DRAINING:
	case m.GetDrained():
		c.text = "drained"
	default:
		c.text = fmt.Sprintf("%s, %d left", c.text, len(m.GetRemaining()))
	}
	return c
}

func conditionCell(c argosyv1.MachineCondition) cell {
	name, style := words.Condition(c)
	return cell{name, style}
}

func labelList(labels map[string]string) string {
	var parts []string
	for _, k := range slices.Sorted(maps.Keys(labels)) {
		parts = append(parts, k+"="+labels[k])
	}
	return strings.Join(parts, ",")
}

func (a *app) machineShowCmd() *cobra.Command {
	return &cobra.Command{
		Use: "show MACHINE", Short: "Show one machine and what runs on it",
		Example: "  argosy machines show m2", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeMachines,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.machines().ListMachines(cmd.Context(), connect.NewRequest(&argosyv1.ListMachinesRequest{Machine: args[0]}))
			if err != nil {
				return err
			}
			if len(res.Msg.Machines) != 1 {
				return fmt.Errorf("no machine is called %q; see 'argosy machines'", args[0])
			}
			m := res.Msg.Machines[0]
			if a.output != "table" {
				return a.show(m, nil, []string{m.Machine.Name})
			}
			a.describeMachine(m)
			replicas, err := c.apps().ListReplicas(cmd.Context(), connect.NewRequest(&argosyv1.ListReplicasRequest{Tenant: a.tenant, AllTenants: a.tenant == "", Machine: args[0]}))
			if err != nil {
				return err
			}
			if len(replicas.Msg.Replicas) == 0 {
				return nil
			}
			fmt.Fprintln(a.sys.Out)
			return a.showReplicas(replicas.Msg, false, a.tenant == "")
		},
	}
}

// guardText says how the guard of a machine's leases is, empty for a machine that has said nothing of it.
func guardText(g *argosyv1.Guard) string {
	switch {
	case g == nil:
		return ""
	case g.Leaving:
		return "gives everything back, and takes nothing: the machine is about to be shut down"
	case g.Trouble != "":
		return oneLine(g.Trouble)
	case len(g.Key) == 0:
		return "none answers"
	case g.Watchdog == "":
		return "keeps leases; nothing resets the machine should it fail"
	}
	return fmt.Sprintf("keeps leases; %s resets the machine should it fail", oneLine(g.Watchdog))
}

func (a *app) describeMachine(m *argosyv1.MachineStatus) {
	r, out := m.Machine, a.sys.Out
	line := func(name, format string, args ...any) {
		fmt.Fprintf(out, "%-11s %s\n", name, fmt.Sprintf(format, args...))
	}
	line("Name", "%s", r.Name)
	line("Id", "%s", r.Id)
	line("Condition", "%s, last heard %s ago", standing(m).text, age(m.Age))
	if m.Message != "" {
		line("", "%s", m.Message)
	}
	if d := r.Drain; d != nil {
		text := fmt.Sprintf("since %s by %s", d.GetSince().AsTime().Local().Format(time.DateTime), d.By)
		if d.Reason != "" {
			text += ": " + oneLine(d.Reason)
		}
		line("Drain", "%s", text)
		if d.Deadline != nil {
			line("", "until %s", d.Deadline.AsTime().Local().Format(time.DateTime))
		}
		for _, l := range remainingLines(m, mostRemaining) {
			line("", "%s", l)
		}
	}
	line("Joined", "%s ago", since(r.JoinedAt, time.Now()))
	line("Address", "%s, subnet %s", r.Address, r.Subnet)
	line("Cpu", "%s of %s reserved (%s kept for the machine)", cpus(m.ReservedCpuMilli), cpus(usableCPU(r)), cpus(r.GetCapacity().GetReserveCpuMilli()))
	line("Memory", "%s of %s reserved (%s kept for the machine)", size(m.ReservedMemory), size(usableMemory(r)), size(r.GetCapacity().GetReserveMemory()))
	if u := m.Usage; u != nil {
		line("In use", "cpu %s, memory %s, disk %s of %s", cpus(u.CpuMilli), size(u.Memory), size(u.DiskUsed), size(u.DiskTotal))
	}
	line("Labels", "%s", orDash(labelList(r.Labels)))
	if text := guardText(m.Guard); text != "" {
		line("Guard", "%s", text)
	}
	for i, l := range strayLines(m, mostRemaining) {
		name := ""
		if i == 0 {
			name = "Left over"
		}
		line(name, "%s", l)
	}
	line("Versions", "agent %s, Docker Engine %s", orDash(r.AgentVersion), orDash(r.EngineVersion))
}

// strayLines says which volumes on a machine nothing in the cluster names, and what to do about them.
func strayLines(m *argosyv1.MachineStatus, most int) []string {
	var out []string
	for i, v := range m.GetStrays() {
		if i == most {
			out = append(out, fmt.Sprintf("and %s more", plural(uint32(len(m.GetStrays())-most), "volume")))
			break
		}
		out = append(out, fmt.Sprintf("%s: volume %s of %s, and nothing in the cluster has it", oneLine(v.EngineName), oneLine(v.Name), replicaName(v.Replica)))
	}
	if len(out) > 0 {
		out = append(out, fmt.Sprintf("look at what is in it, and remove it on %s with: docker volume rm NAME", m.GetMachine().GetName()))
	}
	return out
}

func (a *app) machineLabelCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "label MACHINE KEY=VALUE... [KEY-...]",
		Short: "Set labels, or remove them with a trailing minus",
		Example: `  argosy machines label m2 rack=r1 disk=ssd
  argosy machines label m2 disk-`,
		Args: cobra.MinimumNArgs(2), ValidArgsFunction: a.completeLabels,
		RunE: func(cmd *cobra.Command, args []string) error {
			req := &argosyv1.LabelMachineRequest{Machine: args[0], Set: map[string]string{}, IdempotencyKey: requestKey()}
			for _, arg := range args[1:] {
				if k, v, ok := strings.Cut(arg, "="); ok {
					req.Set[k] = v
				} else if k, ok := strings.CutSuffix(arg, "-"); ok && k != "" {
					req.Remove = append(req.Remove, k)
				} else {
					return usageError("%q is not a label: write key=value, or key- to remove it", arg)
				}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.machines().LabelMachine(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			return a.answer(res.Msg, []string{res.Msg.Machine.Name}, "%s: %s", res.Msg.Machine.Name, orDash(labelList(res.Msg.Machine.Labels)))
		},
	}
}

func (a *app) machineRemoveCmd() *cobra.Command {
	var force, yes bool
	cmd := &cobra.Command{
		Use:   "remove MACHINE",
		Short: "Forget a machine that is gone for good",
		Long: `Forget a machine that is gone for good. Its certificate is no longer accepted and its replicas are placed elsewhere.

Of a machine that still runs, drain it first, or run 'argosy leave' on it. One that still answers and is not drained, or that
holds replicas' data, is only removed with --force. The data is then given up: the replicas begin with empty volumes
elsewhere. On the machine's disk it stays, in Docker volumes that Argosy no longer knows of.`,
		Example: `  argosy machines remove m2
  argosy machines remove m2 --force`,
		Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeMachines,
		RunE: func(cmd *cobra.Command, args []string) error {
			if force && !yes {
				if err := a.confirm(fmt.Sprintf("Remove %s and give up the data it holds?", args[0])); err != nil {
					return err
				}
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.machines().RemoveMachine(cmd.Context(), connect.NewRequest(&argosyv1.RemoveMachineRequest{
				Machine: args[0], Force: force, IdempotencyKey: requestKey()}))
			if err != nil {
				return err
			}
			return a.answer(res.Msg, args, "%s is no longer part of the cluster", args[0])
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also when it still answers or holds data")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
