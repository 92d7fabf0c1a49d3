//go:build e2e

package e2e

import (
	"errors"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
)

var (
	deaths  = flag.Int("deaths", 0, "how often TestDeaths has the machine of a writer lose power; 0 leaves it out")
	leading = flag.Bool("leading", false, "in TestDeaths, the machine that loses power is that of the leading server, too")
)

// mounting says since when, at the latest, a machine other than the holder of app one's volume mounts it, or has.
func mounting(holder string) (at time.Time, err error) {
	var res argosyv1.ListVolumesResponse
	if err := ask(&res, "volumes", "one"); err != nil {
		return at, err
	}
	for _, v := range res.Volumes {
		if p := v.GetObservation().GetPhase(); v.GetMachine() != holder && (p == argosyv1.ClaimPhase_CLAIM_PHASE_MOUNTING || p == argosyv1.ClaimPhase_CLAIM_PHASE_ARMED) {
			return time.Now(), nil
		}
	}
	return at, fmt.Errorf("%v", res.Volumes)
}

// movable says whether a machine beside the one that it is on could have app one's replica: whether it has seen the disk.
func movable() error {
	var res argosyv1.ExplainResponse
	if err := ask(&res, "explain", "one/w.1"); err != nil {
		return err
	}
	fit := 0
	for _, m := range res.GetNow() {
		if m.GetFits() {
			fit++
		}
	}
	if fit < 2 {
		return fmt.Errorf("%v", res.GetNow())
	}
	return nil
}

// voting says whether the witnesses of all three servers have a vote.
func voting() error {
	var res argosyv1.ListServersResponse
	if err := ask(&res, "servers"); err != nil {
		return err
	}
	n := 0
	for _, s := range res.Servers {
		if h := s.GetHealth().GetWitness(); h != nil && !h.GetSilent() && h.GetTrouble() == "" {
			n++
		}
	}
	if n != 3 {
		return fmt.Errorf("%d have: %v", n, res.Servers)
	}
	return nil
}

// leads has the server of a machine lead, and the others know it.
func leads(t *testing.T, machine string) {
	t.Helper()
	eventually(t, 2*time.Minute, machine+" leads", func() error {
		lead, _ := wholeServers(t)
		if lead == machine {
			return nil
		}
		on(t, lead, "systemctl", "restart", serverUnit)
		return errors.New(lead + " leads")
	})
	eventually(t, time.Minute, "three witnesses have a vote", voting)
	eventually(t, time.Minute, "the leader sees the lease", func() error {
		var res argosyv1.ListVolumesResponse
		if err := ask(&res, "volumes", "one"); err != nil {
			return err
		}
		if len(res.Volumes) != 1 || res.Volumes[0].State != argosyv1.VolumeState_VOLUME_STATE_HELD {
			return fmt.Errorf("%v", res.Volumes)
		}
		return nil
	})
}

// TestDeaths: the machine that writes a shared volume loses power, again and again. Told is how long it takes until the next one mounts it,
// as 'argosy volumes' shows it, and until that has written, which its kernel does only once it has waited for the other by itself (mmp).
func TestDeaths(t *testing.T) {
	if *deaths == 0 {
		t.Skip("it ends machines as often as it is told to: make deaths ROUNDS=n")
	}
	disk := newShared(t, "proof-one")
	lead, _ := wholeServers(t)
	placement := `require: ["machine != ` + lead + `"]` // how long another leader takes is another matter
	if *leading {
		placement = ""
	}
	one := startWriterOn(t, disk, "device: LABEL=proof-one", placement)
	eventually(t, time.Minute, "the replica writes", one.writes)
	power := one.disk.powerCut(one.ears)
	profile, err := claims.Named(*leases)
	if err != nil {
		t.Fatal(err)
	}
	goal := profile.Wait + 500*time.Millisecond
	var mounts, writes []time.Duration
	for n := range *deaths {
		holder := one.holder(t)
		eventually(t, 90*time.Second, "another machine could have it", movable)
		if *leading {
			leads(t, holder)
		}
		before := len(one.disk.Turns())
		begun := time.Now()
		if err := power.do(t.Context(), holder); err != nil {
			t.Fatal(err)
		}
		var mounted time.Time
		eventually(t, time.Minute, "the next machine mounts", func() (err error) { mounted, err = mounting(holder); return err })
		if took := mounted.Sub(begun); took > goal {
			t.Logf("%.2f s, and the goal is %v:\n%s", took.Seconds(), goal, w.run(nil, "events", "one", "--since", fmt.Sprintf("%ds", int(took.Seconds())+5)).out)
		}
		eventually(t, 2*time.Minute, "it writes elsewhere", func() error {
			if len(one.disk.Turns()) == before {
				return errors.New("the disk is still " + holder + "'s\n" + w.run(nil, "explain", "one/w.1").out)
			}
			return one.writes()
		})
		next := one.disk.Turns()[before]
		mounts, writes = append(mounts, mounted.Sub(begun)), append(writes, next.From.Sub(begun))
		t.Logf("death %d: %s lost power; %s mounted after %.2f s at most, and its first write was at %.2f s", n+1, holder, next.View, mounts[n].Seconds(), writes[n].Seconds())
		if err := power.undo(t.Context(), holder); err != nil {
			t.Fatal(err)
		}
		eventually(t, 2*time.Minute, holder+" is back", func() error { return machineReady(holder) })
		eventually(t, time.Minute, "three witnesses have a vote", voting) // one that comes back has none for a while: the next death would leave no majority
		time.Sleep(profile.Wait)                                          // what its witness counts as heard now, and what guards held back for it, would prolong the next wait
	}
	line := func(all []time.Duration) string {
		slices.Sort(all)
		return fmt.Sprintf("shortest %.2f s, median %.2f s, longest %.2f s", all[0].Seconds(), all[len(all)/2].Seconds(), all[len(all)-1].Seconds())
	}
	t.Logf("%d machines that lost power: dead to mount: %s (goal: %v)", len(mounts), line(mounts), goal)
	t.Logf("%d machines that lost power: dead to first write, after the file system's own wait: %s", len(writes), line(writes))
	t.Log(one.judge(t))
}
