package server

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/join"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/store"
)

const (
	forMachine = argosyv1.TokenPurpose_TOKEN_PURPOSE_MACHINE
	forUser    = argosyv1.TokenPurpose_TOKEN_PURPOSE_USER
)

func wantSentence(t *testing.T, err error, says ...string) {
	t.Helper()
	if err == nil {
		t.Errorf("nothing was refused; want something about %q", says)
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("got %q, want something about %q", err, s)
		}
	}
}

// TestTokens: each way in which a token can be wrong has its own sentence, and none lets anybody in.
func TestTokens(t *testing.T) {
	c := shared(t)
	token := c.machineToken(t)
	text, err := token.Encode()
	if err != nil {
		t.Fatal(err)
	}
	login, err := c.token(t, &argosyv1.CreateTokenRequest{Purpose: forUser, User: "tom", Role: "viewer", ExpiresIn: durationpb.New(time.Hour)}).Encode()
	if err != nil {
		t.Fatal(err)
	}
	for says, text := range map[string]string{
		"cut": text[:len(text)-9], "mistyped": strings.Replace(text, text[20:22], "aa", 1), "not a token": "hello", "login": login,
	} {
		_, err := auth.ParseToken(text, forMachine)
		if err == nil {
			t.Errorf("%q is taken for a token of a machine", text)
		}
		t.Logf("%s: %v", says, err)
		// Whoever skips the check of the text finds another at the server.
		if says == "login" {
			continue
		}
		_, err = c.nobody(t).join.Join(t.Context(), connect.NewRequest(&argosyv1.JoinRequest{Token: text}))
		wantError(t, err, connect.CodeInvalidArgument, "")
	}

	t.Run("used", func(t *testing.T) {
		if _, err := join.Machine(t.Context(), token, facts(), t.TempDir()); err != nil {
			t.Fatal(err)
		}
		_, err := join.Machine(t.Context(), token, facts(), t.TempDir())
		wantSentence(t, err, "was used by machine")
	})
	t.Run("expired", func(t *testing.T) {
		old, kept, err := c.server.cluster.NewToken(auth.TokenRequest{Purpose: forMachine, Servers: []string{c.addr}}, time.Now().Add(-2*time.Hour))
		if err != nil {
			t.Fatal(err)
		}
		err = c.server.leader.Propose(t.Context(), func(time.Time, *leader.View) (leader.Proposal, error) {
			ops, err := puts(record{store.TokenKey(old.ID()), kept})
			return leader.Proposal{Ops: ops}, err
		})
		if err != nil {
			t.Fatal(err)
		}
		_, err = join.Machine(t.Context(), old, facts(), t.TempDir())
		wantSentence(t, err, "expired")
	})
	t.Run("revoked", func(t *testing.T) {
		token := c.machineToken(t)
		if _, err := c.local.cluster.RevokeToken(t.Context(), connect.NewRequest(&argosyv1.RevokeTokenRequest{Id: token.ID()})); err != nil {
			t.Fatal(err)
		}
		_, err := join.Machine(t.Context(), token, facts(), t.TempDir())
		wantSentence(t, err, "token")
	})
	t.Run("no life at all", func(t *testing.T) {
		for _, life := range []time.Duration{-time.Second, 1 << 62} {
			_, err := c.local.cluster.CreateToken(t.Context(), connect.NewRequest(&argosyv1.CreateTokenRequest{Purpose: forMachine, ExpiresIn: durationpb.New(life)}))
			wantError(t, err, connect.CodeInvalidArgument, "token cannot be good for")
		}
	})
}

