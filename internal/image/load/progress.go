package load

import (
	"sync"

	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/image/registry"
)

// Stage is what a load is busy with.
type Stage string

// The stages, in order.
const (
	Reading Stage = "reading" // the archive: Bytes were read, Total is not known
	Sending Stage = "sending" // blobs: Bytes of Total are in the cluster
	Done    Stage = "done"
)

// Progress is how far a load is.
type Progress struct {
	Stage         Stage
	Bytes, Total  int64
	Layers        int // in the image
	Present, Sent int // layers that the cluster had, and that were sent in full
}

// step is how many bytes pass between two reports.
const step = 1 << 20

func reading(report func(Progress)) func(int64) {
	var last int64
	return func(at int64) {
		if at-last >= step {
			last = at
			report(Progress{Stage: Reading, Bytes: at})
		}
	}
}

// tracker adds up what several senders do.
type tracker struct {
	mu     sync.Mutex
	report func(Progress)
	now    Progress
	last   int64 // now.Bytes at the last report
	blobs  map[image.Digest]*tracked
	result Result
}

type tracked struct {
	at    int64
	layer bool
}

func newTracker(report func(Progress)) *tracker {
	return &tracker{report: report, now: Progress{Stage: Sending}, blobs: map[image.Digest]*tracked{}}
}

// job makes a job and counts it in.
func (t *tracker) job(e entry, diffID image.Digest, layer bool) job {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.blobs[e.digest] = &tracked{layer: layer}
	t.now.Total += e.size
	if layer {
		t.now.Layers++
		t.result.Layers++
	}
	return job{entry: e, diffID: diffID}
}

// moved notes that at bytes of d are there or on their way.
func (t *tracker) moved(d image.Digest, at int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := t.blobs[d]
	t.now.Bytes += at - b.at
	b.at = at
	if diff := t.now.Bytes - t.last; diff >= step || diff <= -step {
		t.last = t.now.Bytes
		t.report(t.now)
	}
}

// settle notes how the sending of d ended.
func (t *tracker) settle(d image.Digest, s registry.Sending, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.result.BytesSent += s.Sent
	t.result.BytesResumed += s.Resumed
	if err != nil || !t.blobs[d].layer {
		return
	}
	if s.Present {
		t.now.Present++
		t.result.LayersPresent++
	} else {
		t.now.Sent++
		t.result.LayersSent++
	}
	t.report(t.now)
}

func (t *tracker) done() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.now.Stage = Done
	t.report(t.now)
}
