package history

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/store"
)

const (
	// gather is how long after a writing the next one waits for more.
	gather = 100 * time.Millisecond
	// followPause is the time between attempts to follow a store that does not answer.
	followPause = 500 * time.Millisecond
	// catchUpTime bounds how long an answer waits for what the store has.
	catchUpTime = time.Second
)

// Fill adds transitions after one number and before another, from somewhere else than the store.
type Fill func(ctx context.Context, after, before uint64) error

// Follow keeps the database up with the store's history until ctx is done. What the store does not hold any more is asked
// of fill, which may be nil: a database that was not there for long has a gap then. It fails only when the database does.
func (db *DB) Follow(ctx context.Context, s store.Store, fill Fill, log *slog.Logger) error {
	for {
		err := db.follow(ctx, s, fill, log)
		var broken *writeError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &broken):
			return err
		case err != nil:
			log.DebugContext(ctx, "history is followed again", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(followPause):
		}
	}
}

// writeError tells trouble of the database from trouble of the store.
type writeError struct{ err error }

func (e *writeError) Error() string { return e.err.Error() }
func (e *writeError) Unwrap() error { return e.err }

func (db *DB) follow(ctx context.Context, s store.Store, fill Fill, log *slog.Logger) error {
	snap, err := s.List(ctx, store.History)
	if err != nil {
		return err
	}
	if err := db.fill(ctx, snap, fill, log); err != nil {
		return err
	}
	for chunk := range slices.Chunk(snap.KVs, batch) {
		if err := db.take(chunk, log); err != nil {
			return err
		}
	}
	return db.keepUp(ctx, s, snap.Revision+1, log)
}

// keepUp takes in what the store has from a revision on. What comes alone is written at once, and what comes after it within gather is
// written together: each writing costs as much as some dozens of transitions. Who waits in [DB.CatchUp] ends the gathering.
func (db *DB) keepUp(ctx context.Context, s store.Store, from int64, log *slog.Logger) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	came := make(chan []store.KV)
	var lost error
	go func() {
		defer close(came)
		for news, err := range s.Watch(ctx, store.History, from) {
			if err != nil {
				lost = err
				return
			}
			select {
			case came <- written(news):
			case <-ctx.Done():
				return
			}
		}
	}()
	pause := time.NewTimer(0)
	defer pause.Stop()
	for kvs := range came {
		if db.waiting.Load() > 0 {
			pause.Reset(0)
		}
		if err := db.take(more(kvs, came, pause.C, db.hurry), log); err != nil {
			return err
		}
		pause.Reset(gather)
	}
	if lost != nil {
		return lost
	}
	return ctx.Err()
}

// more adds what comes until a time, until somebody is in a hurry, or until it is enough for one transaction.
func more(kvs []store.KV, came <-chan []store.KV, until <-chan time.Time, hurry <-chan struct{}) []store.KV {
	for len(kvs) < batch {
		select {
		case next, open := <-came:
			if !open {
				return kvs
			}
			kvs = append(kvs, next...)
		case <-until:
			return kvs
		case <-hurry:
			return kvs
		}
	}
	return kvs
}

func written(news store.Batch) (kvs []store.KV) {
	for _, e := range news.Events {
		if e.Value != nil {
			kvs = append(kvs, store.KV{Key: e.Key, Value: e.Value})
		}
	}
	return kvs
}

// fill closes the gap between what the database has and what the store still holds. What nobody has stays missing.
func (db *DB) fill(ctx context.Context, snap store.Snapshot, fill Fill, log *slog.Logger) error {
	last, err := db.Last()
	if err != nil {
		return &writeError{err}
	}
	if fill == nil || len(snap.KVs) == 0 {
		return nil
	}
	first := &argosyv1.Transition{}
	if err := store.Decode(snap.KVs[0], first); err != nil || first.GetSeq() <= last+1 {
		return nil //nolint:nilerr // what cannot be read is passed over when it is taken
	}
	if err := fill(ctx, last, first.GetSeq()); err != nil {
		log.WarnContext(ctx, "a part of the history is missing here", "after", last, "before", first.GetSeq(), "error", err)
	}
	return nil
}

// take keeps records of the store. One that cannot be read is passed over: it must not keep the rest from being kept.
func (db *DB) take(kvs []store.KV, log *slog.Logger) error {
	var transitions []*argosyv1.Transition
	for _, kv := range kvs {
		t := &argosyv1.Transition{}
		if err := store.Decode(kv, t); err != nil {
			log.Error("a transition is lost", "error", err)
			continue
		}
		transitions = append(transitions, t)
	}
	if err := db.Add(transitions...); err != nil {
		return &writeError{err}
	}
	return nil
}

// CatchUp waits until the database has the transition of a number, which the store has: whoever changed something and then asks what
// happened finds it. It does not wait longer than catchUpTime, since a number may be missing for ever; the database answers with what it
// has then.
func (db *DB) CatchUp(ctx context.Context, seq uint64) error {
	changed, stop := db.Subscribe()
	defer stop()
	db.waiting.Add(1)
	defer db.waiting.Add(-1)
	patience := time.NewTimer(catchUpTime)
	defer patience.Stop()
	for {
		last, err := db.Last()
		if err != nil || last >= seq {
			return err
		}
		select {
		case db.hurry <- struct{}{}:
		default: // it is being told already
		}
		select {
		case <-changed:
		case <-patience.C:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
