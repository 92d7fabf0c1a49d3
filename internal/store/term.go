package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
)

// Election tells a server when it is its turn to lead. With an embedded store it follows the leadership of the server's
// own member; what makes a leader safe is never the election but the term that guards its transactions.
type Election interface {
	// Await returns when this server should lead. The channel is closed when that is over; nil means never.
	Await(ctx context.Context) (lost <-chan struct{}, err error)
}

// Alone is the election of a server that has no others beside it.
type Alone struct{}

// Await returns at once, for good.
func (Alone) Await(ctx context.Context) (<-chan struct{}, error) { return nil, ctx.Err() }

// Leadership is one server's time as leader.
type Leadership struct {
	Term   int64  // what [Txn.Term] is set to
	Number uint64 // counts leaders; grows with every change
}

// ReadTerm reads who leads. Its revision is zero when nobody has led yet.
func ReadTerm(ctx context.Context, s Store) (*storev1.Term, int64, error) {
	snap, err := s.Get(ctx, TermKey)
	if err != nil {
		return nil, 0, fmt.Errorf("reading who leads: %w", err)
	}
	term := &storev1.Term{}
	if len(snap.KVs) == 0 {
		return term, 0, nil
	}
	if err := Decode(snap.KVs[0], term); err != nil {
		return nil, 0, err
	}
	return term, snap.KVs[0].ModRevision, nil
}

// AcquireTerm makes a server the leader: it writes the next term over the one it read, so that of two servers that try
// at once one fails with a [*ConflictError], and from then on every transaction of an earlier term fails.
func AcquireTerm(ctx context.Context, s Store, server string, now time.Time) (term int64, number uint64, err error) {
	old, rev, err := ReadTerm(ctx, s)
	if err != nil {
		return 0, 0, err
	}
	next := &storev1.Term{Number: old.Number + 1, Server: server, Since: timestamppb.New(now)}
	op, err := Put(TermKey, next)
	if err != nil {
		return 0, 0, err
	}
	term, err = s.Commit(ctx, Txn{If: []Compare{{Key: TermKey, ModRevision: rev}}, Ops: []Op{op}})
	if err != nil {
		return 0, 0, fmt.Errorf("writing the term: %w", err)
	}
	return term, next.Number, nil
}

// retryPause is the time between attempts to take over while the store does not answer.
const retryPause = 200 * time.Millisecond

// Lead runs reign each time this server leads, one after another, until ctx is done or reign fails. The context of reign
// ends with its leadership; reign also ends by returning an error that wraps [ErrDeposed] or [ErrUnavailable], and is
// run again with a new term when the election says so.
func Lead(ctx context.Context, s Store, e Election, server string, reign func(context.Context, Leadership) error) error {
	for {
		lost, err := e.Await(ctx)
		if err != nil {
			return err
		}
		term, number, err := AcquireTerm(ctx, s, server, time.Now())
		if err == nil {
			err = reignUntil(ctx, lost, Leadership{Term: term, Number: number}, reign)
		}
		var conflict *ConflictError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err == nil, errors.Is(err, ErrDeposed), errors.Is(err, ErrUnavailable), errors.As(err, &conflict):
		default:
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(retryPause):
		}
	}
}

func reignUntil(ctx context.Context, lost <-chan struct{}, l Leadership, reign func(context.Context, Leadership) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if lost == nil {
		return reign(ctx, l)
	}
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		select {
		case <-lost:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := reign(ctx, l)
	cancel()
	<-watched
	select {
	case <-lost:
		// Whatever reign made of the end of its context, the cause was the loss.
		if errors.Is(err, context.Canceled) {
			return ErrDeposed
		}
	default:
	}
	return err
}
