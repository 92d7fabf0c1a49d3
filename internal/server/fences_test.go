package server

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/volumesource"
)

// fenceDir is a server's directory of fence programs, with one that writes down what it is asked and fails while there is a file `broken`.
type fenceDir string

func newFenceDir(t *testing.T) fenceDir {
	t.Helper()
	d := fenceDir(t.TempDir())
	if err := os.Chmod(string(d), 0o755); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d fenceDir) install(t *testing.T) {
	t.Helper()
	path := filepath.Join(string(d), "san")
	program := "#!/bin/sh\ncd " + string(d) + "\n[ -e broken ] && { echo 'the array does not answer'; exit 4; }\n" +
		"echo \"$1 $ARGOSY_FENCE_MACHINE $ARGOSY_FENCE_VOLUME $ARGOSY_FENCE_SOURCE\" >> asked\n"
	if err := os.WriteFile(path, []byte(program), 0o755); err != nil {
		t.Fatal(err)
	}
}

func (d fenceDir) breaks(t *testing.T, yes bool) {
	t.Helper()
	path, err := filepath.Join(string(d), "broken"), error(nil)
	if yes {
		err = os.WriteFile(path, nil, 0o600)
	} else {
		err = os.Remove(path)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func (d fenceDir) asked() string {
	text, _ := os.ReadFile(filepath.Join(string(d), "asked"))
	return string(text)
}

// keeper is a machine with a guard, as far as servers see: it acquires what it is granted and renews it, while it is up.
type keeper struct {
	*fakeAgent
	g       *guardOf
	session string
	token   *argosyv1.FencingToken
	held    time.Time // when it first had what it has a token for
}

func newKeeper(t *testing.T, c *cluster, session string) *keeper {
	t.Helper()
	m := c.machine(t, facts())
	m.connect(t)
	return &keeper{fakeAgent: m, g: m.guarded(t, volumesource.Reach("LABEL=shop-1")), session: session}
}

// step takes in what it was granted, and renews it.
func (h *keeper) step(ctx context.Context) bool {
	for more := true; more; {
		select {
		case a := <-h.given:
			for _, cl := range a.GetClaims() {
				if cl.Token != nil && a.Goal == argosyv1.ReplicaGoal_REPLICA_GOAL_RUN && (h.token == nil || h.token.Revision < cl.Token.Revision) {
					h.token, h.held = cl.Token, time.Time{}
				}
			}
		default:
			more = false
		}
	}
	if h.token == nil {
		return false
	}
	ack, err := h.g.ask(ctx, h.session, &leasev1.Item{Claim: "default/shop/web.1/data", Token: &leasev1.Stamp{Generation: h.token.Generation, Revision: h.token.Revision},
		Intent: leasev1.Intent_INTENT_ACQUIRE})
	if err != nil || ack.Refused != "" || !ack.Verdicts[0].Ok {
		return false
	}
	if h.held.IsZero() {
		h.held = time.Now()
	}
	return true
}

// A volume with a fence: refused while the leader has no such program. A machine whose agent and guard are both silent is refused by the storage, as a
// real program says, and a real witness gives its claim to the next one long before the lease is over. It is granted it again only
// once the storage has taken it back.
func TestFencedVolume(t *testing.T) {
	dir := newFenceDir(t)
	c, _ := leased(t, func(cfg *Config) { cfg.FenceDir = string(dir) })
	a, b := newKeeper(t, c, "one"), newKeeper(t, c, "two")
	s := spec("shop", 1)
	s.Stacks[0].Volumes = []*argosyv1.VolumeSpec{{Name: "data", Class: argosyv1.VolumeClass_VOLUME_CLASS_FENCED, Fence: "san",
		Device: &argosyv1.DeviceSource{Device: "LABEL=shop-{replica}", Filesystem: "ext4"}}}
	_, err := c.local.apps.Apply(t.Context(), connect.NewRequest(&argosyv1.ApplyRequest{Spec: s}))
	wantError(t, err, connect.CodeFailedPrecondition, "there is no fence program "+string(dir)+"/san")
	dir.install(t)
	c.apply(t, s)

	volumes := argosyv1connect.NewVolumeServiceClient(c.local.hc, c.local.base)
	status := func() *argosyv1.VolumeStatus {
		t.Helper()
		res, err := volumes.ListVolumes(t.Context(), connect.NewRequest(&argosyv1.ListVolumesRequest{}))
		if err != nil || len(res.Msg.Volumes) != 1 {
			t.Fatal(err, res)
		}
		return res.Msg.Volumes[0]
	}
	first, second := a, b
	c.until(t, "one of the machines holds it", func() bool {
		if b.step(t.Context()) {
			first, second = b, a
		}
		return (a.step(t.Context()) || b.step(t.Context())) && status().State == argosyv1.VolumeState_VOLUME_STATE_HELD
	})
	if v := status(); v.Class != argosyv1.VolumeClass_VOLUME_CLASS_FENCED || len(v.Fenced) != 0 {
		t.Errorf("while all is well: %v", v)
	}

	// The storage does not answer at first, which is told; then it does.
	dir.breaks(t, true)
	c.until(t, "its lease is fresh", func() bool { return first.step(t.Context()) })
	silent := time.Now()
	first.hangUp()
	c.until(t, "it is told why the storage has not confirmed it", func() bool {
		second.step(t.Context())
		v := status()
		return len(v.Fenced) == 1 && v.Fenced[0].Machine == first.m.Name && v.Fenced[0].ConfirmedAt == nil && strings.Contains(v.Fenced[0].Message, "the array does not answer") &&
			strings.Contains(v.Message, "the array does not answer")
	})
	dir.breaks(t, false)
	c.until(t, "the other machine holds it", func() bool { return second.step(t.Context()) })
	took := second.held.Sub(silent)
	t.Logf("the next machine had it %.2f s after the first was heard last", took.Seconds())
	if took >= 4500*time.Millisecond {
		t.Errorf("it took %s, which is no faster than the lease", took)
	}
	want := func(verb string, h *keeper) string {
		return fmt.Sprintf("%s %s default/shop/web.1/data LABEL=shop-1\n", verb, h.m.MachineID)
	}
	if got := dir.asked(); got != want("fence", first) {
		t.Errorf("the program was asked:\n%s", got)
	}
	if v := status(); len(v.Fenced) != 1 || v.Fenced[0].ConfirmedAt == nil {
		t.Errorf("once it is confirmed: %v", v)
	}
	if first.step(t.Context()) {
		t.Error("the machine that the storage refuses has the lease still")
	}

	// The first is back, and has nothing of before. The second falls silent: the storage takes the first back before it is granted it.
	old := first.token
	first.connect(t)
	first.g = first.guarded(t, volumesource.Reach("LABEL=shop-1"))
	c.until(t, "the other is still well", func() bool { return second.step(t.Context()) })
	second.hangUp()
	c.until(t, "the first machine holds it again", func() bool { return first.step(t.Context()) && first.token.Revision > old.Revision })
	got := dir.asked()
	if !strings.Contains(got, want("allow", first)) || !strings.Contains(got, want("fence", second)) || strings.Count(got, "\n") != 3 {
		t.Errorf("the program was asked:\n%s", got)
	}
	c.until(t, "only the second is refused", func() bool { v := status(); return len(v.Fenced) == 1 && v.Fenced[0].Machine == second.m.Name })
	until(t, "history has followed", func(ctx context.Context) error {
		return c.tells(ctx, "shop", "volume data: its storage is told to refuse "+first.m.Name, "volume data: its storage has not confirmed that it refuses "+first.m.Name,
			"volume data: its storage refuses "+first.m.Name, "volume data: its storage takes "+first.m.Name+" back")
	})
}

// tells says what is not in the history of an app.
func (c *cluster) tells(ctx context.Context, app string, texts ...string) error {
	events, err := c.local.cluster.ListEvents(ctx, connect.NewRequest(&argosyv1.ListEventsRequest{App: app}))
	if err != nil {
		return err
	}
	defer events.Close()
	said := ""
	for events.Receive() {
		for _, e := range events.Msg().Events {
			said += e.To + ": " + e.Cause + "\n"
		}
	}
	for _, text := range texts {
		if !strings.Contains(said, text) {
			return fmt.Errorf("history does not say %q:\n%s", text, said)
		}
	}
	return events.Err()
}