// TestForeignServers: a token leads to its own cluster or nowhere.
func TestForeignServers(t *testing.T) {
	c, other := shared(t), own(t, shortDir(t), nil)
	t.Run("another cluster behind the address", func(t *testing.T) {
		token := c.machineToken(t)
		token.Servers = []string{other.addr}
		_, err := join.Machine(t.Context(), token, facts(), t.TempDir())
		var wrong *auth.WrongServerError
		if !errors.As(err, &wrong) {
			t.Errorf("got %v, want a WrongServerError", err)
		}
	})
	t.Run("another cluster's token", func(t *testing.T) {
		// As if the other's server had been reached though the token names another authority: only the server can tell.
		text, err := c.machineToken(t).Encode()
		if err != nil {
			t.Fatal(err)
		}
		_, csr, err := auth.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		_, err = other.nobody(t).join.Join(t.Context(), connect.NewRequest(&argosyv1.JoinRequest{Token: text, Csr: csr}))
		wantError(t, err, connect.CodePermissionDenied, "cluster")
	})
	t.Run("a certificate of another cluster", func(t *testing.T) {
		stranger := c.user(t, "stan", "admin")
		stranger = newClients(stranger.hc, "https://"+other.addr)
		if _, err := stranger.cluster.GetCluster(t.Context(), connect.NewRequest(&argosyv1.GetClusterRequest{})); err == nil {
			t.Error("an administrator of one cluster was let into another")
		}
	})
	t.Run("the first server is away", func(t *testing.T) {
		token := c.machineToken(t)
		token.Servers = append([]string{"127.0.0.1:1"}, token.Servers...)
		if _, err := join.Machine(t.Context(), token, facts(), t.TempDir()); err != nil {
			t.Error(err)
		}
	})
	t.Run("all servers are away", func(t *testing.T) {
		token := c.machineToken(t)
		token.Servers = []string{"127.0.0.1:1", "127.0.0.1:2"}
		_, err := join.Machine(t.Context(), token, facts(), t.TempDir())
		wantSentence(t, err, "no server of the cluster could be reached", "127.0.0.1:2")
	})
}

