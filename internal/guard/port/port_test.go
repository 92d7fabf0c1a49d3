package port_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/agent/volume"
	"github.com/argosy-cluster/argosy/internal/claims"
	step "github.com/argosy-cluster/argosy/internal/claims/guard"
	"github.com/argosy-cluster/argosy/internal/guard/machine"
	"github.com/argosy-cluster/argosy/internal/guard/port"
	"github.com/argosy-cluster/argosy/internal/lease"
)

const db = claims.ID("default/shop/db.1/data")

// played is a guard and a machine that note what they are asked.
type played struct {
	asked chan string
	armed bool
}

func (p *played) Want(id claims.ID, t claims.Token) error {
	p.asked <- fmt.Sprint("want ", id, " ", t)
	return nil
}
func (p *played) Release(id claims.ID, t claims.Token) { p.asked <- fmt.Sprint("release ", id, " ", t) }
func (p *played) Stopped(id claims.ID, t claims.Token) { p.asked <- fmt.Sprint("stopped ", id, " ", t) }
func (p *played) Leave(patience time.Duration)         { p.asked <- fmt.Sprint("leave ", patience) }
func (p *played) Remain()                              { p.asked <- "remain" }
func (p *played) Forget(id claims.ID, t claims.Token) error {
	p.asked <- fmt.Sprint("forget ", id, " ", t)
	return nil
}
func (p *played) Place(_ claims.ID, _ claims.Token, v volume.Volume) error {
	if v.Mount != nil {
		return errors.New("there is no room")
	}
	return nil
}
func (p *played) Show(claims.ID, claims.Token) machine.Shown {
	return machine.Shown{Armed: p.armed, Path: "/p", Slice: "a-b-c.slice", Group: "/a/b"}
}

type scene struct {
	*testing.T
	*played
	*port.Port
	path string
}

func newScene(t *testing.T) *scene {
	s := &scene{T: t, played: &played{asked: make(chan string, 64)}, path: filepath.Join(t.TempDir(), "s")}
	s.Port = port.New(port.Config{Guard: s.played, Machine: s.played, Log: slog.New(slog.DiscardHandler),
		Servers: func(m *leasev1.LeaseServers) error { s.asked <- "servers " + m.Profile; return nil }})
	l, err := lease.Listen(s.path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s
}

func (s *scene) agent() net.Conn {
	s.Helper()
	c, err := net.Dial("unix", s.path)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { _ = c.Close() })
	return c
}

func (s *scene) reads(c net.Conn) *leasev1.GuardReport {
	s.Helper()
	r := &leasev1.GuardReport{}
	if err := lease.Read(c, r); err != nil {
		s.Fatal(err)
	}
	return r
}

func (s *scene) tell(n uint64, p step.Phase) {
	s.Tell(step.Tell{Claim: db, Token: claims.Token{Generation: 1, Revision: n}, Phase: p})
}

// TestListen: whoever comes hears of all claims, then of the guard, then of what changes; and no phase goes back.
func TestListen(t *testing.T) {
	s := newScene(t)
	s.State(&leasev1.GuardState{Version: "v1"})
	s.armed = true
	s.tell(7, step.Armed)
	s.tell(7, step.Mounting) // late
	c := s.agent()
	if got := s.reads(c).GetClaim(); got.GetPhase() != leasev1.Phase_PHASE_ARMED || got.GetPath() != "/p" || got.GetGroup() != "/a/b" {
		t.Errorf("%v", got)
	}
	if got := s.reads(c).GetGuard(); got.GetVersion() != "v1" {
		t.Errorf("%v", got)
	}
	s.tell(7, step.Sealed)
	if got := s.reads(c).GetClaim(); got.GetPhase() != leasev1.Phase_PHASE_SEALED || got.GetPath() != "" {
		t.Errorf("%v", got)
	}
	s.tell(8, step.Sealed) // of each claim the last that is over is enough
	later := s.agent()
	if got := s.reads(later).GetClaim(); got.GetToken().GetRevision() != 8 {
		t.Errorf("%v", got)
	}
	if got := s.reads(later).GetGuard(); got == nil {
		t.Error("more than one claim is told")
	}
}

// TestArmedIsSaidLate: before the gate is open nobody is told that it is.
func TestArmedIsSaidLate(t *testing.T) {
	s := newScene(t)
	s.tell(7, step.Armed)
	if got := s.reads(s.agent()).GetClaim(); got.GetPhase() != leasev1.Phase_PHASE_MOUNTING || got.GetPath() != "" {
		t.Errorf("%v", got)
	}
}

