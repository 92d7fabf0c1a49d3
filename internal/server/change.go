package server

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"time"

	storev1 "github.com/argosy-cluster/argosy/api/argosy/store/v1"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/pattern"
	"github.com/argosy-cluster/argosy/internal/state"
	"github.com/argosy-cluster/argosy/internal/store"
)

// outcomeLife is how long the outcome of a change is remembered.
const outcomeLife = 24 * time.Hour

// idempotencyKey is what callers may choose for one.
var idempotencyKey = pattern.New(`^[A-Za-z0-9._:+=-]{1,128}$`)

// change is an RPC that changes something. The same key with the same request happens once: the second time gets the
// first one's answer.
type change struct {
	rpc    string
	tenant string
	// app is the only one that decide reads and writes; empty when it may look at others. Then decide may be called again.
	app string
	// key is the caller's idempotency key; empty means that the caller does not mind if it happens twice.
	key string
	// request is compared with the first one's. It must hold nothing secret, and is read before decide is called.
	request proto.Message
	// response is filled by decide before it returns, or from the remembered outcome.
	response proto.Message
	decide   func(now time.Time, v *leader.View) (leader.Proposal, error)
}

func (s *Server) change(ctx context.Context, c change) error {
	if c.key != "" && !idempotencyKey.MatchString(c.key) {
		return invalid("%q cannot be an idempotency key: use up to 128 letters, digits and . _ : + = -", clip(c.key))
	}
	digest, err := requestDigest(c.request)
	if err != nil {
		return err
	}
	about := state.AppKey{}
	if c.app != "" {
		about = state.AppKey{Tenant: c.tenant, App: c.app}
	}
	err = s.leader.ProposeAbout(ctx, about, func(now time.Time, v *leader.View) (leader.Proposal, error) {
		if c.key != "" {
			if o := v.Outcome(c.tenant, c.key); o != nil {
				return leader.Proposal{}, c.remembered(o, digest)
			}
		}
		p, err := c.decide(now, v)
		if err != nil || c.key == "" {
			return p, err
		}
		// What found nothing to do is remembered too: asked again, after somebody else changed something, it would.
		op, err := c.outcome(now, digest)
		if err != nil {
			return leader.Proposal{}, err
		}
		p.Ops = append(p.Ops, op)
		return p, nil
	})
	if errors.Is(err, errRemembered) {
		return nil
	}
	return rpcError(err)
}

// errRemembered ends a proposal whose outcome is known already.
var errRemembered = errors.New("already done")

func (c *change) remembered(o *storev1.Outcome, digest []byte) error {
	if o.Rpc != c.rpc || subtle.ConstantTimeCompare(o.RequestDigest, digest) != 1 {
		return invalid("this idempotency key was used for another request: use a new key for each request")
	}
	if err := proto.Unmarshal(o.Response, c.response); err != nil {
		return fmt.Errorf("reading the remembered outcome: %w", err)
	}
	return errRemembered
}

func (c *change) outcome(now time.Time, digest []byte) (store.Op, error) {
	response, err := proto.Marshal(c.response)
	if err != nil {
		return store.Op{}, fmt.Errorf("remembering the outcome: %w", err)
	}
	return store.Put(store.OutcomeKey(c.tenant, c.key), &storev1.Outcome{
		Rpc: c.rpc, RequestDigest: digest, Response: response, At: timestamppb.New(now),
	})
}

func requestDigest(m proto.Message) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("reading the request: %w", err)
	}
	sum := sha256.Sum256(b)
	return sum[:], nil
}

// pruneBatch is how many outcomes one transaction forgets.
const pruneBatch = 256

// pruneOutcomes forgets what is older than outcomeLife. It returns once nothing is left to forget.
func (s *Server) pruneOutcomes(ctx context.Context) error {
	for {
		n := 0
		err := s.leader.Propose(ctx, func(now time.Time, v *leader.View) (leader.Proposal, error) {
			var p leader.Proposal
			v.Outcomes(func(tenant, key string, o *storev1.Outcome) {
				if len(p.Ops) < pruneBatch && now.Sub(o.GetAt().AsTime()) > outcomeLife {
					p.Ops = append(p.Ops, store.Delete(store.OutcomeKey(tenant, key)))
				}
			})
			n = len(p.Ops)
			return p, nil
		})
		if err != nil || n < pruneBatch {
			return err
		}
	}
}
