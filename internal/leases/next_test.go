package leases_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/leases"
)

func TestNext(t *testing.T) {
	servers := func(ids ...string) (out []*storev1.Server) {
		for _, id := range ids {
			s := &storev1.Server{Id: strings.TrimSuffix(id, "-"), Name: "name-" + id}
			if !strings.HasSuffix(id, "-") { // one without a witness
				s.WitnessAddress, s.WitnessKey = id+":7402", []byte("key of "+id)
			}
			out = append(out, s)
		}
		return out
	}
	now := func(generation, revision uint64, members, next string) *storev1.Leases {
		return &storev1.Leases{Epoch: &argosyv1.FencingToken{Generation: generation, Revision: revision}, Members: strings.Fields(members), Next: strings.Fields(next)}
	}
	for _, c := range []struct {
		name       string
		now        *storev1.Leases
		generation uint64
		servers    []*storev1.Server
		settled    string // those whose witnesses vote and have known of the epoch for long enough
		want       string
	}{
		{"no generation", nil, 0, servers("s1"), "", "waits: the store has no generation yet"},
		{"no witness", nil, 1, servers("s1-"), "", "waits: no server has a witness: start argosy-witness beside each"},
		{"the first", nil, 1, servers("s2", "s1", "s3-"), "", "1-101 [s1 s2] []: the first servers with a witness"},
		{"nothing to do", now(1, 7, "s1 s2", ""), 1, servers("s1", "s2"), "s1 s2", "waits: "},
		{"a newcomer that is silent", now(1, 7, "s1", ""), 1, servers("s1", "s2"), "s1", "waits: server name-s2 does not vote yet, for 0.0 s"},
		{"a newcomer", now(1, 7, "s1", ""), 1, servers("s1", "s2"), "s1 s2", "1-101 [s1] [s1 s2]: server name-s2 is taken in"},
		{"not everybody knows", now(1, 7, "s1", "s1 s2"), 1, servers("s1", "s2"), "s1", "waits: both sets of servers decide until majorities of them have known of it for long enough; not yet: [name-s2]"},
		{"everybody knows", now(1, 7, "s1", "s1 s2"), 1, servers("s1", "s2"), "s1 s2", "1-101 [s1 s2] []: majorities of both sets of servers know of the change"},
		{"one goes", now(1, 700, "s1 s2 s3", ""), 1, servers("s1", "s3"), "s1 s3", "1-701 [s1 s2 s3] [s1 s3]: server (removed) is let go"},
		{"all witnesses are gone", now(1, 7, "s1", ""), 1, servers("s1-"), "", "waits: "},
		{"a restored store", now(1, 700, "s1 s2 s3", ""), 2, servers("s9"), "", "2-701 [s9] []: the store is of generation 2 now"},
	} {
		var seen []claims.Status
		for _, id := range strings.Fields(c.settled) {
			seen = append(seen, leases.StatusOf(id, &argosyv1.WitnessHealth{Settled: true, Epoch: c.now.GetEpoch()}))
		}
		for _, s := range c.servers {
			if !strings.Contains(c.settled, s.Id) {
				seen = append(seen, leases.StatusOf(s.Id, nil))
			}
		}
		next, why := leases.Next(c.now, c.generation, 100, c.servers, seen)
		got := "waits: " + why
		if next != nil {
			got = fmt.Sprintf("%v %v %v: %s", leases.ConfigOf(next).Epoch, next.Members, next.Next, next.Cause)
			if err := leases.ConfigOf(next).Validate(); err != nil {
				t.Errorf("%s: %v", c.name, err)
			}
		}
		if got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func TestSightsOf(t *testing.T) {
	config := &leasev1.Config{Epoch: &leasev1.Stamp{Generation: 1, Revision: 2}, Members: []string{"s1"}}
	for _, c := range []struct {
		status leases.Status
		mute   string
	}{
		{leases.Status{Why: "it is away"}, "it is away"},
		{leases.Status{Report: &leasev1.Report{Silent: true}}, "was not told yet"},
		{leases.Status{Report: &leasev1.Report{Config: config, Silent: true, Left: int64(7150 * time.Millisecond)}}, "is new and has no vote yet, for 7.2 s"},
		{leases.Status{Report: &leasev1.Report{Config: &leasev1.Config{Epoch: config.Epoch, Members: []string{"s2"}}}}, "is not yet among those"},
		{leases.Status{Report: &leasev1.Report{Config: config, Sights: []*leasev1.Sight{{Claim: "c", Holding: 9}}}}, "is of a later release"},
		{leases.Status{Report: &leasev1.Report{Config: config}}, ""},
	} {
		got := leases.SightsOf("s1", c.status)
		if (got.Mute == "") != (c.mute == "") || !strings.Contains(got.Mute, c.mute) {
			t.Errorf("%v: mute because %q, want something about %q", c.status, got.Mute, c.mute)
		}
	}
	seen := leases.SightsOf("s1", leases.Status{Report: &leasev1.Report{Config: config, Sights: []*leasev1.Sight{{Claim: "c", Machine: "m1", Session: "σ",
		Token: &leasev1.Stamp{Generation: 1, Revision: 5}, Holding: leasev1.Holding_HOLDING_RELEASED, Age: 3e9}}}}).Seen["c"]
	if want := (claims.Seen{Machine: "m1", Session: "σ", Token: claims.Token{Generation: 1, Revision: 5}, Gone: "released", Age: 3 * time.Second}); seen != want {
		t.Errorf("sees %+v, want %+v", seen, want)
	}
}

func TestVoting(t *testing.T) {
	now := &storev1.Leases{Epoch: &argosyv1.FencingToken{Generation: 1, Revision: 7}, Members: []string{"s1", "s2", "s3"}}
	votes := func(id claims.Witness) claims.Status {
		return claims.Status{Witness: id, Epoch: claims.Epoch{Generation: 1, Revision: 7}}
	}
	silent, behind := votes("s2"), votes("s2")
	silent.Silent, behind.Epoch.Revision = true, 6
	for name, c := range map[string]struct {
		now  *storev1.Leases
		seen []claims.Status
		want bool
	}{
		"nobody decides":       {nil, []claims.Status{votes("s1")}, false},
		"two of three":         {now, []claims.Status{votes("s1"), votes("s3"), silent}, true},
		"one is silent":        {now, []claims.Status{votes("s1"), silent}, false},
		"one knows too little": {now, []claims.Status{votes("s1"), behind}, false},
		"strangers":            {now, []claims.Status{votes("s1"), votes("s4"), votes("s5")}, false},
		"both sets decide":     {&storev1.Leases{Epoch: now.Epoch, Members: now.Members, Next: []string{"s4"}}, []claims.Status{votes("s1"), votes("s2"), votes("s3")}, false},
	} {
		if got := leases.Voting(c.now, c.seen); got != c.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