// TestJoinAgain: a machine whose answer was lost asks again with the same key and is let in once.
func TestJoinAgain(t *testing.T) {
	c := shared(t)
	token, f, dir := c.machineToken(t), facts(), t.TempDir()
	key := filepath.Join(dir, "joining.key")
	first, err := join.Machine(t.Context(), token, f, dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(key); !os.IsNotExist(err) {
		t.Errorf("the key of the finished join is still there: %v", err)
	}
	_, err = join.Machine(t.Context(), token, f, dir)
	if !errors.Is(err, join.ErrMember) {
		t.Errorf("joining twice: %v", err)
	}

	// The answer was lost: the key is there, and nothing else.
	kept, err := auth.Files{Dir: dir}.Load()
	if err != nil {
		t.Fatal(err)
	}
	again := t.TempDir()
	writePending(t, again, kept)
	second, err := join.Machine(t.Context(), token, f, again)
	if err != nil {
		t.Fatal(err)
	}
	if second.MachineID != first.MachineID || second.Subnet != first.Subnet {
		t.Errorf("let in as %s with %s, and again as %s with %s", first.MachineID, first.Subnet, second.MachineID, second.Subnet)
	}
	list, err := c.local.machines.ListMachines(t.Context(), connect.NewRequest(&argosyv1.ListMachinesRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, m := range list.Msg.Machines {
		if m.Machine.Name == f.Name {
			n++
		}
	}
	if n != 1 {
		t.Errorf("the machine is %d times in the cluster", n)
	}
}

// TestMachinesThatCannotJoin: what a machine says of itself is checked before it is in the cluster, and its token is not
// spent by a refusal.
func TestMachinesThatCannotJoin(t *testing.T) {
	c := shared(t)
	there := facts()
	if _, err := join.Machine(t.Context(), c.machineToken(t), there, t.TempDir()); err != nil {
		t.Fatal(err)
	}
	token := c.machineToken(t)
	for _, w := range []struct {
		says   string
		change func(*join.Facts)
	}{
		{"is in the cluster already", func(f *join.Facts) { f.Name = there.Name }},
		{"has the address", func(f *join.Facts) { f.Address = there.Address }},
		{"has the address", func(f *join.Facts) { f.Address = "::ffff:" + there.Address }},
		{"overlap with routes", func(f *join.Facts) { f.Routes = []string{"192.168.0.0/16", "10.64.0.0/16"} }},
		{"is not a network", func(f *join.Facts) { f.Routes = []string{"everywhere"} }},
		{"cannot name a machine", func(f *join.Facts) { f.Name = "M 1" }},
		{"is not an address that other machines can reach", func(f *join.Facts) { f.Address = "0.0.0.0" }},
		{"is not an address that other machines can reach", func(f *join.Facts) { f.Address = "fe80::1%eth0" }},
		{"is not an address that other machines can reach", func(f *join.Facts) { f.Address = "m1.example.org" }},
		{"nothing would be left", func(f *join.Facts) { f.Declared.ReserveBytes = f.Declared.MemoryBytes }},
		{"more than a machine can have", func(f *join.Facts) { f.Declared.CPUMilli = 1 << 62 }},
		{"cannot be a label's key", func(f *join.Facts) { f.Labels = map[string]string{"machine": "x"} }},
		{"cannot be the value", func(f *join.Facts) { f.Labels = map[string]string{"rack": "a b"} }},
		{"boot id is longer", func(f *join.Facts) { f.BootID = strings.Repeat("x", 1000) }},
	} {
		f := facts()
		w.change(&f)
		_, err := join.Machine(t.Context(), token, f, t.TempDir())
		wantSentence(t, err, w.says)
	}
	if _, err := join.Machine(t.Context(), token, facts(), t.TempDir()); err != nil {
		t.Errorf("refusals have spent the token: %v", err)
	}
}

// TestCertificates: a machine renews with its own key only, and one that was removed is out. (What an expired certificate
// is good for is shown in package auth, where clocks can be set.)
func TestCertificates(t *testing.T) {
	c := shared(t)
	f := facts()
	m := c.machine(t, f)

	t.Run("another's key", func(t *testing.T) {
		_, csr, err := auth.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		_, err = m.join.Renew(t.Context(), connect.NewRequest(&argosyv1.RenewRequest{Csr: csr}))
		wantError(t, err, connect.CodePermissionDenied, "key")
	})
	t.Run("removed", func(t *testing.T) {
		if _, err := c.local.machines.RemoveMachine(t.Context(), connect.NewRequest(&argosyv1.RemoveMachineRequest{Machine: f.Name, Force: true})); err != nil {
			t.Fatal(err)
		}
		// The directory follows the store: from then on the certificate is worth nothing.
		s := m.agents.Session(t.Context())
		_ = s.Send(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Hello{Hello: &argosyv1.Hello{ClusterId: m.m.Cluster, SessionId: "s"}}})
		res, err := s.Receive()
		_ = s.CloseRequest()
		if err == nil && !res.GetRefusal().GetFinal() || err != nil && connect.CodeOf(err) != connect.CodeUnauthenticated {
			t.Errorf("a removed machine gets %v, %v", res, err)
		}
		_, csr, err := auth.NewKey()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.join.Renew(t.Context(), connect.NewRequest(&argosyv1.RenewRequest{Csr: csr})); err == nil {
			t.Error("a removed machine renews its certificate")
		}
		// A server's history follows the store, a moment behind.
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		events, err := c.local.cluster.ListEvents(ctx, connect.NewRequest(&argosyv1.ListEventsRequest{Machine: m.m.MachineID, Follow: true}))
		if err != nil {
			t.Fatal(err)
		}
		defer events.Close()
		for events.Receive() {
			for _, e := range events.Msg().Events {
				if e.To == "removed" && strings.Contains(e.Cause, f.Name) {
					return
				}
			}
		}
		t.Errorf("the machine's history does not say that it was removed: %v", events.Err())
	})
}
