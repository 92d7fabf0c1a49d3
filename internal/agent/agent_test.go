package agent_test

import (
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// These tests run whole agents against a real Docker Engine and a leader over real TLS and HTTP/2.

func healthy(c *argosyv1.ContainerSpec) *argosyv1.ContainerSpec {
	c.Healthcheck = &argosyv1.Healthcheck{Test: []string{"CMD", "/testprog", "check", "http://127.0.0.1:8080/health"}, Interval: durationpb.New(300 * time.Millisecond), Retries: 20}
	return c
}

func TestReplicaComesUpInOrderAndGoesAway(t *testing.T) {
	b, l := newBench(t), newLeader(t)
	mysql := healthy(b.member("mysql", "serve", ":8080", "1s"))
	mysql.Mounts = []*argosyv1.Mount{{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: "data", Target: "/data"}}
	apache := b.member("apache", "sleep", "infinity")
	apache.DependsOn = []*argosyv1.Dependency{{Container: "mysql", Condition: argosyv1.Condition_CONDITION_HEALTHY, Required: true}}
	a := b.assignment(1, mysql, apache)
	l.assign(a)
	b.start(t, b.config(l, logger(t)))
	l.ready(t, "shop/lamp.1")

	l.mu.Lock()
	o := proto.CloneOf(l.seen["shop/lamp.1"])
	l.mu.Unlock()
	if o.GetRevision() != 1 || len(o.GetMembers()) != 2 {
		t.Fatalf("observation: %v", o)
	}
	started := map[string]time.Time{}
	for _, m := range o.GetMembers() {
		started[m.GetName()] = m.GetSince().AsTime()
		if m.GetContainerId() == "" || m.GetAddress() == "" || m.GetDefinition() == "" || m.GetImageId() == "" {
			t.Errorf("member %s is reported without its container: %v", m.GetName(), m)
		}
	}
	if d := started["apache"].Sub(started["mysql"]); d < time.Second {
		t.Errorf("apache started %s after mysql, which is healthy after a second", d)
	}
	gone := proto.CloneOf(a)
	gone.Goal, gone.RemoveVolumes = argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE, true
	l.assign(gone)
	l.until(t, "it is gone", func() bool { return l.state("shop/lamp.1") == argosyv1.ReplicaState_REPLICA_STATE_GONE })
	if left := b.containers(t); len(left) > 0 {
		t.Errorf("containers are left: %v", left)
	}
	l.forget(a.GetKey())
	l.until(t, "nothing is said of it any more", func() bool { return l.seen["shop/lamp.1"] == nil })
	l.until(t, "its history is told", func() bool {
		var words []string
		for _, tr := range l.transitions {
			if tr.GetMember() == "" {
				words = append(words, tr.GetTo())
			}
		}
		return strings.Contains(strings.Join(words, " "), "starting ready stopping gone")
	})
	l.sound(t)
}

func TestChangedDefinitionRecreatesOnlyThatContainer(t *testing.T) {
	b, l := newBench(t), newLeader(t)
	mysql, apache := b.member("mysql"), b.member("apache")
	php := b.member("php")
	php.DependsOn = []*argosyv1.Dependency{{Container: "apache", Condition: argosyv1.Condition_CONDITION_STARTED, Restart: true, Required: true}}
	a := b.assignment(1, mysql, apache, php)
	l.assign(a)
	b.start(t, b.config(l, logger(t)))
	l.ready(t, "shop/lamp.1")
	before := b.containers(t)
	since := func(member string) (at time.Time) {
		for _, m := range l.seen["shop/lamp.1"].GetMembers() {
			if m.GetName() == member {
				at = m.GetSince().AsTime()
			}
		}
		return at
	}
	l.mu.Lock()
	phpBefore := since("php")
	l.mu.Unlock()

	next := proto.CloneOf(a)
	next.Revision = 2
	next.Containers[1].Environment = map[string]string{"GREETING": "hello"}
	next.Containers[1].Restart = &argosyv1.RestartPolicy{Mode: argosyv1.RestartMode_RESTART_MODE_ON_FAILURE} // is the agent's, changes nothing
	l.assign(next)
	l.until(t, "revision 2 is ready", func() bool {
		return l.seen["shop/lamp.1"].GetRevision() == 2 && l.state("shop/lamp.1") == argosyv1.ReplicaState_REPLICA_STATE_READY && since("php").After(phpBefore)
	})
	after := b.containers(t)
	if after["mysql.1"] != before["mysql.1"] || after["php.1"] != before["php.1"] {
		t.Errorf("containers whose definition did not change were recreated: %v → %v", before, after)
	}
	if after["apache.1"] == before["apache.1"] {
		t.Error("the container whose definition changed was not recreated")
	}

	again := proto.CloneOf(next)
	again.Restart = 1
	l.assign(again)
	l.until(t, "the restart is done", func() bool {
		return l.seen["shop/lamp.1"].GetRestart() == 1 && l.state("shop/lamp.1") == argosyv1.ReplicaState_REPLICA_STATE_READY
	})
	for name, id := range b.containers(t) {
		if id == after[name] {
			t.Errorf("%s was not restarted", name)
		}
	}
	l.sound(t)
}

// TestBadReplicasDelayNobody: a good replica is ready while each kind of bad one is being bad.
func TestBadReplicasDelayNobody(t *testing.T) {
	b, l := newBench(t), newLeader(t)
	registry, asked := mute(t)
	endless := b.member("apache")
	endless.Image, endless.PullPolicy = registry+"/never/comes:1", argosyv1.PullPolicy_PULL_POLICY_MISSING
	absent := b.member("apache")
	absent.Image, absent.PullPolicy = "127.0.0.1:1/no/such:image", argosyv1.PullPolicy_PULL_POLICY_MISSING
	crashing := b.member("apache", "exit", "3")
	nothing := b.member("apache")
	nothing.Entrypoint = &argosyv1.Command{Args: []string{"/no/such/program"}}
	deaf := b.member("apache", "stubborn")
	port := uint32(freePort(t))
	first, second := b.member("apache"), b.member("apache")
	first.Ports = []*argosyv1.PublishedPort{{Published: port, Target: 80}}
	second.Ports = first.Ports
	waiting := b.member("apache")
	waiting.Secrets = []*argosyv1.FileRef{{Source: "db-root"}}
	lost := b.assignment(7, waiting)
	lost.MissingSecrets = []string{"db-root"}

	b.start(t, b.config(l, logger(t)))
	l.until(t, "the agent reported", func() bool { return l.full })
	l.assign(b.assignment(1, absent), b.assignment(2, crashing), b.assignment(3, nothing), b.assignment(4, deaf), b.assignment(5, first), lost, b.assignment(9, endless))
	l.ready(t, "shop/lamp.4")
	l.ready(t, "shop/lamp.5")
	l.assign(b.assignment(6, second))
	select {
	case <-asked:
	case <-time.After(patience):
		t.Fatal("nobody asks the registry that never answers")
	}
	l.assign(b.assignment(8, b.member("apache")))
	l.ready(t, "shop/lamp.8")
	says := func(name, what string) {
		t.Helper()
		l.until(t, name+" says: "+what, func() bool { return strings.Contains(l.seen[name].GetMessage(), what) })
	}
	says("shop/lamp.1", "image 127.0.0.1:1/no/such:image cannot be had now: its registry does not answer")
	says("shop/lamp.2", "exited with code 3")
	says("shop/lamp.3", "its command cannot be run")
	says("shop/lamp.6", "is already in use by something else")
	says("shop/lamp.7", "secret db-root does not exist; set it with: argosy secret set db-root")
	l.until(t, "the crashing one is tried again and again", func() bool {
		m := l.seen["shop/lamp.2"].GetMembers()
		return len(m) == 1 && m[0].GetRestarts() >= 3 && m[0].GetState() == argosyv1.MemberState_MEMBER_STATE_BACKOFF && m[0].GetRetryAt() != nil
	})
	l.sound(t)
}

// mute is a registry that takes connections and never answers, which the Engine bears for ten seconds or more; asked is closed at
// the first.
func mute(t *testing.T) (address string, asked <-chan struct{}) {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	came, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		var held []net.Conn
		for {
			conn, err := listener.Accept()
			if err != nil {
				for _, c := range held {
					c.Close()
				}
				return
			}
			if held = append(held, conn); len(held) == 1 {
				close(came)
			}
		}
	}()
	t.Cleanup(func() {
		listener.Close()
		<-ended
	})
	return listener.Addr().String(), came
}

