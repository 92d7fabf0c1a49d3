package executor

import (
	"context"
	"log/slog"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/docker"
	"github.com/argosy-cluster/argosy/internal/agent/systemd"
)

// Engine is what the executor needs of a container engine; docker.Engine is one.
type Engine interface {
	Ping(ctx context.Context) error
	// Glance lists all containers cheaply; Look looks at one. The zero Container means that it is nobody's business.
	Glance(ctx context.Context) ([]docker.Glimpse, error)
	Look(ctx context.Context, containerID string) (core.Container, error)
	// Watch calls changed for each container to which something happens after it called ready.
	Watch(ctx context.Context, ready func(), changed func(containerID string)) error

	HaveImage(ctx context.Context, a *argosyv1.Assignment, spec *argosyv1.ContainerSpec) (docker.Image, bool, error)
	PullImage(ctx context.Context, a *argosyv1.Assignment, spec *argosyv1.ContainerSpec, note func(string)) (docker.Image, error)
	EnsureVolumes(ctx context.Context, a *argosyv1.Assignment, spec *argosyv1.ContainerSpec) error
	Create(ctx context.Context, c docker.Creation) (containerID string, err error)
	Start(ctx context.Context, containerID string) error
	Stop(ctx context.Context, containerID string, grace time.Duration) error
	// Remove removes a container that does not run, and with force whatever the engine calls it.
	Remove(ctx context.Context, containerID string, force bool) error
	RemoveVolumes(ctx context.Context, k core.Key) error
	// Probe runs a container's own health check once and says whether it passed.
	Probe(ctx context.Context, containerID string) (passed bool, err error)
}

// Units is what the executor needs of systemd; systemd.Manager is one.
type Units interface {
	// Glance, Look and Watch are as those of the Engine; a unit's id is that of its file.
	Glance(ctx context.Context) ([]systemd.Glimpse, error)
	Look(ctx context.Context, id string) (core.Container, error)
	Watch(ctx context.Context, ready func(), changed func(id string)) error

	Create(ctx context.Context, c systemd.Creation) (id string, err error)
	Start(ctx context.Context, id string) error
	Stop(ctx context.Context, id string) error
	Remove(ctx context.Context, id string) error
}

// Files puts secrets and configs where containers find them.
type Files interface {
	Write(a *argosyv1.Assignment, spec *argosyv1.ContainerSpec) error
	Mounts(a *argosyv1.Assignment, spec *argosyv1.ContainerSpec) ([]docker.File, error)
	Remove(id core.ID) error
}

// Storage is what the executor needs of whoever speaks to the machine's guard; storage.Keeper is one.
type Storage interface {
	// Claims are what is known of a replica's claims; unguarded says why no guard answers, and is empty when one does.
	Claims(k core.Key) (list []core.Claim, unguarded string)
	// Keys names the replicas of which claims are known.
	Keys() []core.Key
	// Do takes in what the guard is to be told. It does not wait, and may call Claimed.
	Do(s core.ClaimStep)
}

// Processes is what the executor needs of whoever knows whether processes are there; process.Watcher is one.
type Processes interface {
	// Gone says since when a container's process has been seen to be gone; zero while it is there, and where that is not known.
	Gone(containerID string, pid int, started time.Time) time.Time
	// Watch calls ended for each container whose process has ended, until ctx ends.
	Watch(ctx context.Context, ended func(containerID string))
	Forget(containerID string)
}

// Config of an Executor. Engine and Files are needed.
type Config struct {
	Engine Engine
	Files  Files
	// Units may be nil: the machine has no systemd, and refuses units.
	Units Units
	// Storage may be nil: the machine has no guard, and nothing with a shared volume starts.
	Storage Storage
	// Processes may be nil: the engine is believed whatever it calls running.
	Processes Processes
	// Changed is told, in order and by one goroutine, what differs from what it was told before: after is nil when nothing is
	// left of a replica that nobody wants. It must not block for long. May be nil.
	Changed func(before, after *argosyv1.ReplicaObservation)
	// Used is told of an image each time a member needs it; pulled says that it was brought here for that. May be nil.
	Used func(img docker.Image, pulled bool)
	// Trouble is told when the engine stops answering, with a plain sentence, and with an empty one when it answers again. It
	// must not block or call back. May be nil.
	Trouble func(trouble string)
	// Did is told of each step when it is over. May be nil.
	Did func(s core.Step, begin, end time.Time, err error)
	Log *slog.Logger
	// Creates and Pulls bound what is under way at once; 0 means one for each processor and two at the least, and 3. What ends is bounded more tightly: see ends.
	Creates, Pulls int
	// Resync is how often everything is listed in case an event was lost; 0 means a minute.
	Resync time.Duration
	// Memory that was kept over a restart.
	Memory core.Memory
}
