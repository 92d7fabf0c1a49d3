package live

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// start is when every test begins.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// TestTranscripts drives a model by messages and shows what it draws.
//
//	new [plain] [members] [machines] [tenants] [color] [sort=cpu] [filter=...]
//	size 80 24
//	machines           each line: m1 [condition] [age=2s] [cpu=milli mem=MiB] [message…]
//	replicas [full]    each line: shop/lamp.1 state machine [member:state…] [# message]
//	removed            each line: a replica
//	usage              each line: a replica or machine, then cpu=milli mem=MiB rx= tx= rd= wr= (KiB a second); with members=, of a member
//	link [error]
//	time 5s            goes by, second by second
//	keys j enter "x y" a text in quotes is typed
//	view               the screen
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		d := &driver{t: t, now: start}
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string { return d.run(td) })
	})
}

type driver struct {
	t   *testing.T
	m   *Model
	now time.Time
	out strings.Builder
}

func (d *driver) update(msg Msg) {
	for _, e := range d.m.Update(msg) {
		switch e := e.(type) {
		case HandOver:
			fmt.Fprintf(&d.out, "hand over: %s of %s %q\n", map[Action]string{Logs: "logs", Shell: "shell"}[e.What], replicaID(e.Key), e.Member)
		case Explain:
			fmt.Fprintf(&d.out, "explain: %s\n", replicaID(e.Key))
		case WatchMembers:
			fmt.Fprintf(&d.out, "watch members of %q\n", strings.TrimPrefix(replicaID(e.Key), ":/.0"))
		default:
			fmt.Fprintf(&d.out, "%T\n", e)
		}
	}
}

func (d *driver) run(td *datadriven.TestData) string {
	d.out.Reset()
	switch td.Cmd {
	case "new":
		o := Options{Title: "argosy top"}
		td.MaybeScanArgs(d.t, "sort", &o.Sort)
		td.MaybeScanArgs(d.t, "filter", &o.Filter)
		o.Plain, o.Members, o.Machines, o.Tenants, o.Color = td.HasArg("plain"), td.HasArg("members"), td.HasArg("machines"), td.HasArg("tenants"), td.HasArg("color")
		if o.Plain {
			o.Title = "argosy ps"
		}
		d.m = New(o)
		d.update(Tick{d.now})
	case "size":
		w, _ := strconv.Atoi(td.CmdArgs[0].Key)
		h, _ := strconv.Atoi(td.CmdArgs[1].Key)
		d.update(Resize{w, h})
	case "machines":
		msg := Machines{At: d.now}
		for l := range strings.Lines(td.Input) {
			msg.List = append(msg.List, machineStatus(strings.Fields(l)))
		}
		d.update(msg)
	case "replicas":
		c := &argosyv1.WatchReplicasResponse{Full: td.HasArg("full")}
		for l := range strings.Lines(td.Input) {
			c.Replicas = append(c.Replicas, d.replicaStatus(l))
		}
		d.update(Replicas{d.now, c})
	case "removed":
		c := &argosyv1.WatchReplicasResponse{}
		for l := range strings.Lines(td.Input) {
			c.Removed = append(c.Removed, parseKey(strings.TrimSpace(l)))
		}
		d.update(Replicas{d.now, c})
	case "usage":
		d.update(Usage{At: d.now, Change: parseUsage(td.Input)})
	case "link":
		d.update(Link{At: d.now, Err: strings.TrimSpace(td.Input)})
	case "time":
		span, err := time.ParseDuration(td.CmdArgs[0].Key)
		if err != nil {
			d.t.Fatal(err)
		}
		for range int(span / time.Second) {
			d.now = d.now.Add(time.Second)
			d.update(Tick{d.now})
		}
	case "text":
		d.update(Text{"explain", td.Input})
	case "keys":
		for l := range strings.Lines(td.Input) {
			d.keys(strings.TrimSpace(l))
		}
	case "view":
		screen := d.m.View()
		check(d.t, d.m, screen)
		for l := range strings.Lines(screen) {
			d.out.WriteString("|" + strings.ReplaceAll(strings.TrimRight(l, "\n"), "\x1b", "␛") + "\n")
		}
	default:
		d.t.Fatalf("unknown command %s", td.Cmd)
	}
	return d.out.String()
}

// keys presses what stands in a line: names of keys, or a text in quotes letter by letter.
func (d *driver) keys(line string) {
	if text, err := strconv.Unquote(line); err == nil {
		for _, r := range text {
			name := string(r)
			if r == ' ' {
				name = "space"
			}
			d.update(Key{Name: name, Text: string(r)})
		}
		return
	}
	for _, k := range strings.Fields(line) {
		d.update(Key{Name: k})
	}
}

func parseKey(s string) *argosyv1.ReplicaKey {
	k := &argosyv1.ReplicaKey{Tenant: "default"}
	if tenant, rest, ok := strings.Cut(s, ":"); ok {
		k.Tenant, s = tenant, rest
	}
	app, rest, _ := strings.Cut(s, "/")
	stack, number, _ := strings.Cut(rest, ".")
	n, _ := strconv.Atoi(number)
	k.App, k.Stack, k.Number = app, stack, uint32(n)
	return k
}

