package sim_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/manifest"
	"github.com/argosy-cluster/argosy/internal/sim"
	"github.com/argosy-cluster/argosy/internal/state"
)

// TestTranscripts holds conversations with a cluster: testdata/*.txt, written anew with -rewrite.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		tr := &transcript{w: sim.New(sim.Config{Seed: 1, Calm: true, Diff: manifest.Diff})}
		tr.w.StartLeader()
		tr.w.Run(time.Second)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out := tr.command(t, d)
			for _, b := range tr.w.Broken() {
				t.Errorf("%s: %s", d.Pos, b)
			}
			return out
		})
		tr.w.CheckSettled()
		for _, b := range tr.w.Broken() {
			t.Errorf("%s: at the end: %s", path, b)
		}
	})
}

type transcript struct {
	w   *sim.World
	seq uint64
}

func (tr *transcript) command(t *testing.T, d *datadriven.TestData) string {
	arg := func(i int) string {
		if i >= len(d.CmdArgs) {
			d.Fatalf(t, "%s needs more arguments", d.Cmd)
		}
		return d.CmdArgs[i].String()
	}
	machine := func() *sim.Machine {
		m := tr.w.Machine(arg(0))
		if m == nil {
			d.Fatalf(t, "there is no machine %s", arg(0))
		}
		return m
	}
	switch d.Cmd {
	case "machine":
		return tr.machine(t, d)
	case "apply":
		return tr.wait(func(done func(error)) { tr.w.Apply("default", parse(t, d), done) })
	case "plan":
		return tr.plan(parse(t, d))
	case "run":
		dur, err := time.ParseDuration(arg(0))
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		tr.w.Run(dur)
		return ""
	case "crash":
		tr.w.Crash(machine())
	case "lie":
		tr.w.Lie(machine())
	case "boot":
		tr.w.Boot(machine())
	case "isolate":
		tr.w.Isolate(machine(), true)
	case "reconnect":
		tr.w.Isolate(machine(), false)
	case "restart-agent":
		tr.w.RestartAgent(machine())
	case "restart-leader":
		tr.w.KillLeader()
		tr.w.StartLeader()
	case "label":
		labels := map[string]string{}
		for _, a := range d.CmdArgs[1:] {
			k, v, _ := strings.Cut(a.String(), "=")
			labels[k] = v
		}
		return tr.wait(func(done func(error)) { tr.w.Label(machine(), labels, done) })
	case "drain":
		var deadline time.Duration
		for _, a := range d.CmdArgs[1:] {
			if a.Key == "deadline" {
				deadline, _ = time.ParseDuration(a.Vals[0])
			}
		}
		return tr.wait(func(done func(error)) { tr.w.Drain(machine(), deadline, d.HasArg("stop"), d.HasArg("stop-data"), done) })
	case "activate":
		return tr.wait(func(done func(error)) { tr.w.Activate(machine(), done) })
	case "guard":
		tr.w.Guard(claims.Default())
	case "cut-guard":
		dur, err := time.ParseDuration(arg(1))
		if err != nil || !tr.w.Inject(sim.CutGuard, machine(), dur) {
			d.Fatalf(t, "it cannot be cut off: %v", err)
		}
	case "leave":
		machine().Leave(time.Minute)
	case "witnesses":
		return tr.w.Tables()
	case "declare-lost":
		return tr.wait(func(done func(error)) { tr.w.DeclareLost(machine(), done) })
	case "remove-machine":
		return tr.wait(func(done func(error)) { tr.w.RemoveMachine(machine(), done) })
	case "restart":
		k := key(t, d, arg(0))
		return tr.wait(func(done func(error)) { tr.w.Restart(k.StackKey(), k.Number, done) })
	case "delete":
		return tr.wait(func(done func(error)) {
			tr.w.Delete(state.AppKey{Tenant: "default", App: arg(0)}, d.HasArg("volumes"), done)
		})
	case "ps":
		return tr.ps()
	case "machines":
		return tr.machines()
	case "containers":
		return strings.Join(tr.w.Containers(), "\n") + "\n"
	case "images":
		return strings.Join(machine().Images(), "\n") + "\n"
	case "explain":
		return tr.explain(key(t, d, arg(0)))
	case "events":
		return tr.events(t, d)
	default:
		d.Fatalf(t, "unknown command %s", d.Cmd)
	}
	return ""
}

// wait lets time pass until something was answered.
func (tr *transcript) wait(f func(done func(error))) string {
	answer := "no answer"
	f(func(err error) {
		answer = "ok"
		if err != nil {
			answer = err.Error()
		}
	})
	tr.w.Run(50 * time.Millisecond)
	return answer + "\n"
}

func (tr *transcript) machine(t *testing.T, d *datadriven.TestData) string {
	cpu, memory := int64(4000), int64(8<<30)
	labels := map[string]string{}
	for _, a := range d.CmdArgs[1:] {
		switch k, v, _ := strings.Cut(a.String(), "="); k {
		case "cpu":
			f, err := strconv.ParseFloat(v, 64)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			cpu = int64(f * 1000)
		case "mib":
			n, err := strconv.Atoi(v)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			memory = int64(n) << 20
		default:
			labels[k] = v
		}
	}
	tr.w.AddMachine(d.CmdArgs[0].String(), labels, cpu, memory)
	tr.w.Run(time.Second)
	return ""
}

