package agent

import (
	"context"
	"sync"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// foresight fetches images of replicas that this machine would get if another were lost. It makes and starts nothing, and what it
// fetched goes as any image does that nothing needs.
type foresight struct {
	wake chan struct{} // 1

	mu    sync.Mutex
	wants []fetch         // in order
	tried map[string]bool // what was begun since the last list came
}

// fetch is a container whose image is wanted.
type fetch struct {
	assignment *argosyv1.Assignment
	spec       *argosyv1.ContainerSpec
}

// mostFetched bounds how many images are fetched for one list.
const mostFetched = 256

func newForesight() *foresight { return &foresight{wake: make(chan struct{}, 1)} }

// set replaces what is foreseen. A fetch that is under way goes on: the machine is about to need it, or would have.
func (f *foresight) set(list []*argosyv1.Assignment) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.wants, f.tried = nil, map[string]bool{}
	for _, a := range list {
		for _, spec := range a.GetContainers() {
			if len(f.wants) < mostFetched && spec.GetPullPolicy() != argosyv1.PullPolicy_PULL_POLICY_NEVER {
				f.wants = append(f.wants, fetch{a, spec})
			}
		}
	}
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// next is the first that was not tried; name is what the engine calls an image.
func (f *foresight) next(name func(fetch) (string, error)) (fetch, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.wants) > 0 {
		first := f.wants[0]
		f.wants = f.wants[1:]
		ref, err := name(first)
		if err != nil || f.tried[ref] {
			continue
		}
		f.tried[ref] = true
		return first, true
	}
	return fetch{}, false
}

// fetchForeseen fetches what is foreseen, one image after the other, until ctx ends. What fails is left to whoever needs it.
func (a *agent) fetchForeseen(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.foresight.wake:
		}
		for ctx.Err() == nil {
			w, ok := a.foresight.next(func(w fetch) (string, error) {
				return a.engine.Reference(w.assignment.GetKey().GetTenant(), w.spec)
			})
			if !ok {
				break
			}
			if err := a.fetch(ctx, w); err != nil && ctx.Err() == nil {
				a.log.Debug("an image that may be needed soon could not be fetched", "image", w.spec.GetImage(), "error", err)
			}
		}
	}
}

func (a *agent) fetch(ctx context.Context, w fetch) error {
	if _, found, err := a.engine.HaveImage(ctx, w.assignment, w.spec); err != nil || found {
		return err
	}
	img, err := a.engine.PullImage(ctx, w.assignment, w.spec, nil)
	if err != nil {
		return err
	}
	a.log.Info("fetched an image for what a silent machine runs", "image", w.spec.GetImage())
	a.used(img, true)
	return nil
}

// Foreseen implements session.Ears.
func (a *agent) Foreseen(_ string, f *argosyv1.Foreseen) { a.foresight.set(f.GetReplicas()) }
