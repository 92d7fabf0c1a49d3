package agent_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// collect reads an attached stream to its end.
func (a *attached) collect(t *testing.T) (out, errs string, lines []*argosyv1.LogLine, end *argosyv1.WorkEnd) {
	t.Helper()
	var o, e bytes.Buffer
	defer closeOnce(a.done)
	m := a.first
	for {
		o.Write(m.GetStdout())
		e.Write(m.GetStderr())
		if m.GetLog() != nil {
			lines = append(lines, m.GetLog())
		}
		if m.GetEnd() != nil {
			return o.String(), e.String(), lines, m.GetEnd()
		}
		var err error
		if m, err = a.stream.Receive(); err != nil {
			t.Fatalf("the agent's stream broke: %v", err)
		}
	}
}

func TestLogs(t *testing.T) {
	b, l := newBench(t), newLeader(t)
	a := b.assignment(1, b.member("chatty", "log", "0", "100"), b.member("apache", "log", "20"))
	a.Containers[0].Restart = &argosyv1.RestartPolicy{Mode: argosyv1.RestartMode_RESTART_MODE_NO}
	terminal := b.member("screen", "log", "0", "3")
	terminal.Tty = true
	terminal.Restart = a.Containers[0].Restart
	a.Containers = append(a.Containers, terminal)
	l.assign(a)
	b.start(t, b.config(l, logger(t)))
	l.ready(t, "shop/lamp.1")
	logs := func(w *argosyv1.LogsWork) *attached {
		w.Key = a.GetKey()
		return l.work(t, &argosyv1.Work{Kind: &argosyv1.Work_Logs{Logs: w}})
	}
	// A member counts as ready while it still writes: what it says at last is waited for.
	all := func(member string, want int) (lines []*argosyv1.LogLine) {
		for deadline := time.Now().Add(patience); len(lines) < want && time.Now().Before(deadline); {
			_, _, lines, _ = logs(&argosyv1.LogsWork{Member: member, All: true}).collect(t)
		}
		return lines
	}
	if lines := all("chatty", 100); len(lines) != 100 {
		t.Errorf("all lines: %d", len(lines))
	}
	_, _, lines, end := logs(&argosyv1.LogsWork{Member: "chatty", Tail: 10}).collect(t)
	if len(lines) != 10 || string(lines[9].GetText()) != "line 100" || lines[9].GetAt() == nil || end.GetError() != "" {
		t.Errorf("last ten lines: %v, %v", lines, end)
	}
	if lines := all("screen", 3); len(lines) != 3 || string(lines[2].GetText()) != "line 3" {
		t.Errorf("lines of a terminal: %q", lines)
	}
	if _, _, _, end := logs(&argosyv1.LogsWork{Member: "nobody", All: true}).collect(t); !strings.Contains(end.GetError(), `has no container "nobody" on this machine`) {
		t.Errorf("logs of nobody end with %v", end)
	}

	// Following goes on when the container is replaced.
	f := logs(&argosyv1.LogsWork{Member: "apache", Follow: true})
	receive := func() *argosyv1.LogLine {
		m, err := f.stream.Receive()
		if err != nil {
			t.Fatalf("the followed stream broke: %v", err)
		}
		return m.GetLog()
	}
	receive()
	a.Restart = 1
	l.assign(a)
	for seen := 0; seen < 3; {
		x := receive()
		if string(x.GetText()) == "line 1" || seen > 0 {
			seen++
		}
	}
	if err := f.stream.Send(&argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_Cancel{Cancel: true}}); err != nil {
		t.Error(err)
	}
	// The agent leaves a stream that was cancelled.
	left := make(chan struct{})
	go func() {
		for {
			if _, err := f.stream.Receive(); err != nil {
				close(left)
				return
			}
		}
	}()
	select {
	case <-left:
	case <-time.After(patience):
		t.Error("the agent goes on after it was told to stop")
	}
}

