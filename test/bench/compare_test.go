package main

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/moby/moby/api/types/events"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

func TestTally(t *testing.T) {
	tally := newTally()
	for i, step := range []struct {
		action         events.Action
		id             string
		counts         bool
		there, running int
	}{
		{"create", "a", true, 1, 0},
		{"create", "b", true, 2, 0},
		{"start", "a", true, 2, 1},
		{"start", "a", true, 2, 1},
		{"exec_start: sh", "a", false, 2, 1},
		{"start", "b", true, 2, 2},
		{"die", "a", true, 2, 1},
		{"start", "a", true, 2, 2},
		{"destroy", "b", true, 1, 1},
		{"die", "a", true, 1, 0},
		{"destroy", "a", true, 0, 0},
		{"destroy", "a", true, 0, 0},
	} {
		at := time.Unix(int64(i), 0)
		if got := tally.add(step.action, step.id, at); got != step.counts {
			t.Errorf("step %d, %s: counts is %v", i, step.action, got)
		}
		if len(tally.there) != step.there || len(tally.running) != step.running {
			t.Errorf("step %d, %s: %d there and %d running, want %d and %d", i, step.action, len(tally.there), len(tally.running), step.there, step.running)
		}
		if step.counts != tally.at.Equal(at) {
			t.Errorf("step %d, %s: the time is %v", i, step.action, tally.at)
		}
	}
}

func TestObserverGivesUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &observer{tally: newTally(), change: make(chan struct{}, 1), ended: make(chan error, 1)}
		o.tally.add("create", "a", time.Now())
		o.tally.add("start", "a", time.Now())
		two := func(there, running int) bool { return there == 2 && running == 2 }
		begun := time.Now()
		_, err := o.wait(t.Context(), limit(2), two)
		var late *lateError
		if !errors.As(err, &late) || time.Since(begun) != 124*time.Second || !strings.Contains(err.Error(), "did not finish in 124 s: 1 containers there, 1 of them running") {
			t.Errorf("after %s: %v", time.Since(begun), err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := o.wait(ctx, limit(2), two); !errors.Is(err, context.Canceled) {
			t.Errorf("interrupted: %v", err)
		}
		o.ended <- errors.New("gone")
		for range 2 {
			if _, err := o.wait(t.Context(), limit(2), two); err == nil || err.Error() != "gone" {
				t.Errorf("without an Engine: %v", err)
			}
		}
	})
}

func TestJob(t *testing.T) {
	j := job{Parallel: 2, Dir: t.TempDir(), Env: []string{"WORD=hello"}, Limit: time.Minute, Commands: [][]string{
		{"sh", "-c", `test "$WORD" = hello && touch one`}, {"sh", "-c", "touch two"}, {"sh", "-c", "test $(pwd) = " + "/"},
	}}
	out := j.run(t.Context())
	if !strings.HasPrefix(out.Failed, "sh -c test $(pwd) = /: exit status 1") {
		t.Errorf("failed: %q", out.Failed)
	}
	if out.Peak < 100_000 || out.Peak > 1e9 || out.Took <= 0 || out.Begun.IsZero() {
		t.Errorf("%+v", out)
	}
	j.Commands = [][]string{{"test", "-e", "one"}, {"test", "-e", "two"}}
	if out := j.run(t.Context()); out.Failed != "" {
		t.Errorf("failed: %q", out.Failed)
	}
	j.Commands = [][]string{{"sh", "-c", "echo first >&2; echo last >&2; exit 3"}}
	if out := j.run(t.Context()); !strings.HasSuffix(out.Failed, "exit status 3: first last") {
		t.Errorf("failed: %q", out.Failed)
	}
	j.Commands, j.Limit = [][]string{{"sleep", "1000"}}, time.Millisecond
	if out := j.run(t.Context()); !strings.Contains(out.Failed, "killed") {
		t.Errorf("out of time: %q", out.Failed)
	}
	j.Commands = [][]string{{"/no/such/program"}}
	if out := j.run(t.Context()); out.Failed == "" {
		t.Error("a program that does not exist ran")
	}
}

func TestParsePss(t *testing.T) {
	got, err := parsePss("55d0-7ffc ---p 00000000 00:00 0   [rollup]\nRss:   62000 kB\nPss:   41234 kB\nPss_Anon: 30000 kB\n")
	if err != nil || got != 41234*1024 {
		t.Errorf("%d, %v", got, err)
	}
	for _, bad := range []string{"", "Pss: x kB", "Rss: 12 kB"} {
		if _, err := parsePss(bad); err == nil {
			t.Errorf("%q was understood", bad)
		}
	}
}

func TestContestantsAskForTheSame(t *testing.T) {
	keys := map[string]bool{}
	for _, who := range contestants() {
		if who.Key == "" || who.Title == "" || who.About == "" || keys[who.Key] {
			t.Errorf("contestant %+v", who.Contestant)
		}
		keys[who.Key] = true
		for _, n := range []int{1, 7, 8, 200} {
			up, down := who.up("image:1", n), who.down("image:1", n)
			for _, j := range []job{up, down} {
				if len(j.Commands) == 0 || j.Parallel < 1 {
					t.Errorf("%s, %d: %+v", who.Key, n, j)
				}
			}
			if who.Key != "bare" && who.Key != "named" {
				continue
			}
			removed := map[string]bool{}
			for _, argv := range down.Commands {
				for _, name := range argv[3:] {
					removed[name] = true
				}
			}
			for _, argv := range up.Commands {
				if !removed[argv[4]] {
					t.Errorf("%d: %s is not removed", n, argv[4])
				}
			}
			if len(up.Commands) != n || len(removed) != n {
				t.Errorf("%d: %d are run and %d removed", n, len(up.Commands), len(removed))
			}
		}
	}
	if !keys["argosy"] || !keys["bare"] || !keys["compose5"] || !keys["compose1"] || !keys["swarm"] || !keys["named"] || !keys["overlay"] {
		t.Errorf("contestants %v", keys)
	}
}

func TestRounds(t *testing.T) {
	for _, tc := range []struct{ all, n, want int }{{3, 1, 3}, {3, 100, 3}, {3, 200, 1}, {1, 200, 1}, {7, 101, 2}} {
		if got := rounds(tc.all, tc.n); got != tc.want {
			t.Errorf("%d containers in %d of %d rounds, want %d", tc.n, got, tc.all, tc.want)
		}
	}
}

func TestManifestTextIsSound(t *testing.T) {
	for _, n := range []int{1, 200} {
		_, _, faults := manifest.Parse([]manifest.File{{Name: "x.yaml", Data: []byte(manifestText(appOf(n), "image:1", n))}}, manifest.Options{})
		if len(faults) > 0 {
			t.Errorf("%d: %v", n, faults)
		}
	}
}