func TestRestartedAgentTouchesNothing(t *testing.T) {
	b, l := newBench(t), newLeader(t)
	a := b.assignment(1, healthy(b.member("mysql", "serve")), b.member("apache"))
	l.assign(a, b.assignment(2, b.member("apache")))
	stop := b.start(t, b.config(l, logger(t)))
	l.ready(t, "shop/lamp.1")
	l.ready(t, "shop/lamp.2")
	before := b.containers(t)
	stop()
	if after := b.containers(t); len(after) != len(before) {
		t.Fatalf("stopping the agent left %v of %v", after, before)
	}
	n, restarted := len(l.transitions), time.Now()
	stop = b.start(t, b.config(l, logger(t)))
	l.until(t, "the second agent reported", func() bool { return l.full && l.session == 2 && len(l.seen) == 2 })
	l.ready(t, "shop/lamp.1")
	beats := l.beats
	l.until(t, "it went on for a while", func() bool { return l.beats > beats+10 })
	for name, id := range b.containers(t) {
		if before[name] != id {
			t.Errorf("%s was %s and is %s", name, before[name], id)
		}
	}
	l.mu.Lock()
	for _, tr := range l.transitions {
		if tr.GetAt().AsTime().Before(restarted) || tr.GetReplica() == nil {
			continue // of before, or of the Engine, which a busy host keeps from answering now and then
		}
		t.Errorf("the restart of the agent made a transition: %v", tr)
	}
	l.mu.Unlock()

	// While no agent runs, one container ends and another is removed by hand.
	stop()
	if err := exec.Command("docker", "rm", "-f", before["apache.2"]).Run(); err != nil {
		t.Fatal(err)
	}
	if err := exec.Command("docker", "kill", before["apache.1"]).Run(); err != nil {
		t.Fatal(err)
	}
	b.start(t, b.config(l, logger(t)))
	l.until(t, "both are back", func() bool {
		return l.session == 3 && l.full && l.state("shop/lamp.1") == argosyv1.ReplicaState_REPLICA_STATE_READY && l.state("shop/lamp.2") == argosyv1.ReplicaState_REPLICA_STATE_READY
	})
	l.until(t, "the history tells of the kill", func() bool {
		for _, tr := range l.transitions[n:] {
			if tr.GetMember() == "apache" && tr.GetExitCode() == 137 {
				return true
			}
		}
		return false
	})
	l.sound(t)
}

