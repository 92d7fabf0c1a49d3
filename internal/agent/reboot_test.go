package agent_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent"
	"github.com/argosy-cluster/argosy/internal/agent/database"
	"github.com/argosy-cluster/argosy/internal/auth"
)

// TestRebootWithoutServers: a machine boots while no server answers. What its own key opens runs again, with secrets that only the
// agent's database still had, sealed; what it does not open waits, and all of it is told once a server is back.
func TestRebootWithoutServers(t *testing.T) {
	b, l := newBench(t), newLeader(t)
	private, public, err := auth.NewSealingKey()
	if err != nil {
		t.Fatal(err)
	}
	_, stranger, err := auth.NewSealingKey()
	if err != nil {
		t.Fatal(err)
	}
	const value = "only-in-memory-and-sealed"
	with := func(number uint32, key []byte) *argosyv1.Assignment {
		m := b.member("mysql", "serve")
		m.Secrets = []*argosyv1.FileRef{{Source: "db-root"}}
		a := b.assignment(number, m)
		sealed, err := auth.SealTo(key, auth.NewSecret([]byte(value)), auth.SecretContext(auth.KindSecret, "default", "db-root", 1))
		if err != nil {
			t.Fatal(err)
		}
		a.Secrets = []*argosyv1.SealedSecret{{Name: "db-root", Version: 1, Sealed: sealed}}
		return a
	}
	config := func() agent.Config {
		cfg := b.config(l, logger(t))
		cfg.SealingKey = public
		cfg.Open = func(sealed, context []byte) ([]byte, error) {
			plain, err := auth.OpenSealed(private, sealed, context)
			return plain.Reveal(), err
		}
		return cfg
	}
	l.assign(with(1, public), with(2, stranger))
	stop := b.start(t, config())
	l.ready(t, "shop/lamp.1")
	before := b.containers(t)["mysql.1"]
	stop()

	off := time.Now()
	// The power goes: containers end, memory is lost, and the next boot has another id.
	if out, err := exec.Command("docker", "kill", before).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.RemoveAll(filepath.Join(b.run, "secrets")); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(b.data, "agent.db")
	db, _, err := database.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.SetValue("boot", "the boot before"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if raw, err := os.ReadFile(path); err != nil || bytes.Contains(raw, []byte(value)) {
		t.Fatalf("the agent's database tells a secret (%v)", err)
	}
	cfg := config()
	cfg.Servers, cfg.Grace = []string{"127.0.0.1:1"}, 0
	stop = b.start(t, cfg)
	eventually(t, "the replica whose secret opens runs again, with it", func() bool {
		out, err := exec.Command("docker", "exec", b.containers(t)["mysql.1"], "/testprog", "cat", "/run/secrets/db-root").Output()
		return err == nil && string(out) == value
	})
	if n := len(b.running(t)); n != 1 {
		t.Errorf("%d containers run: one whose secret this machine cannot open must not", n)
	}
	stop()
	back := time.Now()

	// A server is back: it is told what happened while none was there, and what waits and why.
	b.start(t, config())
	l.ready(t, "shop/lamp.1")
	l.until(t, "what cannot be opened says so", func() bool {
		o := l.seen["shop/lamp.2"]
		return o.GetState() != argosyv1.ReplicaState_REPLICA_STATE_READY && strings.Contains(o.GetMessage(), "db-root") && strings.Contains(o.GetMessage(), "another machine's key")
	})
	l.until(t, "what happened meanwhile is told, with its time", func() bool {
		for _, tr := range l.transitions {
			if at := tr.GetAt().AsTime(); tr.GetReplica().GetNumber() == 1 && tr.GetMember() == "mysql" && tr.GetTo() == "running" && at.After(off) && at.Before(back) {
				return true
			}
		}
		return false
	})
	l.sound(t)
}
