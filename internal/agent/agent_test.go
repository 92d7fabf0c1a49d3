package agent_test

import (
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
	l.until(t, "it is gone", 20*time.Second, func() bool { return l.state("shop/lamp.1") == argosyv1.ReplicaState_REPLICA_STATE_GONE })
	if left := b.containers(t); len(left) > 0 {
		t.Errorf("containers are left: %v", left)
	}
	l.forget(a.GetKey())
	l.until(t, "nothing is said of it any more", 5*time.Second, func() bool { return l.seen["shop/lamp.1"] == nil })
	l.until(t, "its history is told", 5*time.Second, func() bool {
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
