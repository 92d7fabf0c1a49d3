package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/agent/volume/device"
)

func TestLeft(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	for _, c := range []struct {
		name  string
		state *leasev1.GuardState
		quiet time.Duration // for how long nothing can write
		done  bool
		says  string
	}{
		{"it was not told yet", &leasev1.GuardState{}, 0, false, ""},
		{"something may write", &leasev1.GuardState{Leaving: true, Exposed: 1}, 0, false, ""},
		{"it had nothing", &leasev1.GuardState{Leaving: true}, 0, true, ""},
		{"the servers do not know yet", &leasev1.GuardState{Leaving: true, Untold: 2}, time.Second, false, ""},
		{"no server answers", &leasev1.GuardState{Leaving: true, Untold: 2}, tellTime, true, "no majority of the servers hears of it for 2 claims"},
	} {
		done, err := left(c.state, now.Add(-c.quiet), now)
		if done != c.done || (err == nil) != (c.says == "") || err != nil && !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v, %v", c.name, done, err)
		}
	}
}

// speak runs what a unit runs when the machine starts and stops.
func (w *town) speak(args ...string) (string, error) {
	cmd := exec.Command(os.Args[0], append(args, "--state", filepath.Join(w.dir, "state"))...)
	cmd.Env = append(os.Environ(), "BE=argosy-guard")
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// TestLeave: before a machine is shut down everything is given back, though no agent stops it; what is wanted then is refused, and
// had again once the machine remains after all. A guard that is not there is told of at once.
func TestLeave(t *testing.T) {
	w := newTown(t)
	w.machines = &leasev1.Machines{Machines: []*leasev1.Machine{{Id: "m1", Key: w.guardState().Key}}}
	w.tell()
	s := w.wants(10, leasev1.Phase_PHASE_ARMED)
	id := w.create(s)
	if out, err := w.docker("start", id); err != nil {
		t.Fatal(out)
	}
	w.grows(s.Path)
	begun := time.Now()
	if out, err := w.speak("--leave", "--patience", "500ms"); err != nil || !strings.Contains(out, "everything is given back") {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("left after %v, of which it waited 0.5 s for an agent", time.Since(begun).Round(time.Millisecond))
	w.ok(device.New(device.Config{Base: w.dir}).Quiet(t.Context(), volume.Volume{Name: w.claim, Device: &volume.Device{Source: w.node}}))
	w.until("the Engine to notice", func() error {
		if w.inspect(id, "{{.State.Running}}") != "false" {
			return fmt.Errorf("it runs")
		}
		return nil
	})
	if refused := w.wants(11, leasev1.Phase_PHASE_REFUSED); !strings.Contains(refused.Why, "shut down") {
		t.Errorf("%v", refused)
	}
	w.kill()
	w.startGuard() // which leaves, too
	if refused := w.wants(12, leasev1.Phase_PHASE_REFUSED); !strings.Contains(refused.Why, "shut down") {
		t.Errorf("%v", refused)
	}
	if out, err := w.speak("--remain"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.wants(13, leasev1.Phase_PHASE_ARMED)
	if out, err := w.speak("--leave", "--patience", "0s"); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	w.notReset()
	w.kill()
	if out, err := w.speak("--leave"); err == nil || !strings.Contains(out, "no guard answers") {
		t.Errorf("%v: %s", err, out)
	}
}
