package robustness

import (
	"sync"
	"time"
)

// Kind is what a client asks for.
type Kind string

// The kinds.
const (
	Apply  Kind = "apply"
	Scale  Kind = "scale"
	Delete Kind = "delete"
	Read   Kind = "read"
)

// Outcome is how a request ended.
type Outcome string

// The outcomes. Unknown is a request that may have been carried out, or may be yet, or not.
const (
	Done     Outcome = "done"
	NotFound Outcome = "not found"
	Deleting Outcome = "is being deleted"
	Unknown  Outcome = "unknown"
)

// Result is what a client was told. Revision and Count are those of the app after Apply and Scale, and as a Read saw them.
type Result struct {
	Outcome  Outcome
	Revision uint64
	Count    uint32
	Changed  bool // by Apply and Scale: a new revision was made
	Deleting bool // a Read saw an app that is being deleted
}

// Operation is one request, with all its repetitions under one idempotency key.
type Operation struct {
	Client       int
	App          string
	Kind         Kind
	Count        uint32        // that Apply and Scale ask for
	Call, Return time.Duration // since the history began
	Result       Result
}

// History is what clients asked and were told. Its methods may be called from many goroutines.
type History struct {
	mu    sync.Mutex
	begun time.Time
	ops   []*Operation
}

// NewHistory begins now.
func NewHistory() *History { return &History{begun: time.Now()} }

// Begin notes a request that is about to be made. It counts as unknown until End.
func (h *History) Begin(client int, app string, kind Kind, count uint32) *Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	op := &Operation{Client: client, App: app, Kind: kind, Count: count, Call: time.Since(h.begun), Result: Result{Outcome: Unknown}}
	h.ops = append(h.ops, op)
	return op
}

// End notes the answer.
func (h *History) End(op *Operation, r Result) {
	h.mu.Lock()
	defer h.mu.Unlock()
	op.Return, op.Result = time.Since(h.begun), r
}

// Operations are those so far, in the order of their calls.
func (h *History) Operations() []Operation {
	h.mu.Lock()
	defer h.mu.Unlock()
	out := make([]Operation, len(h.ops))
	for i, op := range h.ops {
		out[i] = *op
	}
	return out
}
