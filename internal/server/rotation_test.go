package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/join"
)

// holder is a machine or user with what it keeps, which renews as agents and logins do.
type holder struct {
	*clients
	source  *auth.Source
	renewer *auth.Renewer
	servers []string
	close   func()
}

func (c *cluster) holder(t *testing.T, dir string, servers []string) *holder {
	t.Helper()
	files := auth.Files{Dir: dir}
	cred, err := files.Load()
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := cred.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	h := &holder{source: auth.NewSource(cred), servers: servers}
	transport, asking := join.NewTransport(auth.ClientTLS(h.source, verifier)), join.NewTransport(auth.ClientTLS(h.source, verifier))
	h.close = func() {
		transport.CloseIdleConnections()
		asking.CloseIdleConnections()
	}
	t.Cleanup(h.close)
	hc := &http.Client{Transport: asking}
	h.clients = newClients(&http.Client{Transport: transport}, "https://"+c.addr)
	h.renewer = &auth.Renewer{Source: h.source, Files: files, Verifier: verifier, Renewed: h.close, Log: slog.New(slog.DiscardHandler),
		Renew: func(ctx context.Context, csr []byte) (auth.Issued, error) { return join.Renew(ctx, hc, h.servers, csr) }}
	return h
}

func (c *cluster) heldMachine(t *testing.T) (*holder, *join.Membership) {
	t.Helper()
	dir := t.TempDir()
	m, err := join.Machine(t.Context(), c.machineToken(t), facts(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return c.holder(t, dir, m.Servers), m
}

func (c *cluster) heldUser(t *testing.T, name string) *holder {
	t.Helper()
	dir := t.TempDir()
	m, err := join.User(t.Context(), c.token(t, &argosyv1.CreateTokenRequest{Purpose: argosyv1.TokenPurpose_TOKEN_PURPOSE_USER, User: name, Role: "viewer"}), dir)
	if err != nil {
		t.Fatal(err)
	}
	return c.holder(t, dir, m.Servers)
}

func (c *cluster) authority(ctx context.Context) (*argosyv1.AuthorityStatus, error) {
	res, err := c.local.cluster.GetAuthority(ctx, connect.NewRequest(&argosyv1.GetAuthorityRequest{}))
	if err != nil {
		return nil, err
	}
	return res.Msg, nil
}

func (c *cluster) rotate(t *testing.T) {
	t.Helper()
	until(t, "a rotation begins", func(ctx context.Context) error {
		_, err := c.local.cluster.RotateAuthority(ctx, connect.NewRequest(&argosyv1.RotateAuthorityRequest{IdempotencyKey: "rotate-" + t.Name()}))
		return err
	})
}

// phase waits until a rotation has come so far.
func (c *cluster) phase(t *testing.T, want argosyv1.RotationPhase) *argosyv1.AuthorityStatus {
	t.Helper()
	var st *argosyv1.AuthorityStatus
	until(t, want.String(), func(ctx context.Context) (err error) {
		if st, err = c.authority(ctx); err != nil {
			return err
		}
		// A server takes a step a moment after it is decided.
		if st.Phase != want || slices.ContainsFunc(st.Waiting, func(f *argosyv1.Follower) bool { return f.Kind == "server" }) {
			return fmt.Errorf("it is %v", st)
		}
		return nil
	})
	return st
}

func waitsFor(st *argosyv1.AuthorityStatus) (out []string) {
	for _, f := range st.Waiting {
		out = append(out, f.Kind+" "+f.Name)
	}
	return out
}

func (h *holder) works(ctx context.Context) error {
	_, err := h.apps.ListApps(ctx, connect.NewRequest(&argosyv1.ListAppsRequest{}))
	return err
}

// A server alone: a machine that was away in between follows when it is back, tokens from before and from in between let in, and one
// that is left behind by force is told what to do.
func TestRotation(t *testing.T) {
	t.Parallel()
	c := own(t, shortDir(t), nil)
	first := c.server.cluster.CA()
	away, _ := c.heldMachine(t)
	ana := c.heldUser(t, "ana")
	before := c.machineToken(t)
	_, err := c.local.cluster.FinishRotation(t.Context(), connect.NewRequest(&argosyv1.FinishRotationRequest{}))
	wantError(t, err, connect.CodeFailedPrecondition, "ca rotate")

	c.rotate(t)
	st := c.phase(t, argosyv1.RotationPhase_ROTATION_PHASE_RENEWING)
	if st.Current.Number != 2 || st.Other.Number != 1 || st.By != "local" || len(st.Waiting) != 2 || st.Holders != 2 || st.Followed != 0 {
		t.Fatalf("got %v", st)
	}
	_, err = c.local.cluster.FinishRotation(t.Context(), connect.NewRequest(&argosyv1.FinishRotationRequest{}))
	wantError(t, err, connect.CodeFailedPrecondition, "user ana")
	for name, token := range map[string]auth.Token{"before": before, "in between": c.machineToken(t)} {
		dir := t.TempDir()
		if _, err := join.Machine(t.Context(), token, facts(), dir); err != nil {
			t.Fatalf("a token from %s: %v", name, err)
		}
		cred, err := auth.Files{Dir: dir}.Load()
		if err != nil || len(cred.Also) != 1 || slices.Equal(cred.CA.Raw, first) {
			t.Errorf("who joins with a token from %s has %v, %v", name, cred, err)
		}
	}
	if err := ana.works(t.Context()); err != nil {
		t.Errorf("a user who has not followed: %v", err)
	}
	// A restart in between goes on.
	c.stop()
	c = own(t, c.dir, func(cfg *Config) { cfg.Listen, cfg.Advertise = c.addr, []string{c.addr} })
	if st := c.phase(t, argosyv1.RotationPhase_ROTATION_PHASE_RENEWING); len(st.Waiting) != 2 {
		t.Fatalf("after a restart: %v", st)
	}
	if err := ana.renewer.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	until(t, "ana is seen to have followed", func(ctx context.Context) error {
		st, err := c.authority(ctx)
		if err == nil && len(st.Waiting) != 1 {
			err = fmt.Errorf("waiting for %v", waitsFor(st))
		}
		return err
	})
	stuck, _ := c.heldMachine(t) // has joined since, and is not waited for
	if err := away.renewer.Once(t.Context()); err != nil {
		t.Fatal(err)
	}
	st = c.phase(t, argosyv1.RotationPhase_ROTATION_PHASE_NONE)
	if st.Current.Number != 2 || st.Other != nil || len(st.Waiting) != 0 {
		t.Errorf("afterwards: %v", st)
	}
	for name, h := range map[string]*holder{"ana": ana, "a machine that was away": away, "one that joined in between": stuck} {
		h.close()
		if err := h.renewer.Once(t.Context()); err != nil {
			t.Errorf("%s afterwards: %v", name, err)
		}
		if len(h.source.Current().Also) != 0 || slices.Equal(h.source.Current().CA.Raw, first) {
			t.Errorf("%s trusts the authority that was given up", name)
		}
	}
	_, err = join.Machine(t.Context(), before, facts(), t.TempDir())
	wantSentence(t, err, "ask for a new token")
}

// A machine that is connected hears of it in its session, and follows by itself; the session that it has goes on.
func TestConnectedMachinesFollow(t *testing.T) {
	t.Parallel()
	c := own(t, shortDir(t), nil)
	h, m := c.heldMachine(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { _ = h.renewer.Run(ctx) }() // ends with ctx only
	stream := h.agents.Session(ctx)
	for _, say := range []*argosyv1.SessionRequest{
		{Message: &argosyv1.SessionRequest_Hello{Hello: &argosyv1.Hello{BootId: "boot", SessionId: "s", ClusterId: m.Cluster, Address: m.Address,
			Capacity: &argosyv1.Capacity{CpuMilli: 4000, Memory: 8 << 30}}}},
		{Message: &argosyv1.SessionRequest_Report{Report: &argosyv1.Report{Full: true}}},
	} {
		if err := stream.Send(say); err != nil {
			t.Fatal(err)
		}
	}
	greetings := make(chan [][]byte, 16)
	go func() {
		defer close(greetings)
		for {
			res, err := stream.Receive()
			if err != nil {
				return
			}
			if w := res.GetWelcome(); w != nil {
				h.renewer.Follow(w.Authorities, w.ShowCertificate)
				greetings <- w.Authorities
			}
		}
	}()
	if first := <-greetings; len(first) != 1 || !h.source.Current().Follows(first) {
		t.Fatalf("greeted with %x", first)
	}
	before := h.source.Current()
	c.rotate(t)
	if st := c.phase(t, argosyv1.RotationPhase_ROTATION_PHASE_NONE); st.Current.Number != 2 {
		t.Fatalf("got %v", st)
	}
	until(t, "the machine trusts the new one alone", func(context.Context) error {
		if now := h.source.Current(); now.CA.Equal(before.CA) || len(now.Also) > 0 {
			return fmt.Errorf("it trusts %d, and the old one: %v", 1+len(now.Also), now.CA.Equal(before.CA))
		}
		return nil
	})
	if err := stream.Send(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Report{Report: &argosyv1.Report{}}}); err != nil {
		t.Errorf("the session has ended: %v", err)
	}
	if _, open := <-greetings; !open {
		t.Error("the session has ended")
	}
}

// A cluster slept for a year: every certificate has expired, of servers, machine and user. All servers wake at once, make their own
// anew before their stores need them, and let the others renew.
func TestAYearAsleep(t *testing.T) {
	t.Parallel()
	now := time.Now()
	s := threeSince(t, now.Add(-600*24*time.Hour))
	machine, m := s.servers[0].heldMachine(t)
	ana := s.servers[0].heldUser(t, "ana")
	past := now.Add(-365 * 24 * time.Hour)
	dirs := map[string]string{}
	for _, c := range slices.Clone(s.servers) {
		name, server := c.server.cfg.Name, c.server
		dirs[name] = c.dir
		aged(t, server.inner.Current(), auth.Files{Dir: server.cfg.DataDir}, func(csr []byte) ([]byte, error) {
			return server.cluster.IssueServer(csr, server.id, server.hosts(), past)
		})
		c.stop()
		s.drop(c)
	}
	clusterWas := machine.source.Current()
	last := func(h *holder, issue func(csr []byte) ([]byte, error)) {
		h.close()
		h.source.Set(aged(t, h.source.Current(), h.renewer.Files, issue))
	}
	issuer := s.issuer(t, dirs)
	last(machine, func(csr []byte) ([]byte, error) { return issuer.IssueMachine(csr, m.MachineID, past) })
	last(ana, func(csr []byte) ([]byte, error) { return issuer.IssueUser(csr, "ana", past) })

	s.startAll(dirs)
	s.votes(3)
	for name, h := range map[string]*holder{"the machine": machine, "ana": ana} {
		for i, c := range s.servers {
			if i == 0 {
				h.clients, h.servers = newClients(h.hc, "https://"+c.addr), nil
			}
			h.servers = append(h.servers, c.addr)
		}
		if name == "ana" {
			wantError(t, h.works(t.Context()), connect.CodeUnauthenticated, "ended on")
		}
		if err := h.renewer.Once(t.Context()); err != nil {
			t.Fatalf("%s cannot renew: %v", name, err)
		}
		if !h.source.Current().CA.Equal(clusterWas.CA) || time.Until(h.source.Current().Certificate.NotAfter) < auth.CertificateLife/2 {
			t.Errorf("%s has %v", name, h.source.Current().Certificate.NotAfter)
		}
	}
	if err := ana.works(t.Context()); err != nil {
		t.Error(err)
	}
	(&fakeAgent{clients: machine.clients, m: m, work: make(chan *argosyv1.Work, 64), given: make(chan *argosyv1.Assignment, 256), pace: make(chan time.Duration, 64)}).connect(t)
	s.servers[0].apply(t, spec("awake", 1))
	if where := s.servers[0].assigned(t, "awake"); where == "" {
		t.Error("nothing is placed")
	}
}

// aged replaces a credential by one that was issued long ago.
func aged(t *testing.T, c *auth.Credential, files auth.Files, issue func(csr []byte) ([]byte, error)) *auth.Credential {
	t.Helper()
	csr, err := auth.NewCSR(c.Key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := issue(csr)
	if err != nil {
		t.Fatal(err)
	}
	old, err := auth.NewCredential(c.Key, der, c.CA.Raw)
	if err != nil {
		t.Fatal(err)
	}
	if err := files.Save(old); err != nil {
		t.Fatal(err)
	}
	if time.Now().Before(old.Certificate.NotAfter) {
		t.Fatal("it has not expired")
	}
	return old
}

// issuer is the cluster, as it is on the disk of a server that does not run.
func (s *several) issuer(t *testing.T, dirs map[string]string) *auth.Cluster {
	t.Helper()
	for _, dir := range dirs {
		data := filepath.Join(dir, "data")
		raw, err := os.ReadFile(auth.RecordPath(data))
		if err != nil {
			t.Fatal(err)
		}
		c, err := auth.LoadCluster(raw, filepath.Join(data, "keys"))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return nil
}

// Whoever is left behind by force is told what to do, and is told so by servers that it does not trust.
func TestRotationByForce(t *testing.T) {
	t.Parallel()
	c := own(t, shortDir(t), nil)
	left, m := c.heldMachine(t)
	c.rotate(t)
	c.phase(t, argosyv1.RotationPhase_ROTATION_PHASE_RENEWING)
	if _, err := c.local.cluster.FinishRotation(t.Context(), connect.NewRequest(&argosyv1.FinishRotationRequest{Force: true})); err != nil {
		t.Fatal(err)
	}
	until(t, "the server has given it up", func(context.Context) error {
		if got := c.server.cluster.Trusts(); !slices.Equal(got, []uint32{2}) {
			return fmt.Errorf("it trusts %v", got)
		}
		return nil
	})
	until(t, "the machine is left behind", func(ctx context.Context) error {
		left.close()
		err := left.renewer.Once(ctx)
		var wrong *auth.WrongServerError
		if !errors.As(err, &wrong) {
			return fmt.Errorf("it gets %w", err)
		}
		wantSentence(t, wrong, "with a new token", m.Cluster)
		return nil
	})
}

// Three servers, one of which is away when it begins, and all of which are stopped in the middle: it goes on when they are back,
// and ends with servers and stores that trust the new authority only.
func TestRotationOfThreeServers(t *testing.T) {
	t.Parallel()
	s := threeServers(t)
	machine, _ := s.servers[0].heldMachine(t)
	_, others := s.leader()
	gone := others[0]
	gone.stop()
	s.drop(gone)
	s.servers[0].rotate(t)
	until(t, "the server that is away is waited for", func(ctx context.Context) error {
		st, err := s.servers[0].authority(ctx)
		if err == nil && (st.Phase != argosyv1.RotationPhase_ROTATION_PHASE_SPREADING || !slices.Contains(waitsFor(st), "server "+gone.server.cfg.Name)) {
			err = fmt.Errorf("%v", st)
		}
		return err
	})
	s.start(gone.dir, gone.server.cfg.Name)
	s.servers[0].phase(t, argosyv1.RotationPhase_ROTATION_PHASE_RENEWING)

	// All stopped at once and started again, in the middle.
	dirs := map[string]string{}
	for _, c := range s.servers {
		dirs[c.server.cfg.Name] = c.dir
	}
	for _, c := range slices.Clone(s.servers) {
		c.stop()
		s.drop(c)
	}
	s.startAll(dirs)
	s.votes(3)
	machine.servers = []string{s.servers[0].addr, s.servers[1].addr, s.servers[2].addr}
	until(t, "the machine renews", func(ctx context.Context) error { return machine.renewer.Once(ctx) })
	s.servers[0].phase(t, argosyv1.RotationPhase_ROTATION_PHASE_NONE)
	until(t, "all stores trust just the new authority", func(ctx context.Context) error {
		st, err := s.servers[0].authority(ctx)
		if err == nil && len(st.Waiting) > 0 {
			err = fmt.Errorf("waiting for %v", waitsFor(st))
		}
		return err
	})
	s.votes(3)
	for _, c := range s.servers {
		c.apply(t, spec("after-"+c.server.cfg.Name, 1))
		if got := c.server.cluster.Trusts(); !slices.Equal(got, []uint32{2}) {
			t.Errorf("%s trusts %v", c.server.cfg.Name, got)
		}
	}
}

// startAll starts servers at the same time: none is ready before a majority is.
func (s *several) startAll(dirs map[string]string) {
	s.t.Helper()
	started := make(chan *several)
	for name, dir := range dirs {
		go func() {
			one := &several{t: s.t}
			one.start(dir, name)
			started <- one
		}()
	}
	for range dirs {
		s.servers = append(s.servers, (<-started).servers...)
	}
}