func TestOrders(t *testing.T) {
	s := newScene(t)
	c := s.agent()
	s.reads(c) // the guard
	stamp := &leasev1.Stamp{Generation: 1, Revision: 7}
	device := &leasev1.Want_Device{Device: &leasev1.Device{Source: "LABEL=x"}}
	about := &leasev1.Named{Claim: string(db), Token: stamp}
	for _, o := range []struct {
		order *leasev1.GuardOrder
		asked string
		why   string // of a refusal
	}{
		{&leasev1.GuardOrder{Order: &leasev1.GuardOrder_Servers{Servers: &leasev1.LeaseServers{Profile: "fast"}}}, "servers fast", ""},
		{&leasev1.GuardOrder{Order: &leasev1.GuardOrder_Want{Want: &leasev1.Want{Claim: string(db), Token: stamp, Where: device}}}, "want default/shop/db.1/data 1-7", ""},
		{&leasev1.GuardOrder{Order: &leasev1.GuardOrder_Release{Release: about}}, "release default/shop/db.1/data 1-7", ""},
		{&leasev1.GuardOrder{}, "", ""},
		{&leasev1.GuardOrder{Order: &leasev1.GuardOrder_Stopped{Stopped: about}}, "stopped default/shop/db.1/data 1-7", ""},
		{&leasev1.GuardOrder{Order: &leasev1.GuardOrder_Leave{Leave: &leasev1.Leave{Patience: int64(time.Minute)}}}, "leave 1m0s", ""},
		{&leasev1.GuardOrder{Order: &leasev1.GuardOrder_Remain{Remain: &leasev1.Remain{}}}, "remain", ""},
		{&leasev1.GuardOrder{Order: &leasev1.GuardOrder_Want{Want: &leasev1.Want{Claim: "../../etc", Token: stamp, Where: device}}}, "forget ../../etc 1-7", "is not the name of a volume"},
		{&leasev1.GuardOrder{Order: &leasev1.GuardOrder_Want{Want: &leasev1.Want{Claim: "a/b/c.1/d", Where: device}}}, "forget a/b/c.1/d 0-0", "never granted"},
		{&leasev1.GuardOrder{Order: &leasev1.GuardOrder_Want{Want: &leasev1.Want{Claim: "a/b/c.1/e", Token: stamp}}}, "forget a/b/c.1/e 1-7", "nobody said where"},
		{&leasev1.GuardOrder{Order: &leasev1.GuardOrder_Want{Want: &leasev1.Want{Claim: "a/b/c.1/f", Token: stamp, Where: &leasev1.Want_Mounted{Mounted: &leasev1.Mounted{}}}}}, "forget a/b/c.1/f 1-7", "no room"},
	} {
		if err := lease.Write(c, o.order); err != nil {
			t.Fatal(err)
		}
		if o.asked == "" {
			continue
		}
		if got := <-s.asked; got != o.asked {
			t.Errorf("%q, want %q", got, o.asked)
		}
		if o.why == "" {
			continue
		}
		if got := s.reads(c).GetClaim(); got.GetPhase() != leasev1.Phase_PHASE_REFUSED || !strings.Contains(got.GetWhy(), o.why) {
			t.Errorf("%v, want %q", got, o.why)
		}
	}
}

// TestLateWant: a want of a token that was refused, or is over, is not passed on when it comes again: nobody knows where its volume is.
func TestLateWant(t *testing.T) {
	s := newScene(t)
	c := s.agent()
	s.reads(c) // the guard
	for revision, tell := range map[uint64]step.Tell{7: {Refused: true, Why: "the machine is about to be shut down"}, 8: {Phase: step.Sealed}} {
		tell.Claim, tell.Token = db, claims.Token{Generation: 1, Revision: revision}
		s.Tell(tell)
		if got, want := <-s.asked, fmt.Sprint("forget ", db, " ", tell.Token); got != want {
			t.Errorf("%q, want %q", got, want)
		}
		late := &leasev1.Want{Claim: string(db), Token: lease.StampTo(tell.Token), Where: &leasev1.Want_Device{Device: &leasev1.Device{Source: "LABEL=x"}}}
		for _, o := range []*leasev1.GuardOrder{{Order: &leasev1.GuardOrder_Want{Want: late}}, {Order: &leasev1.GuardOrder_Remain{Remain: &leasev1.Remain{}}}} {
			if err := lease.Write(c, o); err != nil {
				t.Fatal(err)
			}
		}
		if got := <-s.asked; got != "remain" {
			t.Errorf("%q, want remain", got)
		}
	}
}
