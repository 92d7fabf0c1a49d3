package scheduler

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"net/netip"

	"github.com/argosy-cluster/argosy/internal/placement"
)

// Each file in testdata/transcripts is a conversation with one index:
//
//	machine NAME [id=…] [cpu=CORES] [mem=SIZE] [reserve-cpu=…] [reserve-mem=…] [condition=…] [taken=(PORT…)] [LABEL=VALUE…]
//	forget NAME
//	place APP/STACK [count=N] [from=NUMBER] [incarnation=N] SHAPE… [pin=MACHINE why=…]   and more lines of the same in one batch
//	add APP/STACK.NUMBER MACHINE [SHAPE…]
//	remove APP/STACK.NUMBER MACHINE
//	explain APP/STACK SHAPE…
//	whatif …                as place, but nothing stays
//
// SHAPE is cpu=MILLI mem=SIZE ports=(80, 127.0.0.1:53/udp) require=(…) prefer=("expr" weight)
// spread=(machine, rack) apart=(shop/db) together=(shop/db) pack
// unit=(NAME, conflicts GLOB, beside NAME, replaces GLOB). An underscore
// in a value stands for a space.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		s := New()
		datadriven.RunTest(t, path, func(t *testing.T, td *datadriven.TestData) string {
			return command(t, s, td)
		})
	})
}

func command(t *testing.T, s *Scheduler, td *datadriven.TestData) string {
	switch td.Cmd {
	case "machine":
		lines := append([]string{strings.TrimSpace(strings.TrimPrefix(rest(td), "machine"))}, nonEmpty(td.Input)...)
		for _, l := range lines {
			_, args, err := datadriven.ParseLine("machine " + l)
			if err != nil {
				td.Fatalf(t, "%v", err)
			}
			s.SetMachine(machineFrom(t, td, args))
		}
		return ""
	case "forget":
		s.RemoveMachine(td.CmdArgs[0].Key)
		return ""
	case "add", "remove":
		p := Placed{Replica: replicaFrom(t, td, td.CmdArgs[0].Key), Machine: td.CmdArgs[1].Key}
		if td.Cmd == "remove" {
			s.Remove(p)
			return ""
		}
		p.Shape = shapeFrom(t, td, td.CmdArgs[2:])
		s.Add(p)
		return ""
	case "place", "whatif":
		var batch []Request
		batch = append(batch, requestsFrom(t, td, td.CmdArgs)...)
		for _, l := range nonEmpty(td.Input) {
			_, args, err := datadriven.ParseLine("place " + l)
			if err != nil {
				td.Fatalf(t, "%v", err)
			}
			batch = append(batch, requestsFrom(t, td, args)...)
		}
		decide := s.Decide
		if td.Cmd == "whatif" {
			decide = func(now time.Time, batch []Request) []Decision { return s.WhatIf(now, nil, batch) }
		}
		var b strings.Builder
		for _, d := range decide(time.Time{}, batch) {
			fmt.Fprintf(&b, "%s %s\n", d.Request.Replica, d.Reason.String())
			if d.Placed() {
				continue
			}
			for _, m := range s.Displacements(d.Request.Replica, d.Request.Shape) {
				for _, p := range m.Leave {
					fmt.Fprintf(&b, "  %s may be sent away from %s\n", p.Replica, p.Machine)
				}
			}
		}
		return b.String()
	case "explain":
		var b strings.Builder
		for _, v := range s.Explain(requestsFrom(t, td, td.CmdArgs)[0]) {
			fmt.Fprintln(&b, v)
		}
		return b.String()
	}
	td.Fatalf(t, "unknown command %q", td.Cmd)
	return ""
}

func rest(td *datadriven.TestData) string {
	parts := []string{}
	for _, a := range td.CmdArgs {
		parts = append(parts, a.String())
	}
	return strings.Join(parts, " ")
}

func nonEmpty(text string) (lines []string) {
	for _, l := range strings.Split(text, "\n") {
		if l = strings.TrimSpace(l); l != "" {
			lines = append(lines, l)
		}
	}
	return lines
}

func machineFrom(t *testing.T, td *datadriven.TestData, args []datadriven.CmdArg) Machine {
	m := Machine{ID: args[0].Key, Name: args[0].Key, Capacity: Resources{CPU: 4000, Memory: 8 << 30}, Labels: map[string]string{}}
	for _, a := range args[1:] {
		switch a.Key {
		case "id":
			m.ID = a.Vals[0]
		case "cpu":
			m.Capacity.CPU = 1000 * number(t, td, a.Vals[0])
		case "mem":
			m.Capacity.Memory = bytesFrom(t, td, a.Vals[0])
		case "reserve-cpu":
			m.Reserve.CPU = 1000 * number(t, td, a.Vals[0])
		case "reserve-mem":
			m.Reserve.Memory = bytesFrom(t, td, a.Vals[0])
		case "condition":
			for c := Ready; c <= Lost; c++ {
				if c.String() == a.Vals[0] {
					m.Condition = c
				}
			}
		case "taken":
			for _, v := range a.Vals {
				port, by, _ := strings.Cut(v, " ")
				m.Ports = append(m.Ports, TakenPort{Port: portFrom(t, td, port), By: by})
			}
		default:
			m.Labels[a.Key] = strings.ReplaceAll(a.Vals[0], "_", " ")
		}
	}
	return m
}

