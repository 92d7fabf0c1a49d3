package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/freeport"
	"github.com/argosy-cluster/argosy/internal/lease"
)

// TestMain lets the test executable be argosy-witness.
func TestMain(m *testing.M) {
	if os.Getenv("BE_ARGOSY_WITNESS") != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func command(args ...string) *exec.Cmd {
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), "BE_ARGOSY_WITNESS=1")
	return cmd
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--help"}, 0, "--server-id 6f1c"},
		{[]string{"--version"}, 0, "argosy-witness "},
		{nil, 2, "either --server-dir or --server-id is needed"},
		{[]string{"--server-id", "a", "b"}, 2, `nothing beside flags is understood: ["b"]`},
		{[]string{"--server-id", "a", "--server-dir", "d"}, 2, "either --server-dir or --server-id is needed"},
		{[]string{"--nonsense"}, 2, "not defined: -nonsense"},
		{[]string{"--server-id", "a", "--timing", "slow"}, 1, "choose default, fast or safe"},
	} {
		cmd := command(c.args...)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != c.code || !strings.Contains(string(out), c.says) {
			t.Errorf("%q: code %d, want %d with %q:\n%s", c.args, cmd.ProcessState.ExitCode(), c.code, c.says, out)
		}
	}
}

// server speaks to a witness that runs as a process.
type server struct {
	t      *testing.T
	dir    string
	port   int
	cmd    *exec.Cmd
	conn   net.Conn
	stderr bytes.Buffer
}

func (s *server) start() {
	s.t.Helper()
	socket := filepath.Join(s.dir, "s")
	s.cmd = command("--server-id", "s1", "--dir", filepath.Join(s.dir, "d"), "--listen", fmt.Sprintf("127.0.0.1:%d", s.port), "--socket", socket, "--timing", "fast")
	s.cmd.Stderr = &s.stderr
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	for limit := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		c, err := net.Dial("unix", socket)
		if err == nil {
			s.conn = c
			return
		}
		if time.Now().After(limit) {
			s.t.Fatalf("it does not answer: %v\n%s", err, s.stderr.String())
		}
	}
}

func (s *server) kill() {
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait()
	_ = s.conn.Close()
}

func (s *server) order(o *leasev1.Order) *leasev1.Report {
	s.t.Helper()
	rep := &leasev1.Report{}
	if err := lease.Write(s.conn, o); err != nil {
		s.t.Fatal(err, s.stderr.String())
	}
	if err := lease.Read(s.conn, rep); err != nil || rep.Refused != "" {
		s.t.Fatal(err, rep.GetRefused(), s.stderr.String())
	}
	return rep
}

func (s *server) look() *leasev1.Report {
	return s.order(&leasev1.Order{Order: &leasev1.Order_Look{Look: &leasev1.Look{}}})
}

// TestKilled: whenever it is killed, the highest token that it said yes to is what it knows when it is back.
func TestKilled(t *testing.T) {
	port, err := freeport.Take()
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, dir: t.TempDir(), port: port}
	s.start()
	t.Cleanup(func() { s.kill() })
	id, err := lease.NewIdentity()
	if err != nil {
		t.Fatal(err)
	}
	s.order(&leasev1.Order{Order: &leasev1.Order_Machines{Machines: &leasev1.Machines{Machines: []*leasev1.Machine{{Id: "m1", Key: id.Pin[:]}}}}})
	s.order(&leasev1.Order{Order: &leasev1.Order_Configure{Configure: &leasev1.Config{Epoch: &leasev1.Stamp{Generation: 1, Revision: 1}, Members: []string{"s1"}}}})
	pin, err := lease.PinOf(s.look().Key)
	if err != nil {
		t.Fatal(err)
	}
	for s.look().Silent { // its table is new: for 4.5 s it has no vote
		time.Sleep(50 * time.Millisecond)
	}
	rng := rand.New(rand.NewPCG(1, 2))
	agreed, asked := uint64(0), uint64(0)
	for range 25 {
		ended, yes := make(chan struct{}), make(chan struct{})
		go func() {
			defer close(ended)
			agreed, asked = acquire(s.port, id, pin, agreed, asked, yes)
		}()
		// However long each takes: after some tokens or none, and then at any time within the next.
		for range rng.IntN(8) {
			select {
			case <-yes:
			case <-ended:
			}
		}
		go func() {
			for {
				select {
				case <-yes:
				case <-ended:
					return
				}
			}
		}()
		time.Sleep(time.Duration(rng.IntN(4000)) * time.Microsecond)
		s.kill()
		<-ended
		s.start()
		has := uint64(0)
		for _, sight := range s.look().Sights {
			has = sight.Token.Revision
		}
		if has < agreed || has > asked {
			t.Fatalf("it said yes to token %d, was asked for %d, and knows %d\n%s", agreed, asked, has, s.stderr.String())
		}
		agreed = has // what it knows counts, said or not
	}
	if agreed < 25 {
		t.Errorf("only %d tokens were ever agreed to", agreed)
	}
	if text := s.stderr.String(); strings.Count(text, "begins anew") > 1 {
		t.Errorf("a kill made it lose its table:\n%s", text)
	}
}

// acquire asks for ever higher tokens until the witness is gone, and tells each that it gets to yes, which has to be received.
func acquire(port int, id *lease.Identity, pin lease.Pin, agreed, asked uint64, yes chan<- struct{}) (uint64, uint64) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	d := tls.Dialer{Config: id.Dial(pin)}
	c, err := d.DialContext(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return agreed, asked
	}
	defer c.Close()
	for round := uint64(1); ; round++ {
		asked = max(asked, agreed) + 1
		err := lease.Write(c, &leasev1.Renewal{Session: "one", Epoch: &leasev1.Stamp{Generation: 1, Revision: 1}, Round: round,
			Items: []*leasev1.Item{{Claim: "default/shop/db.1/data", Token: &leasev1.Stamp{Generation: 1, Revision: asked}, Intent: leasev1.Intent_INTENT_ACQUIRE}}})
		ack := &leasev1.Ack{}
		if err == nil {
			err = lease.Read(c, ack)
		}
		if err != nil {
			return agreed, asked
		}
		if ack.Refused == "" && ack.Verdicts[0].Ok {
			agreed = asked
			yes <- struct{}{}
		}
	}
}
