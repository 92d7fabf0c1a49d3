package server

import (
	"fmt"
	"sync"
	"testing"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// TestSameKeyHappensOnce: a request that is sent again, because its answer was lost, gets the first one's answer, whatever
// happened meanwhile.
func TestSameKeyHappensOnce(t *testing.T) {
	c := own(t, shortDir(t), nil)
	apps := c.local.apps
	apply := func(s *argosyv1.AppSpec, key string) *argosyv1.ApplyResponse {
		t.Helper()
		res, err := apps.Apply(t.Context(), connect.NewRequest(&argosyv1.ApplyRequest{Spec: s, IdempotencyKey: key}))
		if err != nil {
			t.Fatal(err)
		}
		return res.Msg
	}
	first := apply(spec("once", 1), "once-1")
	apply(spec("once", 2), "once-2")
	again := apply(spec("once", 1), "once-1")
	if !proto.Equal(first, again) || again.App.Revision != 1 {
		t.Errorf("the second time came to %v, the first to %v", again, first)
	}
	app, err := apps.GetApp(t.Context(), connect.NewRequest(&argosyv1.GetAppRequest{App: "once"}))
	if err != nil || app.Msg.Status.App.Revision != 2 {
		t.Errorf("the app is at %v, %v", app.Msg.GetStatus().GetApp(), err)
	}

	// One that changed nothing does not change anything later either.
	if same := apply(spec("once", 2), "once-3"); same.Changed {
		t.Errorf("nothing was to change: %v", same)
	}
	apply(spec("once", 3), "once-4")
	if same := apply(spec("once", 2), "once-3"); same.Changed || same.App.Revision != 2 {
		t.Errorf("a repeated request changed what came after it: %v", same)
	}

	restart := &argosyv1.RestartRequest{App: "once", IdempotencyKey: "once-5"}
	for range 3 {
		if _, err := apps.Restart(t.Context(), connect.NewRequest(restart)); err != nil {
			t.Fatal(err)
		}
	}
	app, err = apps.GetApp(t.Context(), connect.NewRequest(&argosyv1.GetAppRequest{App: "once"}))
	if err != nil || app.Msg.Status.App.Restarts["web"] != 1 {
		t.Errorf("three times the same restart came to %v, %v", app.Msg.GetStatus().GetApp().GetRestarts(), err)
	}
}

// TestKeyOfAnotherRequest: a key that was used for something else is refused, and nothing happens.
func TestKeyOfAnotherRequest(t *testing.T) {
	c := own(t, shortDir(t), nil)
	ctx := t.Context()
	c.apply(t, spec("keys", 1))
	if _, err := c.local.apps.Scale(ctx, connect.NewRequest(&argosyv1.ScaleRequest{App: "keys", Counts: map[string]uint32{"web": 2}, IdempotencyKey: "k"})); err != nil {
		t.Fatal(err)
	}
	_, err := c.local.apps.Scale(ctx, connect.NewRequest(&argosyv1.ScaleRequest{App: "keys", Counts: map[string]uint32{"web": 3}, IdempotencyKey: "k"}))
	wantError(t, err, connect.CodeInvalidArgument, "used for another request")
	_, err = c.local.apps.DeleteApp(ctx, connect.NewRequest(&argosyv1.DeleteAppRequest{App: "keys", IdempotencyKey: "k"}))
	wantError(t, err, connect.CodeInvalidArgument, "used for another request")
	_, err = c.local.apps.DeleteApp(ctx, connect.NewRequest(&argosyv1.DeleteAppRequest{App: "keys", IdempotencyKey: "a/b"}))
	wantError(t, err, connect.CodeInvalidArgument, "cannot be an idempotency key")

	// Values of secrets are told apart though they are kept nowhere.
	set := func(value string) error {
		_, err := c.local.secrets.SetSecret(ctx, connect.NewRequest(&argosyv1.SetSecretRequest{Name: "keyed", Value: []byte(value), IdempotencyKey: "s"}))
		return err
	}
	if err := set("one"); err != nil {
		t.Fatal(err)
	}
	if err := set("one"); err != nil {
		t.Errorf("the same again: %v", err)
	}
	wantError(t, set("two"), connect.CodeInvalidArgument, "used for another request")
	list, err := c.local.secrets.ListSecrets(ctx, connect.NewRequest(&argosyv1.ListSecretsRequest{}))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range list.Msg.Secrets {
		if s.Name == "keyed" && s.Version != 1 {
			t.Errorf("the secret is at version %d", s.Version)
		}
	}
}

// TestConcurrentApplies: of many who saw the same revision one wins, and the others are told.
func TestConcurrentApplies(t *testing.T) {
	c := own(t, shortDir(t), nil)
	c.apply(t, spec("race", 1))
	const many = 8
	errs := make([]error, many)
	var wg sync.WaitGroup
	for i := range many {
		wg.Go(func() {
			_, errs[i] = c.local.apps.Apply(t.Context(), connect.NewRequest(&argosyv1.ApplyRequest{Spec: spec("race", uint32(i+2)), ExpectedRevision: 1,
				IdempotencyKey: fmt.Sprintf("race-%d", i)}))
		})
	}
	wg.Wait()
	won := 0
	for _, err := range errs {
		if err == nil {
			won++
			continue
		}
		wantError(t, err, connect.CodeAborted, "app race is at revision 2, not 1: somebody changed it")
	}
	if won != 1 {
		t.Errorf("%d of %d won", won, many)
	}
}

// TestExpectations: what the caller saw is compared with what is.
func TestExpectations(t *testing.T) {
	c := own(t, shortDir(t), nil)
	ctx := t.Context()
	_, err := c.local.apps.Apply(ctx, connect.NewRequest(&argosyv1.ApplyRequest{Spec: spec("expect", 1), ExpectedRevision: 3}))
	wantError(t, err, connect.CodeAborted, "does not exist, but was expected at revision 3")
	c.apply(t, spec("expect", 1))
	_, err = c.local.apps.Apply(ctx, connect.NewRequest(&argosyv1.ApplyRequest{Spec: spec("expect", 2), MustNotExist: true}))
	wantError(t, err, connect.CodeAlreadyExists, "app expect exists already")
	_, err = c.local.apps.Scale(ctx, connect.NewRequest(&argosyv1.ScaleRequest{App: "expect", Counts: map[string]uint32{"web": 2}, ExpectedRevision: 9}))
	wantError(t, err, connect.CodeAborted, "is at revision 1, not 9")
	_, err = c.local.apps.DeleteApp(ctx, connect.NewRequest(&argosyv1.DeleteAppRequest{App: "expect", ExpectedRevision: 9}))
	wantError(t, err, connect.CodeAborted, "is at revision 1, not 9")
	_, err = c.local.apps.Scale(ctx, connect.NewRequest(&argosyv1.ScaleRequest{App: "expect", Counts: map[string]uint32{"web": 1 << 31}}))
	wantError(t, err, connect.CodeInvalidArgument, "more than the 100000 allowed")
	_, err = c.local.apps.Restart(ctx, connect.NewRequest(&argosyv1.RestartRequest{App: "expect", Number: 1}))
	wantError(t, err, connect.CodeInvalidArgument, "of which stack")
	_, err = c.local.apps.Explain(ctx, connect.NewRequest(&argosyv1.ExplainRequest{Key: &argosyv1.ReplicaKey{App: "expect", Stack: "wbe", Number: 7}}))
	wantError(t, err, connect.CodeNotFound, "has no stack wbe")
}

// TestPolicyHoldsForRPCs: who speaks the protocol gets no more than who writes a manifest.
func TestPolicyHoldsForRPCs(t *testing.T) {
	c := shared(t)
	for says, change := range map[string]func(*argosyv1.ContainerSpec){
		"reaches beyond the container":  func(s *argosyv1.ContainerSpec) { s.CapAdd = []string{"CAP_SYS_ADMIN"} },
		"weakens the container's walls": func(s *argosyv1.ContainerSpec) { s.SecurityOpt = []string{"apparmor=unconfined"} },
		"is a path of the machine": func(s *argosyv1.ContainerSpec) {
			s.Mounts = []*argosyv1.Mount{{Type: argosyv1.MountType_MOUNT_TYPE_BIND, Source: "/etc", Target: "/e"}}
		},
		"engine's socket": func(s *argosyv1.ContainerSpec) {
			s.Mounts = []*argosyv1.Mount{{Type: argosyv1.MountType_MOUNT_TYPE_BIND, Source: "/var/run/docker.sock", Target: "/e"}}
		},
	} {
		s := spec("policy", 1)
		change(s.Containers[0])
		_, err := c.local.apps.Apply(t.Context(), connect.NewRequest(&argosyv1.ApplyRequest{Spec: s}))
		wantError(t, err, connect.CodeInvalidArgument, says)
		_, err = c.local.apps.Plan(t.Context(), connect.NewRequest(&argosyv1.PlanRequest{Spec: s}))
		wantError(t, err, connect.CodeInvalidArgument, says)
	}
}
