package state_test

import (
	"fmt"
	"strings"
	"testing"

	"pgregory.net/rapid"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// op draws a write or a deletion of some record, now and then one that cannot be read or lies in the wrong place.
func op(t *rapid.T) store.Op {
	k := state.Key{Tenant: "default", App: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "app"), Stack: rapid.SampledFrom([]string{"x", "y"}).Draw(t, "stack"),
		Number: rapid.Uint32Range(1, 3).Draw(t, "number")}
	machine := fmt.Sprint("m", rapid.IntRange(1, 3).Draw(t, "machine"))
	rev := rapid.Uint64Range(1, 3).Draw(t, "revision")
	var out store.Op
	var err error
	switch rapid.IntRange(0, 7).Draw(t, "kind") {
	case 0:
		out, err = store.Put(store.MachineKey(machine), &argosyv1.Machine{Id: machine, Name: rapid.SampledFrom([]string{"p", "q"}).Draw(t, "name"),
			GuardKey: []byte(rapid.SampledFrom([]string{"", "k", "l"}).Draw(t, "guard"))})
	case 1:
		out, err = store.Put(store.AppKey(k.Tenant, k.App), &argosyv1.App{Tenant: k.Tenant, Name: k.App, Revision: rev})
	case 2:
		out, err = store.Put(store.RevisionKey(k.Tenant, k.App, rev), &argosyv1.Revision{Tenant: k.Tenant, App: k.App, Number: rev})
	case 3, 4:
		r := &argosyv1.Replica{Key: k.Proto(), Machine: rapid.SampledFrom([]string{"", machine}).Draw(t, "on"), Incarnation: rev}
		if rapid.Bool().Draw(t, "past") {
			r.Past = []*argosyv1.PastIncarnation{{Incarnation: rev, Machine: fmt.Sprint("m", rapid.IntRange(1, 3).Draw(t, "was"))}}
		}
		out, err = store.Put(store.ReplicaKey(k.Proto()), r)
	case 5:
		v := &argosyv1.Volume{Replica: k.Proto(), Name: "data", Machine: machine}
		if rapid.Bool().Draw(t, "shared") {
			v.Class, v.Machine, v.Grant = argosyv1.VolumeClass_VOLUME_CLASS_TIMED, "", &argosyv1.VolumeGrant{Machine: machine}
			if rapid.Bool().Draw(t, "fenced") {
				v.Fences = []*argosyv1.VolumeFence{{Machine: machine}}
			}
		}
		out, err = store.Put(store.VolumeKey(k.Proto(), "data"), v)
	case 6:
		out, err = store.Put(store.HistoryKey(rev), &argosyv1.Transition{Seq: rev})
	case 7:
		out, err = store.Put(store.LeasesKey, &storev1.Leases{Members: []string{machine}})
	}
	if err != nil {
		t.Fatal(err)
	}
	switch rapid.IntRange(0, 9).Draw(t, "how") {
	case 0, 1, 2:
		out.Value = nil
	case 3:
		// Of history only the numbers are kept.
		if !strings.HasPrefix(out.Key, store.History) {
			out.Value = []byte{0xff, 0xff}
		}
	}
	return out
}

// TestAdvancedEqualsLoaded: a mirror that was advanced by own commits and by the watch, in whatever order they are learned
// of, equals one that is loaded. Records that cannot be read are reported; the last sound one stays.
func TestAdvancedEqualsLoaded(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		mirror := state.Load(store.Snapshot{Revision: 1})
		sound := map[string][]byte{} // what a reader who skips faults has
		var echoes []store.Batch
		revision := int64(1)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			if len(echoes) > 0 && rapid.Bool().Draw(t, "echo") {
				mirror.Apply(echoes[0])
				echoes = echoes[1:]
				continue
			}
			revision++
			o := op(t)
			if o.Value == nil || len(o.Value) != 2 || o.Value[0] != 0xff {
				sound[o.Key] = o.Value
			}
			b := store.Batch{Revision: revision, Events: []store.Event{{Key: o.Key, Value: o.Value}}}
			// Somebody else's write comes by the watch only, and only after what was before it.
			if len(echoes) == 0 && rapid.IntRange(0, 3).Draw(t, "foreign") == 0 {
				mirror.Apply(b)
				continue
			}
			mirror.Committed(revision, []store.Op{o})
			echoes = append(echoes, b)
		}
		for _, b := range echoes {
			mirror.Apply(b)
		}
		snap := store.Snapshot{Revision: revision}
		for k, v := range sound {
			if v != nil {
				snap.KVs = append(snap.KVs, store.KV{Key: k, Value: v})
			}
		}
		if d := state.Diff(mirror, state.Load(snap)); d != "" {
			t.Fatalf("advanced and loaded differ: %s", d)
		}
		if mirror.Revision() != revision {
			t.Fatalf("the mirror is at revision %d, the store at %d", mirror.Revision(), revision)
		}
	})
}

// TestFaults: what cannot be used is reported with its key, and forgotten when it is mended or deleted.
func TestFaults(t *testing.T) {
	s := state.Load(store.Snapshot{})
	key := store.MachineKey("m1")
	wrong, err := store.Put(key, &argosyv1.Machine{Id: "m2"})
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range [][]byte{{0xff, 0xff}, wrong.Value} {
		s.Committed(2, []store.Op{{Key: key, Value: bad}})
		if s.FaultAt(key) == nil || s.Machine("m1") != nil {
			t.Errorf("%x: fault %v, machine %v", bad, s.FaultAt(key), s.Machine("m1"))
		}
	}
	s.Committed(3, []store.Op{{Key: key}})
	if len(s.Faults()) != 0 {
		t.Errorf("faults stay: %v", s.Faults())
	}
}

// FuzzKeys: no key and no value makes the mirror panic.
func FuzzKeys(f *testing.F) {
	for _, k := range []string{store.MachineKey("m"), store.AppKey("t", "a"), store.RevisionKey("t", "a", 1), store.HistoryKey(1), store.ClusterKey,
		store.ReplicaKey(&argosyv1.ReplicaKey{Tenant: "t", App: "a", Stack: "s", Number: 1}), store.Replicas + "a/b/c/ffffffff", store.Volumes, store.TermKey + "x"} {
		f.Add(k, []byte{}, true)
		f.Add(k, []byte{0x0a, 0x01, 'x'}, false)
	}
	f.Fuzz(func(t *testing.T, key string, value []byte, again bool) {
		s := state.Load(store.Snapshot{KVs: []store.KV{{Key: key, Value: value}}})
		if again {
			s.Committed(2, []store.Op{{Key: key}})
		}
		s.Replicas("")
		s.Take()
	})
}