func requestsFrom(t *testing.T, td *datadriven.TestData, args []datadriven.CmdArg) []Request {
	count, from := 1, 1
	req := Request{}
	var shape []datadriven.CmdArg
	for _, a := range args[1:] {
		switch a.Key {
		case "count":
			count = int(number(t, td, a.Vals[0]))
		case "from":
			from = int(number(t, td, a.Vals[0]))
		case "incarnation":
			req.Incarnation = uint64(number(t, td, a.Vals[0]))
		case "pin":
			req.Pin.Machine = a.Vals[0]
		case "why":
			req.Pin.Why = strings.ReplaceAll(a.Vals[0], "_", " ")
		default:
			shape = append(shape, a)
		}
	}
	req.Shape = shapeFrom(t, td, shape)
	req.Replica.Stack = stackFrom(args[0].Key)
	var out []Request
	for n := from; n < from+count; n++ {
		req.Replica.Number = n
		out = append(out, req)
	}
	return out
}

func shapeFrom(t *testing.T, td *datadriven.TestData, args []datadriven.CmdArg) *Shape {
	shape := &Shape{}
	for _, a := range args {
		switch a.Key {
		case "cpu":
			shape.Need.CPU = number(t, td, a.Vals[0])
		case "mem":
			shape.Need.Memory = bytesFrom(t, td, a.Vals[0])
		case "ports":
			for _, v := range a.Vals {
				shape.Ports = append(shape.Ports, portFrom(t, td, v))
			}
		case "require":
			for _, v := range a.Vals {
				shape.Require = append(shape.Require, exprFrom(t, td, v))
			}
		case "prefer":
			for _, v := range a.Vals {
				i := strings.LastIndexByte(v, ' ')
				shape.Prefer = append(shape.Prefer, Preference{exprFrom(t, td, v[:i]), int(number(t, td, v[i+1:]))})
			}
		case "spread":
			shape.Spread = a.Vals
		case "apart":
			for _, v := range a.Vals {
				shape.Apart = append(shape.Apart, stackFrom(v))
			}
		case "together":
			for _, v := range a.Vals {
				shape.Together = append(shape.Together, stackFrom(v))
			}
		case "pack":
			shape.Strategy = Pack
		case "unit":
			shape.Units = append(shape.Units, unitFrom(a.Vals))
		default:
			td.Fatalf(t, "unknown %q", a.Key)
		}
	}
	return shape
}

// unitFrom reads a unit's name and what it asks: conflicts GLOB, beside NAME, replaces GLOB.
func unitFrom(vals []string) Unit {
	u := Unit{Name: vals[0]}
	for _, v := range vals[1:] {
		switch what, of, _ := strings.Cut(v, " "); what {
		case "conflicts":
			u.Conflicts = append(u.Conflicts, of)
		case "beside":
			u.Beside = append(u.Beside, of)
		case "replaces":
			u.Replaces = append(u.Replaces, of)
		}
	}
	return u
}

// stackFrom reads [TENANT:]APP/STACK.
func stackFrom(s string) Stack {
	tenant := "default"
	if a, b, ok := strings.Cut(s, ":"); ok {
		tenant, s = a, b
	}
	app, name, _ := strings.Cut(s, "/")
	return Stack{tenant, app, name}
}

func replicaFrom(t *testing.T, td *datadriven.TestData, s string) Replica {
	i := strings.LastIndexByte(s, '.')
	return Replica{stackFrom(s[:i]), int(number(t, td, s[i+1:]))}
}

func exprFrom(t *testing.T, td *datadriven.TestData, s string) placement.Expr {
	e, err := placement.Parse(strings.TrimSpace(s))
	if err != nil {
		td.Fatalf(t, "%v", err)
	}
	return e
}

func portFrom(t *testing.T, td *datadriven.TestData, s string) Port {
	p := Port{}
	if a, b, ok := strings.Cut(s, "/"); ok {
		s, p.Protocol = a, b
	}
	if i := strings.LastIndexByte(s, ':'); i >= 0 {
		ip, err := netip.ParseAddr(strings.Trim(s[:i], "[]"))
		if err != nil {
			td.Fatalf(t, "%v", err)
		}
		p.IP, s = ip, s[i+1:]
	}
	p.Port = uint16(number(t, td, s))
	return p
}

func number(t *testing.T, td *datadriven.TestData, s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		td.Fatalf(t, "%v", err)
	}
	return n
}

func bytesFrom(t *testing.T, td *datadriven.TestData, s string) int64 {
	for suffix, size := range map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30} {
		if v, ok := strings.CutSuffix(s, suffix); ok {
			return number(t, td, v) * size
		}
	}
	return number(t, td, s)
}
