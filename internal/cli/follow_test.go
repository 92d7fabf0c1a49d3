package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

func status(number uint32, state argosyv1.ReplicaState, machine, message string) *argosyv1.ReplicaStatus {
	return &argosyv1.ReplicaStatus{MachineName: machine, State: state, Message: message, UpToDate: true, Replica: &argosyv1.Replica{
		Key: &argosyv1.ReplicaKey{App: "shop", Stack: "lamp", Number: number}, Goal: argosyv1.ReplicaGoal_REPLICA_GOAL_RUN, Revision: 1}}
}

// golden compares a text with the file that keeps it; -rewrite writes it anew.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *rewrite {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s is not what is shown; look whether it is better now, and run: go test ./internal/cli -run %s -rewrite\n%s", path, t.Name(), d)
	}
}

// TestLiveView shows what a person sees while waiting, at some instants and sizes of terminals.
func TestLiveView(t *testing.T) {
	start := time.Unix(1_000_000, 0)
	mixed := []*argosyv1.ReplicaStatus{
		status(1, argosyv1.ReplicaState_REPLICA_STATE_READY, "m1", ""),
		status(2, argosyv1.ReplicaState_REPLICA_STATE_STARTING, "m2", "apache waits for mysql to be healthy"),
		status(3, argosyv1.ReplicaState_REPLICA_STATE_FAILED, "m3", "mysql: the image web:1\nis not there"),
		status(4, argosyv1.ReplicaState_REPLICA_STATE_PENDING, "", "no machine fits: m1: memory 120 MiB short; m2: memory 200 MiB short; m3: port 80 taken"),
		status(5, argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED, "m4", "not seen lately: m4 is unreachable"),
	}
	var many []*argosyv1.ReplicaStatus
	for i := range 40 {
		state := argosyv1.ReplicaState_REPLICA_STATE_READY
		if i == 33 {
			state = argosyv1.ReplicaState_REPLICA_STATE_STARTING
		}
		many = append(many, status(uint32(i+1), state, "m1", ""))
	}
	var out strings.Builder
	for _, f := range []struct {
		name string
		live waiting
		at   time.Duration
	}{
		{"before the first answer, on a terminal of unknown size", waiting{}, 0},
		{"everything at once", waiting{p: snapshot{replicas: mixed, ready: 1, wanted: 5}, width: 100, height: 24, frame: 3}, 12 * time.Second},
		{"a narrow terminal", waiting{p: snapshot{replicas: mixed, ready: 1, wanted: 5}, width: 30, height: 24}, 90 * time.Second},
		{"more than fits: what is not ready comes first", waiting{p: snapshot{replicas: many, ready: 39, wanted: 40}, width: 80, height: 8, frame: 13}, 5 * time.Minute},
		{"a terminal of no height", waiting{p: snapshot{replicas: mixed, ready: 1, wanted: 5}, width: 80, height: 1}, time.Second},
		{"colour", waiting{p: snapshot{replicas: mixed[:2], ready: 1, wanted: 2}, width: 80, height: 24, color: true}, time.Second},
	} {
		f.live.p.started = start
		text := strings.ReplaceAll(f.live.render(start.Add(f.at)), "\x1b", "␛")
		fmt.Fprintf(&out, "# %s\n%s\n", f.name, text)
		if f.live.width >= 40 {
			for l := range strings.Lines(regexp.MustCompile(`␛\[[0-9;]*m`).ReplaceAllString(text, "")) {
				if n := len([]rune(strings.TrimRight(l, "\n "))); n > f.live.width {
					t.Errorf("%s: a line of %d characters in a terminal of %d: %q", f.name, n, f.live.width, l)
				}
			}
		}
		if h := f.live.height; h > 3 && strings.Count(text, "\n") > h {
			t.Errorf("%s: %d lines in a terminal of %d", f.name, strings.Count(text, "\n"), h)
		}
	}
	golden(t, "live.txt", out.String())
}

// TestProgress: what is told of a watch line by line, and when waiting is over.
func TestProgress(t *testing.T) {
	var out bytes.Buffer
	a := &app{output: "table", sys: IO{Out: &out}}
	p := &progress{app: "shop", wanted: 2, started: time.Now()}
	show := a.progressLines(p)
	key := func(n uint32) *argosyv1.ReplicaKey {
		return &argosyv1.ReplicaKey{App: "shop", Stack: "lamp", Number: n}
	}
	for i, step := range []struct {
		m           *argosyv1.WatchReplicasResponse
		ready, gone bool
	}{
		{&argosyv1.WatchReplicasResponse{Full: true}, false, true},
		{&argosyv1.WatchReplicasResponse{Replicas: []*argosyv1.ReplicaStatus{status(2, argosyv1.ReplicaState_REPLICA_STATE_PENDING, "", "no machine fits"),
			status(1, argosyv1.ReplicaState_REPLICA_STATE_STARTING, "m1", "")}}, false, false},
		{&argosyv1.WatchReplicasResponse{Replicas: []*argosyv1.ReplicaStatus{status(1, argosyv1.ReplicaState_REPLICA_STATE_STARTING, "m1", "")}}, false, false},
		{&argosyv1.WatchReplicasResponse{Replicas: []*argosyv1.ReplicaStatus{status(1, argosyv1.ReplicaState_REPLICA_STATE_READY, "m1", ""),
			status(2, argosyv1.ReplicaState_REPLICA_STATE_COMPLETED, "m2", "")}}, true, false},
		{&argosyv1.WatchReplicasResponse{Replicas: []*argosyv1.ReplicaStatus{status(3, argosyv1.ReplicaState_REPLICA_STATE_READY, "m1", "")}}, false, false},
		{&argosyv1.WatchReplicasResponse{Removed: []*argosyv1.ReplicaKey{key(3)}}, true, false},
		{&argosyv1.WatchReplicasResponse{Full: true}, false, true},
	} {
		show(p.apply(step.m))
		if goalReady(p) != step.ready || goalGone(p) != step.gone {
			t.Errorf("step %d: ready %t, gone %t", i, goalReady(p), goalGone(p))
		}
	}
	want := `shop/lamp.1 starting on m1
shop/lamp.2 pending: no machine fits
shop/lamp.1 ready on m1
shop/lamp.2 completed on m2
shop/lamp.3 ready on m1
shop/lamp.3 removed
`
	got := regexp.MustCompile(`(?m)^ *[0-9]+m?s  `).ReplaceAllString(out.String(), "")
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
