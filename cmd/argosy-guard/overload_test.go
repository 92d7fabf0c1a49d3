package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"testing"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
)

var overload = flag.Int("overload", 0, "how often TestOverload lets a lease run out on an overloaded machine; 0 leaves it out")

// timesBusy is how many processes that never rest there are for each processor.
const timesBusy = 16

// TestOverload: on a machine with 16 times as many busy processes as processors witnesses fall silent, again and again. Whenever a
// lease runs out, what wrote has ended, and the volume is unmounted and quiet, or the machine is reset. The test measures on the same
// machine, as one process among the others: what it tells is never less than it was.
func TestOverload(t *testing.T) {
	if *overload == 0 {
		t.Skip("it overloads this machine for minutes: make overload TRIALS=n")
	}
	var took []time.Duration
	resets := 0
	for round := 1; len(took)+resets < *overload && !t.Failed(); round++ {
		t.Run(fmt.Sprint("machine ", round), func(t *testing.T) {
			w := newTown(t)
			w.machines = &leasev1.Machines{Machines: []*leasev1.Machine{{Id: "m1", Key: w.guardState().Key}}}
			w.tell()
			for n := uint64(1); len(took)+resets < *overload; n++ {
				quiet, err := w.trial(n)
				if errors.Is(err, errReset) { // nothing goes on from there but with a new machine
					t.Logf("trial %d: %v", len(took)+resets+1, err)
					resets++
					return
				}
				if err != nil {
					t.Fatalf("trial %d: %v", len(took)+resets+1, err)
				}
				took = append(took, quiet)
			}
		})
	}
	if len(took) == 0 {
		return
	}
	slices.Sort(took)
	limit := claims.Fast()
	t.Logf("%d trials with %d busy processes on %d processors, timing %s: from the last moment at which a witness could answer until the volume was quiet: half within %.2f s, longest %.2f s (the lease is %s, its last %s are for that); %d resets",
		len(took)+resets, timesBusy*runtime.NumCPU(), runtime.NumCPU(), limit.Name, took[len(took)/2].Seconds(), took[len(took)-1].Seconds(), limit.Lease, limit.Kill, resets)
}

var errReset = errors.New("the machine was reset")

// trial has a container write under a lease, stops the witnesses, and tells how long after that the volume was quiet. It is an error
// when that was after the lease, or anything was written then.
func (w *town) trial(n uint64) (quiet time.Duration, err error) {
	s := w.wants(n, leasev1.Phase_PHASE_ARMED)
	id := w.create(s)
	defer func() {
		if out, rm := w.docker("rm", "-f", id); rm != nil {
			err = errors.Join(err, errors.New(out))
		}
	}()
	if out, err := w.docker("start", id); err != nil {
		return 0, errors.New(out)
	}
	w.grows(s.Path)
	rest, err := busy(timesBusy * runtime.NumCPU())
	defer rest()
	if err != nil {
		return 0, err
	}
	time.Sleep(time.Second) // of overload, in which the lease is renewed
	if w.claimState(n).GetPhase() != leasev1.Phase_PHASE_ARMED {
		return 0, fmt.Errorf("an overloaded machine does not keep its lease: %v", w.claimState(n))
	}
	w.witnessesDo(syscall.SIGSTOP)
	defer w.witnessesDo(syscall.SIGCONT)
	cut := time.Now()
	for {
		quiet = time.Since(cut)
		if why, err := os.ReadFile(filepath.Join(w.dir, "resetter.ran")); err == nil {
			return quiet, fmt.Errorf("%w after %.2f s: %s", errReset, quiet.Seconds(), why)
		}
		if w.claimState(n).GetPhase() == leasev1.Phase_PHASE_SEALED {
			break
		}
		if quiet > 3*claims.Fast().Lease {
			return quiet, fmt.Errorf("%s after the witnesses stopped the claim is neither quiet nor is the machine reset: %v", quiet, w.claimState(n))
		}
		time.Sleep(time.Millisecond)
	}
	if quiet > claims.Fast().Lease {
		return quiet, fmt.Errorf("the volume was quiet %s after the witnesses stopped, and the lease was %s at most", quiet, claims.Fast().Lease)
	}
	return quiet, nil
}

func (w *town) witnessesDo(s syscall.Signal) {
	for _, c := range w.witnesses {
		if err := c.Process.Signal(s); err != nil {
			w.Error(err)
		}
	}
}

// busy has so many processes never rest until rest is called, or this process ends.
func busy(n int) (rest func(), err error) {
	var all []*exec.Cmd
	rest = func() {
		for _, c := range all {
			_, _ = c.Process.Kill(), c.Wait()
		}
	}
	runtime.LockOSThread() // a parent's death is that of the thread
	defer runtime.UnlockOSThread()
	for range n {
		c := exec.Command("sh", "-c", "while :; do :; done")
		c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if err := c.Start(); err != nil {
			return rest, err
		}
		all = append(all, c)
	}
	return rest, nil
}