func TestMachineStartsAloneAndSettlesWhatNobodyWants(t *testing.T) {
	b, l := newBench(t), newLeader(t)
	l.assign(b.assignment(1, b.member("apache")), b.assignment(2, b.member("apache")))
	stop := b.start(t, b.config(l, logger(t)))
	l.ready(t, "shop/lamp.1")
	l.ready(t, "shop/lamp.2")
	stop()
	for _, id := range b.containers(t) {
		if err := exec.Command("docker", "rm", "-f", id).Run(); err != nil {
			t.Fatal(err)
		}
	}
	// No server answers: the agent starts what it had, after its grace.
	cfg := b.config(l, logger(t))
	cfg.Servers = []string{"127.0.0.1:1"}
	stop = b.start(t, cfg)
	eventually(t, "both run again", func() bool { return len(b.running(t)) == 2 })
	stop()
	// Meanwhile the leader moved one of them elsewhere.
	l.mu.Lock()
	delete(l.wanted, "shop/lamp.2")
	l.mu.Unlock()
	b.start(t, b.config(l, logger(t)))
	eventually(t, "the one that nobody wants is gone", func() bool { c := b.containers(t); return len(c) == 1 && c["apache.1"] != "" })
	l.until(t, "its end is told", func() bool { return slices.Contains(l.gone, "shop/lamp.2") })
	l.sound(t)
}

