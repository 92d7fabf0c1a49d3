package auth

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/store"
	"github.com/argosy-cluster/argosy/internal/store/memory"
)

// The directory answers alike whether it runs or not; what differs is whom it asks.
func TestDirectory(t *testing.T) {
	m1, ann := Identity{Kind: Machine, ID: "m1"}, Identity{Kind: User, ID: "ann"}
	for _, running := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			s := memory.New()
			d := NewDirectory(s)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			if running {
				go func() { done <- d.Run(ctx) }()
			} else {
				done <- nil
			}
			check := func(what string, id Identity, key string, want Identity, unknown bool) {
				t.Helper()
				synctest.Wait()
				got, err := d.Complete(ctx, id, []byte(key))
				var ue *UnknownError
				if got != want || errors.As(err, &ue) != unknown || (err != nil) != unknown {
					t.Errorf("running %v, %s: %+v, %v", running, what, got, err)
				}
			}
			check("nobody joined", m1, "k", Identity{}, true)
			write(t, s, store.MachineKey("m1"), &argosyv1.Machine{Id: "m1", KeyDigest: []byte("k")})
			write(t, s, store.UserKey("ann"), &storev1.User{Name: "ann", Tenant: "blue", Role: "viewer", KeyDigest: []byte("a")})
			check("machine", m1, "k", m1, false)
			check("machine with another key", m1, "x", Identity{}, true)
			check("machine without a key", m1, "", Identity{}, true)
			check("user", ann, "a", Identity{Kind: User, ID: "ann", Tenant: "blue", Role: Viewer}, false)
			check("a user is no machine", Identity{Kind: Machine, ID: "ann"}, "a", Identity{}, true)
			write(t, s, store.UserKey("ann"), &storev1.User{Name: "ann", Tenant: "blue", Role: "admin", KeyDigest: []byte("a2")})
			check("user who logged in again", ann, "a2", Identity{Kind: User, ID: "ann", Tenant: "blue", Role: Admin}, false)
			check("user's earlier login", ann, "a", Identity{}, true)
			remove(t, s, store.MachineKey("m1"))
			check("removed", m1, "k", Identity{}, true)
			check("a server nobody knows", Identity{Kind: Server, ID: "s1"}, "?", Identity{}, true)
			write(t, s, store.ServerKey("s1"), &storev1.Server{Id: "s1"})
			check("server, whatever its key", Identity{Kind: Server, ID: "s1"}, "?", Identity{Kind: Server, ID: "s1"}, false)

			// While the store is away, memory answers.
			s.Inject(func(memory.Call) memory.Fault { return memory.Refused })
			synctest.Wait()
			_, err := d.Complete(ctx, ann, []byte("a2"))
			if running != (err == nil) || err != nil && !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("running %v, without the store: %v", running, err)
			}
			s.Inject(nil)
			write(t, s, store.MachineKey("m9"), &argosyv1.Machine{Id: "m9", KeyDigest: []byte("k9")})
			time.Sleep(2 * directoryRetry)
			s.Inject(func(memory.Call) memory.Fault { return memory.Refused })
			if _, err = d.Complete(ctx, Identity{Kind: Machine, ID: "m9"}, []byte("k9")); running != (err == nil) {
				t.Errorf("running %v, after the store came back: %v", running, err)
			}
			cancel()
			if err := <-done; running && !errors.Is(err, context.Canceled) {
				t.Errorf("Run: %v", err)
			}
		})
	}
}