func parse(t *testing.T, d *datadriven.TestData) *argosyv1.AppSpec {
	spec, _, faults := manifest.Parse([]manifest.File{{Name: "app.yaml", Data: []byte(d.Input)}}, manifest.Options{})
	if len(faults) > 0 {
		d.Fatalf(t, "%v", faults)
	}
	return spec
}

// key reads shop/lamp.3, or shop/lamp for a whole stack.
func key(t *testing.T, d *datadriven.TestData, s string) state.Key {
	app, rest, ok := strings.Cut(s, "/")
	stack, number, _ := strings.Cut(rest, ".")
	n, err := strconv.Atoi("0" + number)
	if !ok || err != nil {
		d.Fatalf(t, "%q is no replica", s)
	}
	return state.Key{Tenant: "default", App: app, Stack: stack, Number: uint32(n)}
}

func (tr *transcript) ps() string {
	v := tr.w.View()
	if v == nil {
		return "nobody leads\n"
	}
	var b strings.Builder
	for _, s := range v.Statuses("", "") {
		r := s.GetReplica()
		fmt.Fprintf(&b, "%s %s %s r%d i%d", state.KeyOf(r.GetKey()), or(s.GetMachineName(), "-"), word(s.GetState().String(), "REPLICA_STATE_"),
			r.GetRevision(), r.GetIncarnation())
		if !s.GetUpToDate() {
			b.WriteString(" old")
		}
		if r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
			b.WriteString(" removing")
		}
		for _, p := range r.GetPast() {
			fmt.Fprintf(&b, " past:%d@%s", p.GetIncarnation(), v.MachineName(p.GetMachine()))
		}
		if s.GetMessage() != "" {
			b.WriteString(": " + s.GetMessage())
		}
		b.WriteString("\n")
	}
	return or(b.String(), "nothing\n")
}

func word(s, prefix string) string {
	s = strings.ToLower(strings.TrimPrefix(s, prefix))
	if s == "unspecified" {
		return "unknown"
	}
	return s
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

func (tr *transcript) machines() string {
	v := tr.w.View()
	if v == nil {
		return "nobody leads\n"
	}
	var b strings.Builder
	for _, m := range v.Machines() {
		s := v.MachineStatus(m)
		fmt.Fprintf(&b, "%s %s %d replicas, %dm cpu, %d MiB", m.GetName(), word(s.GetCondition().String(), "MACHINE_CONDITION_"),
			s.GetReplicas(), s.GetReservedCpuMilli(), s.GetReservedMemory()>>20)
		if s.GetMessage() != "" {
			b.WriteString(": " + s.GetMessage())
		}
		b.WriteString("\n")
	}
	return or(b.String(), "none\n")
}

func (tr *transcript) plan(spec *argosyv1.AppSpec) string {
	v := tr.w.View()
	res, err := v.Plan("default", spec)
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "differs: %v, base revision %d\n", res.GetDiffers(), res.GetBaseRevision())
	for _, line := range res.GetSpecChanges() {
		fmt.Fprintf(&b, "spec: %s\n", line)
	}
	for _, c := range res.GetChanges() {
		fmt.Fprintf(&b, "%s %s %s>%s: %s\n", word(c.GetKind().String(), "CHANGE_KIND_"), state.KeyOf(c.GetKey()), c.GetFromMachine(), c.GetToMachine(),
			c.GetReason().GetSummary())
		for _, d := range c.GetDetails() {
			fmt.Fprintf(&b, "  %s\n", d)
		}
	}
	for _, w := range res.GetWarnings() {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	return b.String()
}

func (tr *transcript) explain(k state.Key) string {
	res, err := tr.w.View().Explain(k, false)
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	for _, line := range res.Summary {
		fmt.Fprintln(&b, line)
	}
	fmt.Fprintf(&b, "decided: %s\n", res.GetDecided().GetSummary())
	for _, m := range res.GetNow() {
		fmt.Fprintf(&b, "now: %s: %s\n", m.GetMachine(), m.GetDetail())
	}
	for _, vol := range res.GetVolumes() {
		fmt.Fprintf(&b, "volume %s on %s\n", vol.GetName(), tr.w.View().MachineName(vol.GetMachine()))
	}
	return b.String()
}

// events lists what was added to history since it was last asked.
func (tr *transcript) events(t *testing.T, d *datadriven.TestData) string {
	var b strings.Builder
	for _, ev := range tr.w.History() {
		if ev.GetSeq() <= tr.seq {
			continue
		}
		tr.seq = ev.GetSeq()
		if d.HasArg("leader") && ev.GetOutboxSeq() > 0 {
			continue
		}
		b.WriteString(sim.Describe(ev) + "\n")
	}
	return or(b.String(), "none\n")
}
