package server

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/defaults"
	"github.com/argosy-cluster/argosy/internal/leader"
)

// TestClusterWithoutLeader: a server that has nobody to ask says so, and what it knows itself.
func TestClusterWithoutLeader(t *testing.T) {
	c := shared(t)
	alone := clusterService{&Server{cfg: Config{Advertise: []string{"192.0.2.1:7400"}, HistoryAge: 48 * time.Hour}, cluster: c.server.cluster, base: c.server.base, member: c.server.member, history: c.server.history, leader: leader.New(leader.Config{})}}
	res, err := alone.GetCluster(t.Context(), connect.NewRequest(&argosyv1.GetClusterRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	if m := res.Msg; m.Leader != "" || m.HistoryAge.AsDuration() != 48*time.Hour || m.GetSettings().GetClusterId() != c.server.cluster.ID() || len(m.Servers) != 1 {
		t.Errorf("got %v", m)
	}
	_, err = alone.ListTokens(t.Context(), connect.NewRequest(&argosyv1.ListTokensRequest{}))
	wantError(t, err, connect.CodeUnavailable, "lead")
}

func TestClip(t *testing.T) {
	for in, want := range map[string]string{
		"shop": "shop", "a\nb\x1b[31m\x00": "a·b·[31m·", "\xff\xfe": "·", "é": "é", "\u202e": "·",
	} {
		if got := clip(in); got != want {
			t.Errorf("clip(%q) is %q, want %q", in, got, want)
		}
	}
	long := ""
	for range 200 {
		long += "é"
	}
	if got := clip(long); got != long[:80]+"…" {
		t.Errorf("got %q", got)
	}
}

// TestEvents: history comes whole, in parts that are bounded, and goes on with what happens.
func TestEvents(t *testing.T) {
	c := shared(t)
	c.apply(t, spec("events", 1))
	s, err := c.local.cluster.ListEvents(t.Context(), connect.NewRequest(&argosyv1.ListEventsRequest{App: "events", Follow: true}))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	seen := map[string]bool{}
	last := uint64(0)
	for !seen["revision 1"] || !seen["revision 2"] {
		if !s.Receive() {
			t.Fatal(s.Err())
		}
		for _, e := range s.Msg().Events {
			if e.Seq <= last {
				t.Errorf("number %d comes after %d", e.Seq, last)
			}
			last = e.Seq
			seen[e.To] = true
			if e.To == "revision 1" {
				c.apply(t, spec("events", 2))
			}
		}
	}
}

// TestConfigIsChecked: what cannot work is said before anything is made.
func TestConfigIsChecked(t *testing.T) {
	settings := func(networkRange string) *argosyv1.ClusterSettings {
		s := DefaultSettings()
		s.NetworkRange = networkRange
		return s
	}
	for says, cfg := range map[string]Config{
		`--listen "foo" is not host:port`:         {Listen: "foo"},
		`--listen "127.0.0.1:99999" is not`:       {Listen: "127.0.0.1:99999"},
		`--advertise ":7400" is nowhere`:          {Advertise: []string{":7400"}},
		`--advertise "a:b:c" is nowhere`:          {Advertise: []string{"a:b:c"}},
		`--advertise "h:0" is nowhere`:            {Advertise: []string{"h:0"}},
		"is not an IPv4 network":                  {Settings: settings("fd00::/48")},
		"the network is 10.0.0.0/10":              {Settings: settings("10.1.2.3/10")},
		"--network-range 10.0.0.0/30 has no room": {Settings: settings("10.0.0.0/30")},
	} {
		cfg.DataDir = filepath.Join(t.TempDir(), "data")
		err := Run(t.Context(), cfg)
		wantSentence(t, err, says)
		if _, err := os.Stat(cfg.DataDir); err == nil {
			t.Errorf("%s: the data directory was made all the same", says)
		}
	}
	for in, want := range map[string]string{"192.0.2.1": "192.0.2.1:7400", "s1.example.org:7": "s1.example.org:7", "fd00::1": "[fd00::1]:7400", "[fd00::1]:9": "[fd00::1]:9"} {
		if got, err := advertised(in, defaults.ServerPort); got != want || err != nil {
			t.Errorf("%s: got %s, %v", in, got, err)
		}
	}
}
