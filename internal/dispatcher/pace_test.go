package dispatcher_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/dispatcher"
	"github.com/argosy-cluster/argosy/internal/state"
)

// TestPace tells who is told how often to report usage.
//
//	open m1 | open 400     machines open a session: that one, or so many new ones
//	close m1               its session ends
//	forget m1              it is removed from the cluster
//	watchers 1             so many watch usage from now on
//	wait 10s               time passes
//
// Each command answers with what machines were told of that, and when something may follow.
func TestPace(t *testing.T) {
	w := &watched{source: table{}, now: time.Unix(0, 0), sessions: map[string]*dispatcher.Session{}}
	w.core = dispatcher.New(w.source)
	datadriven.RunTest(t, "testdata/pace", func(t *testing.T, d *datadriven.TestData) string {
		w.do(t, d)
		return w.told()
	})
}

// watched is machines in their sessions, at a time.
type watched struct {
	source   table
	core     *dispatcher.Core
	now      time.Time
	sessions map[string]*dispatcher.Session
	opened   int // of those without a name
}

func (w *watched) do(t *testing.T, d *datadriven.TestData) {
	arg := d.CmdArgs[0].Key
	count := 0
	_, notNumber := fmt.Sscan(arg, &count)
	switch d.Cmd {
	case "open":
		if notNumber != nil {
			w.open(t, arg)
		}
		for range count {
			w.opened++
			w.open(t, fmt.Sprint("n", w.opened))
		}
	case "close":
		w.core.Close(w.now, w.sessions[arg])
	case "forget":
		delete(w.source, arg)
		w.core.Forget(arg)
	case "watchers":
		w.core.Watched(w.now, count)
	case "wait":
		span, err := time.ParseDuration(arg)
		if err != nil {
			d.Fatalf(t, "%v", err)
		}
		w.now = w.now.Add(span)
		w.core.Slow(w.now)
	default:
		d.Fatalf(t, "there is no command %s", d.Cmd)
	}
}

func (w *watched) open(t *testing.T, id string) {
	t.Helper()
	w.source[id] = map[state.Key]*argosyv1.Assignment{}
	s, refusal := w.core.Open(w.now, id, &argosyv1.Hello{SessionId: id}, time.Second)
	if refusal != nil {
		t.Fatalf("%s is refused: %v", id, refusal)
	}
	w.sessions[id] = s
}

// told has everything delivered for which there was a wake.
func (w *watched) told() string {
	who := map[string][]string{}
	for _, s := range w.core.Wakes() {
		after := ""
		for msg := w.core.Next(s); msg != nil; msg = w.core.Next(s) {
			if p := msg.GetUsagePace(); p != nil {
				what := "its own pace"
				if p.GetInterval() != nil {
					what = "every " + p.GetInterval().AsDuration().String()
				}
				who[what+after] = append(who[what+after], s.Machine())
			}
			after = ""
			if msg.GetWelcome() != nil {
				after = ", after the welcome"
			}
		}
	}
	var out []string
	for what, machines := range who {
		names := strings.Join(machines, " ")
		if len(machines) > 3 {
			names = fmt.Sprintf("%d machines", len(machines))
		}
		out = append(out, names+": "+what)
	}
	slices.Sort(out)
	if len(out) == 0 {
		out = append(out, "nobody is told anything")
	}
	if at, ok := w.core.SlowAt(); ok {
		out = append(out, fmt.Sprintf("(to be looked at in %v)", at.Sub(w.now)))
	}
	return strings.Join(out, "\n")
}
