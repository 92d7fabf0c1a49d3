//go:build e2e

package e2e

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/test/robustness"
)

var (
	robustFor  = flag.Duration("robustness", 3*time.Minute, "how long TestRobustness breaks things")
	robustSeed = flag.Uint64("seed", 0, "which faults TestRobustness makes, in which order; 0 takes one by the clock")
	robustOnly = flag.String("fault", "", "a regular expression; TestRobustness makes only the faults whose names match")
	robustOne  = flag.Bool("writer", false, "TestRobustness has a single writer on a disk that all machines see, too, and judges what it wrote")
	robustOut  = flag.String("report", "", "a file that TestRobustness adds a line about its run to")
)

const (
	robustApps    = 3 // each changed by every client
	robustClients = 3 // one at each server
	mostReplicas  = 4
	robustRound   = 5 * time.Minute // after which clients rest, and what runs must become what is wanted
	// robustPatience is how long a busy host may take. It bounds what is only about speed.
	robustPatience = 5 * time.Minute
	// unknownAfter is how long after it was seen last a replica may be said to be ready.
	unknownAfter = 20 * time.Second
)

// TestRobustness: clients change apps, through each of three servers, while servers, agents, Docker Engines, disks, networks
// and machines are broken in all the ways of robustFaults, two at a time. Judged are the clients' answers, by Porcupine; what
// argosy ps said of replicas, by docker ps on the machines at that time, and whether it said so too long; and what is left
// whenever the clients rest. With -writer what a single writer wrote to a disk that all machines see is judged, too.
func TestRobustness(t *testing.T) {
	threeServers(t)
	seed := *robustSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("again with: make robustness MINUTES=%.0f SEED=%d", robustFor.Minutes(), seed)
	r := &robust{t: t, begun: time.Now().UnixNano(), rng: rand.New(rand.NewPCG(seed, 0)), history: robustness.NewHistory(), observer: robustness.NewObserver(),
		faults: map[string]int{}}
	only, err := regexp.Compile(*robustOnly)
	if err != nil {
		t.Fatal(err)
	}
	kinds := robustFaults()
	if *robustOne {
		r.writer = startWriter(t)
		kinds = append(kinds, claimFaults()...)
		for i, f := range kinds {
			kinds[i] = r.writer.survivable(f)
		}
	}
	r.kinds = slices.DeleteFunc(kinds, func(f fault) bool { return !only.MatchString(f.name) })
	r.blinding = slices.DeleteFunc(slices.Clone(r.kinds), func(f fault) bool { return !f.blind })
	if len(r.kinds) == 0 {
		t.Fatalf("no fault has a name that matches %q", *robustOnly)
	}
	for n := range robustApps {
		r.names = append(r.names, fmt.Sprintf("robust%d", n+1))
	}
	r.cleanUp() // what a run that was broken off left
	t.Cleanup(r.cleanUp)
	r.logIn()

	for _, app := range r.names[1:] {
		r.ask(t.Context(), 0, app, robustness.Apply, 3, fmt.Sprintf("robust-%s-%d", app, r.begun))
		eventually(t, robustPatience, app+" is ready", func() error {
			_, err := ready(app, 3)
			return err
		})
	}

	ctx, stop := context.WithCancel(t.Context())
	var traffic, watchers sync.WaitGroup
	for n := range robustClients {
		traffic.Go(func() { r.client(ctx, n, rand.New(rand.NewPCG(seed, uint64(n)+1))) })
	}
	look, stopLooking := context.WithCancel(t.Context())
	for _, m := range w.cluster.Machines {
		watchers.Go(func() { r.look(look, m.Name) })
	}
	watchers.Go(func() { r.claims(look) })
	for begun := time.Now(); time.Since(begun) < *robustFor && !t.Failed(); {
		for round := time.Now(); time.Since(round) < robustRound && time.Since(begun) < *robustFor && !t.Failed(); {
			r.breakSomething(ctx)
		}
		r.quiet.Lock() // clients end what they are at
		r.settle()
		r.quiet.Unlock()
	}
	stop()
	traffic.Wait()
	stopLooking()
	watchers.Wait()
	r.judge(seed)
}

// robust is one run.
type robust struct {
	t        *testing.T
	begun    int64 // in idempotency keys, as the cluster may have seen an earlier run
	rng      *rand.Rand
	history  *robustness.History
	observer *robustness.Observer
	clients  []argosyv1connect.AppServiceClient
	names    []string
	writer   *oneWriter // nil without one

	kinds    []fault
	blinding []fault // those of them that nobody can see through
	sight    int     // how often something was broken since a machine was hidden for long
	// quiet is held for reading by a client that asks, and for writing while all rest.
	quiet sync.RWMutex

	faults  map[string]int // made of each kind
	blind   []blindness
	settled []time.Duration // how long each time until everything was as wanted
}

// blindness is a time in which nobody could see a machine.
type blindness struct {
	machine  string
	from, to time.Time
}