func TestSecondIncarnationWaitsForTheFirst(t *testing.T) {
	b, l := newBench(t), newLeader(t)
	old := b.member("mysql", "stubborn")
	l.assign(b.assignment(1, old))
	b.start(t, b.config(l, logger(t)))
	l.ready(t, "shop/lamp.1")
	next := b.assignment(1, b.member("mysql"))
	next.Incarnation = 2
	l.assign(next)
	saw := false
	l.until(t, "incarnation 2 is ready", func() bool {
		o := l.seen["shop/lamp.1"]
		saw = saw || strings.Contains(o.GetMessage(), "waits for mysql of incarnation 1 to stop")
		return o.GetIncarnation() == 2 && o.GetState() == argosyv1.ReplicaState_REPLICA_STATE_READY
	})
	if !saw {
		t.Error("nobody said what incarnation 2 waited for")
	}
	if n := len(b.containers(t)); n != 1 {
		t.Errorf("%d containers are left, one should be", n)
	}
	l.sound(t)
}

func TestSecretsAndConfigsAreFiles(t *testing.T) {
	b, l := newBench(t), newLeader(t)
	m := b.member("mysql", "serve")
	m.Secrets = []*argosyv1.FileRef{{Source: "db-root"}, {Source: "tls", Target: "/etc/tls/key", Uid: "65534", Gid: "65534", Mode: 0o400}}
	m.Configs = []*argosyv1.FileRef{{Source: "site", Target: "/etc/site.conf"}}
	a := b.assignment(1, m)
	a.Secrets = []*argosyv1.SealedSecret{{Name: "db-root", Version: 1, Sealed: []byte("first")}, {Name: "tls", Version: 1, Sealed: []byte("key")}}
	a.Configs = map[string][]byte{"site": []byte("listen 80")}
	l.assign(a)
	b.start(t, b.config(l, logger(t)))
	l.ready(t, "shop/lamp.1")
	id := b.containers(t)["mysql.1"]
	reads := func(path, want string) {
		t.Helper()
		eventually(t, path+" has its content", func() bool {
			out, err := exec.Command("docker", "exec", id, "/testprog", "cat", path).CombinedOutput()
			return err == nil && string(out) == want
		})
	}
	reads("/run/secrets/db-root", "first")
	reads("/etc/tls/key", "key")
	reads("/etc/site.conf", "listen 80")
	if out, err := exec.Command("docker", "exec", "-u", "65534", id, "/testprog", "cat", "/run/secrets/db-root").CombinedOutput(); err != nil {
		t.Errorf("another user of the container cannot read a secret with mode 0444: %s", out)
	}

	next := proto.CloneOf(a)
	next.Secrets[0].Version, next.Secrets[0].Sealed = 2, []byte("second, longer")
	next.Secrets[1].Version, next.Secrets[1].Sealed = 2, []byte("k2")
	l.assign(next)
	reads("/run/secrets/db-root", "second, longer")
	reads("/etc/tls/key", "k2")
	if b.containers(t)["mysql.1"] != id {
		t.Error("a changed secret recreated the container")
	}
	out, err := exec.Command("docker", "inspect", id).CombinedOutput()
	if err != nil || strings.Contains(string(out), "second, longer") || strings.Contains(string(out), `"first`) {
		t.Errorf("the container's definition tells a secret (%v)", err)
	}

	gone := proto.CloneOf(next)
	gone.Goal = argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE
	l.assign(gone)
	l.until(t, "it is gone", func() bool { return l.state("shop/lamp.1") == argosyv1.ReplicaState_REPLICA_STATE_GONE })
	left, err := os.ReadDir(filepath.Join(b.run, "secrets"))
	if err != nil || len(left) > 0 {
		t.Errorf("secrets are left on the machine: %v %v", left, err)
	}
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(patience); !ok(); {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", patience, what)
		}
		<-time.After(50 * time.Millisecond)
	}
}

func (b *bench) running(t testing.TB) []string {
	t.Helper()
	out, err := exec.Command("docker", "ps", "-q", "--filter", "label=argosy.cluster="+b.cluster).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.Fields(string(out))
}