func machineID(name string) string { return "id-" + name }

func machineStatus(f []string) *argosyv1.MachineStatus {
	s := &argosyv1.MachineStatus{
		Machine: &argosyv1.Machine{Id: machineID(f[0]), Name: f[0], JoinedAt: timestamppb.New(start.Add(-3 * time.Hour)), Address: "192.0.2.1",
			Capacity: &argosyv1.Capacity{CpuMilli: 4000, Memory: 8 << 30, ReserveMemory: 1 << 30}},
		Condition: argosyv1.MachineCondition_MACHINE_CONDITION_READY, Age: durationpb.New(time.Second),
		Replicas: 4, ReservedCpuMilli: 2000, ReservedMemory: 3 << 30,
	}
	var message []string
	for i, w := range f[1:] {
		k, v, ok := strings.Cut(w, "=")
		n, _ := strconv.ParseInt(v, 10, 64)
		switch {
		case i == 0 && !ok:
			s.Condition = argosyv1.MachineCondition(argosyv1.MachineCondition_value["MACHINE_CONDITION_"+strings.ToUpper(w)])
		case k == "age":
			age, _ := time.ParseDuration(v)
			s.Age = durationpb.New(age)
		case k == "cpu":
			s.Usage = &argosyv1.MachineUsage{CpuMilli: n, DiskUsed: 12 << 30, DiskTotal: 80 << 30}
		case k == "mem":
			s.Usage.Memory = n << 20
		default:
			message = append(message, w)
		}
	}
	s.Message = strings.Join(message, " ")
	return s
}

func (d *driver) replicaStatus(line string) *argosyv1.ReplicaStatus {
	line, message, _ := strings.Cut(strings.ReplaceAll(strings.TrimSpace(line), "␛", "\x1b"), " # ")
	f := strings.Fields(line)
	r := replicaAt(parseKey(f[0]), f[1], strings.TrimPrefix(f[2], "-"), message)
	for _, m := range f[3:] {
		name, state, _ := strings.Cut(m, ":")
		r.Observation.Members = append(r.Observation.Members, &argosyv1.MemberObservation{Name: name, Address: "10.64.1.7",
			State: argosyv1.MemberState(argosyv1.MemberState_value["MEMBER_STATE_"+strings.ToUpper(state)]), Since: timestamppb.New(start.Add(-90 * time.Second))})
	}
	return r
}

func replicaAt(k *argosyv1.ReplicaKey, state, machine, message string) *argosyv1.ReplicaStatus {
	r := &argosyv1.ReplicaStatus{Replica: &argosyv1.Replica{Key: k, Revision: 3, Goal: argosyv1.ReplicaGoal_REPLICA_GOAL_RUN}, MachineName: machine,
		State: argosyv1.ReplicaState(argosyv1.ReplicaState_value["REPLICA_STATE_"+strings.ToUpper(state)]), Message: message}
	if machine != "" {
		r.Replica.Machine = machineID(machine)
		r.Age = durationpb.New(time.Second)
		r.Observation = &argosyv1.ReplicaObservation{Key: k}
	}
	return r
}

func parseUsage(input string) *argosyv1.WatchUsageResponse {
	c := &argosyv1.WatchUsageResponse{}
	for l := range strings.Lines(input) {
		f := strings.Fields(l)
		var n [6]int64
		member := ""
		for _, w := range f[1:] {
			k, v, _ := strings.Cut(w, "=")
			if k == "member" {
				member = v
				continue
			}
			i := strings.Index("cpu mem rx  tx  rd  wr", k) / 4
			n[i], _ = strconv.ParseInt(v, 10, 64)
		}
		rate := &argosyv1.Traffic{NetworkReceived: n[2] << 10, NetworkSent: n[3] << 10, DiskRead: n[4] << 10, DiskWritten: n[5] << 10}
		if !strings.Contains(f[0], "/") {
			c.Machines = append(c.Machines, &argosyv1.MachineReport{Id: machineID(f[0]), Name: f[0], Age: durationpb.New(time.Second),
				Usage: &argosyv1.MachineUsage{CpuMilli: n[0], Memory: n[1] << 20, Rate: rate}})
			continue
		}
		u := &argosyv1.ReplicaUsage{Key: parseKey(f[0]), CpuMilli: n[0], Memory: n[1] << 20, Rate: rate}
		if member != "" {
			u.Members = append(u.Members, &argosyv1.MemberUsage{Key: u.Key, Member: member, CpuMilli: n[0], Memory: n[1] << 20, Rate: rate})
		}
		c.Replicas = append(c.Replicas, u)
	}
	return c
}

// check is what holds of every screen: it is never wider or higher than the terminal.
func check(t interface{ Errorf(string, ...any) }, m *Model, screen string) {
	lines := strings.Split(screen, "\n")
	if len(lines) > max(m.height, 1) {
		t.Errorf("%d lines on a terminal of %d", len(lines), m.height)
	}
	for _, l := range lines {
		if w := displayWidth(l); w > m.width {
			t.Errorf("a line of %d columns on a terminal of %d: %q", w, m.width, l)
		}
	}
}