// settle waits until what runs is what is wanted, each replica once, and nothing besides.
func (r *robust) settle() {
	took, err := await(robustPatience, func() error {
		wanted := map[string]string{}
		for _, app := range r.names {
			list, err := replicas(app)
			if err != nil && strings.Contains(err.Error(), "no app") {
				continue
			}
			if err != nil {
				return err
			}
			for _, s := range list {
				k := s.GetReplica().GetKey()
				name := fmt.Sprintf("%s/%s.%d", k.App, k.Stack, k.Number)
				if s.State != argosyv1.ReplicaState_REPLICA_STATE_READY {
					return fmt.Errorf("%s is %v on %s: %s", name, s.State, s.MachineName, s.Message)
				}
				wanted[name] = s.MachineName
			}
		}
		run := map[string]string{}
		for _, m := range w.cluster.Machines {
			list, err := robustContainers(r.t.Context(), m.Name)
			if err != nil {
				return err
			}
			for _, c := range list {
				if other, twice := run[c.replica]; twice {
					return fmt.Errorf("%s runs on %s and on %s", c.replica, other, m.Name)
				}
				run[c.replica] = m.Name
			}
		}
		if !maps.Equal(wanted, run) {
			return fmt.Errorf("wanted is %v, and %v runs", wanted, run)
		}
		if r.writer != nil {
			return r.writer.writes()
		}
		return nil
	})
	r.settled = append(r.settled, took)
	if err != nil {
		r.t.Errorf("what runs is not what is wanted %s after the last fault: %v", robustPatience, err)
		return
	}
	r.t.Logf("%s what runs is what is wanted after %.1f s", time.Now().Format("15:04:05"), took.Seconds())
}

// judge says what was wrong.
func (r *robust) judge(seed uint64) {
	ops := r.history.Operations()
	known := 0
	for _, op := range ops {
		if op.Result.Outcome != robustness.Unknown {
			known++
		}
	}
	linear := robustness.Linearizable(ops, time.Minute+*robustFor/10)
	if linear != nil {
		r.t.Error(linear)
	}
	lies, judged := r.observer.Lies(3 * time.Second)
	for _, l := range lies {
		r.t.Error(l)
	}
	late, lost, longest := r.judgeSight()
	samples, claims := r.observer.Counts()
	faults := 0
	for _, n := range r.faults {
		faults += n
	}
	line := fmt.Sprintf("%s, seed %d: %d faults, %d operations (%d with a known end), linearizable %t, %d claims judged of %d by %d looks, %d wrong; "+
		"sight lost %d times for longer than %s, said to be ready up to %.1f s after it, %d times too late; whole after %s at most; faults: %s",
		robustFor, seed, faults, len(ops), known, linear == nil, judged, claims, samples, len(lies),
		lost, unknownAfter, longest.Seconds(), late, slices.Max(append(r.settled, 0)).Round(time.Second), counted(r.faults))
	if r.writer != nil {
		line += "; single writer: " + r.writer.judge(r.t)
	}
	r.t.Log(line)
	if *robustFor >= 10*time.Minute && lost == 0 && len(r.blinding) > 0 {
		r.t.Error("sight of no machine was lost for long enough, so nothing is known of whether views say unknown in time")
	}
	if *robustFor >= time.Minute && (known < 20 || judged < 20) {
		r.t.Error("too little happened to judge by")
	}
	if *robustOut != "" {
		if err := appendLine(*robustOut, time.Now().Format("2006-01-02 15:04")+"  "+line); err != nil {
			r.t.Error(err)
		}
	}
}

// judgeSight says how often sight of a machine was lost for so long that what runs there had to become unknown, how long it
// was said to be ready at most, and how often that was too long.
func (r *robust) judgeSight() (late, lost int, longest time.Duration) {
	for _, b := range r.blind {
		s := r.observer.Blind(b.machine, b.from, b.to, unknownAfter)
		for _, l := range s.Late {
			late++
			r.t.Error(l)
		}
		longest = max(longest, s.Longest)
		if s.Judged {
			lost++
		}
	}
	return late, lost, longest
}

// counted lists how often each was.
func counted(n map[string]int) string {
	var list []string
	for _, name := range slices.Sorted(maps.Keys(n)) {
		list = append(list, fmt.Sprintf("%s %d", name, n[name]))
	}
	return strings.Join(list, ", ")
}

func appendLine(path, line string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	return errors.Join(err, f.Close())
}

// cleanUp leaves nothing broken and no app.
func (r *robust) cleanUp() {
	mend(context.Background())
	patience := robustPatience
	if r.t.Failed() {
		patience = time.Minute // a cluster that does not come back does not clean up, either
	}
	for _, app := range r.names {
		_, err := await(patience, func() error {
			if res := w.run(nil, "delete", app, "--volumes", "--yes", "--wait", "--timeout", "60s"); res.code != 0 && !strings.Contains(res.err, "no app") {
				return errors.New(res.String())
			}
			return nil
		})
		if err != nil {
			r.t.Errorf("cleaning up: %v", err)
		}
	}
}