func TestExec(t *testing.T) {
	b, l := newBench(t), newLeader(t)
	a := b.assignment(1, b.member("apache"))
	l.assign(a)
	b.start(t, b.config(l, logger(t)))
	l.ready(t, "shop/lamp.1")
	run := func(w *argosyv1.ExecWork) *attached {
		w.Key, w.Member = a.GetKey(), "apache"
		return l.work(t, &argosyv1.Work{Kind: &argosyv1.Work_Exec{Exec: w}})
	}
	_, errs, _, end := run(&argosyv1.ExecWork{Command: []string{"/testprog", "exit", "42"}}).collect(t)
	if end.GetExitCode() != 42 || end.GetError() != "" {
		t.Errorf("exit 42 ends with %v %q", end, errs)
	}
	out, _, _, _ := run(&argosyv1.ExecWork{Command: []string{"/testprog", "env"}, Environment: map[string]string{"MINE": "yes"}}).collect(t)
	for _, want := range []string{"MINE=yes", "ARGOSY_REPLICA=shop/lamp.1", "ARGOSY_TENANT=default", "ARGOSY_APP=shop", "ARGOSY_STACK=lamp", "ARGOSY_NUMBER=1", "ARGOSY_MEMBER=apache", "ARGOSY_MACHINE=m1", "ARGOSY_INCARNATION=1"} {
		if !strings.Contains(out, want+"\n") {
			t.Errorf("environment lacks %s:\n%s", want, out)
		}
	}
	if _, errs, _, _ := run(&argosyv1.ExecWork{Command: []string{"/testprog", "dance"}}).collect(t); !strings.Contains(errs, "unknown verb") {
		t.Errorf("standard error: %q", errs)
	}
	if _, _, _, end := run(&argosyv1.ExecWork{Command: []string{"/no/such"}}).collect(t); end.GetError() == "" && end.GetExitCode() == 0 {
		t.Errorf("a command that does not exist ends with %v", end)
	}

	// Input, to its end.
	x := run(&argosyv1.ExecWork{Command: []string{"/testprog", "cat"}, Stdin: true})
	send := func(m *argosyv1.AttachResponse) {
		t.Helper()
		if err := x.stream.Send(m); err != nil {
			t.Fatal(err)
		}
	}
	big := strings.Repeat("0123456789abcdef", 10000)
	send(&argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_Stdin{Stdin: []byte(big)}})
	send(&argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_StdinClosed{StdinClosed: true}})
	if out, _, _, end := x.collect(t); out != big || end.GetExitCode() != 0 {
		t.Errorf("cat gave %d bytes of %d back and ended with %v", len(out), len(big), end)
	}

	// A terminal.
	x = run(&argosyv1.ExecWork{Command: []string{"/testprog", "tty"}, Stdin: true, Tty: true, Rows: 40, Columns: 132})
	send(&argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_Resize{Resize: &argosyv1.TerminalSize{Rows: 50, Columns: 100}}})
	send(&argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_Stdin{Stdin: []byte("hello\n\x04")}})
	if out, _, _, _ := x.collect(t); !strings.Contains(out, "terminal true") || !strings.Contains(out, "echo hello") {
		t.Errorf("terminal: %q", out)
	}

	// One that does not end is left when the server has had enough.
	x = run(&argosyv1.ExecWork{Command: []string{"/testprog", "sleep", "infinity"}})
	send(&argosyv1.AttachResponse{Data: &argosyv1.AttachResponse_Cancel{Cancel: true}})
	if _, err := x.stream.Receive(); err == nil {
		t.Error("the agent goes on after it was told to stop")
	}
}

func TestUsage(t *testing.T) {
	b, l := newBench(t), newLeader(t)
	busy := b.member("busy", "spin")
	busy.Resources = &argosyv1.Resources{LimitCpuMilli: 200, LimitMemory: 64 << 20}
	l.assign(b.assignment(1, busy, b.member("big", "alloc", "30")))
	b.start(t, b.config(l, logger(t)))
	l.ready(t, "shop/lamp.1")
	// Of a machine that has much else to do it gets less than its limit, and no more in any case. That what is told is what was
	// counted, usage's own tests see to.
	l.until(t, "usage is told", func() bool {
		var spins, idles, memory int64
		for _, m := range l.usage.GetMembers() {
			switch m.GetMember() {
			case "busy":
				spins = m.GetCpuMilli()
			case "big":
				idles, memory = m.GetCpuMilli(), m.GetMemory()
			}
		}
		return spins > idles && spins < 300 && memory > 30<<20 && memory < 50<<20 && l.usage.GetMachine().GetMemory() > 0 && l.usage.GetMachine().GetDiskTotal() > 0
	})
}
