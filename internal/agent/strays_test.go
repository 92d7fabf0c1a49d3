package agent_test

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// TestStrays: volumes of what is not assigned any more are told, also by the next agent, stay, and are not told any more once
// somebody has them again or they are gone.
func TestStrays(t *testing.T) {
	b, l := newBench(t), newLeader(t)
	mysql := b.member("mysql")
	mysql.Mounts = []*argosyv1.Mount{{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: "data", Target: "/data"}}
	a := b.assignment(1, mysql)
	told := func(t *testing.T, what string, want ...string) {
		t.Helper()
		l.until(t, what, func() bool { return slices.Equal(l.strays, want) })
	}
	l.assign(a)
	stop := b.start(t, b.config(l, logger(t)))
	l.ready(t, "shop/lamp.1")
	l.forget(a.GetKey()) // as if nobody had ever assigned it
	told(t, "its volume belongs to nothing", "shop/lamp.1/data")
	if left := b.containers(t); len(left) > 0 {
		l.until(t, "its container is gone", func() bool { return len(b.containers(t)) == 0 })
	}
	stop()
	l.mu.Lock()
	l.strays = nil
	l.mu.Unlock()
	b.start(t, b.config(l, logger(t)))
	told(t, "the next agent tells of it", "shop/lamp.1/data")
	again := proto.CloneOf(a)
	again.Incarnation = 2
	l.assign(again)
	l.ready(t, "shop/lamp.1")
	told(t, "somebody has it again")
	gone := proto.CloneOf(again)
	gone.Goal, gone.RemoveVolumes = argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE, true
	l.assign(gone)
	l.until(t, "it is gone", func() bool { return l.state("shop/lamp.1") == argosyv1.ReplicaState_REPLICA_STATE_GONE })
	l.forget(a.GetKey())
	l.until(t, "nothing is said of it any more", func() bool { return l.seen["shop/lamp.1"] == nil })
	told(t, "and nothing is left over")
	l.sound(t)
}
