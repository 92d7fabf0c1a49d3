package server

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/state"
)

// forwardTries is how many replicas of a stack are tried when their machines do not answer.
const forwardTries = 3

type forwardStream = connect.BidiStream[argosyv1.PortForwardRequest, argosyv1.PortForwardResponse]

func (s streamService) PortForward(ctx context.Context, stream *forwardStream) error {
	first, err := firstMessage(ctx, stream)
	if err != nil {
		return err
	}
	start := first.GetStart()
	if start == nil || start.Port == 0 || start.Port > 65535 {
		return invalid("forwarding needs a replica or a stack, and a port from 1 to 65535")
	}
	places, err := s.forwardPlaces(ctx, start)
	if err != nil {
		return err
	}
	if start.Check {
		return stream.Send(opened(places[0]))
	}
	leave, err := s.takeRelay()
	if err != nil {
		return err
	}
	defer leave()
	var a *attachment
	var at source
	for _, at = range places {
		if err = s.auditForward(ctx, at, start.Port); err != nil {
			return err
		}
		work := &argosyv1.DialWork{Key: at.key, Member: at.member, Port: start.Port}
		if a, err = s.ask(ctx, at.machine, &argosyv1.Work{Kind: &argosyv1.Work_Dial{Dial: work}}); err == nil || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		return err
	}
	defer a.done()
	return relay(ctx, a, stream, func(m *argosyv1.AttachRequest) (bool, error) {
		switch d := m.Data.(type) {
		case *argosyv1.AttachRequest_Dialled:
			return false, stream.Send(opened(at))
		case *argosyv1.AttachRequest_Flow:
			return false, stream.Send(&argosyv1.PortForwardResponse{Data: &argosyv1.PortForwardResponse_Flow{Flow: d.Flow}})
		case *argosyv1.AttachRequest_End:
			return true, stream.Send(&argosyv1.PortForwardResponse{Data: &argosyv1.PortForwardResponse_End{End: d.End}})
		}
		return false, nil
	})
}

func opened(at source) *argosyv1.PortForwardResponse {
	return &argosyv1.PortForwardResponse{Data: &argosyv1.PortForwardResponse_Opened{Opened: &argosyv1.PortForwardOpened{Key: at.key, Member: at.member}}}
}

// forwardPlaces are the containers that a request may be connected to, in the order in which to try them; at least one.
func (s *Server) forwardPlaces(ctx context.Context, start *argosyv1.PortForwardStart) ([]source, error) {
	k := start.GetKey()
	if k.GetStack() == "" {
		return nil, invalid("forwarding needs a replica or a stack, for example %s/web.1", clip(k.GetApp()))
	}
	tenant, err := s.named(ctx, k.GetTenant(), k.GetApp())
	if err != nil {
		return nil, err
	}
	sel, err := s.selector(ctx, &argosyv1.ListReplicasRequest{Tenant: tenant, App: k.App, Stack: k.Stack, Number: k.Number})
	if err != nil {
		return nil, err
	}
	list, err := s.sources(sel, start.Member)
	if err != nil {
		return nil, err
	}
	var out []source
	err = s.read(func(_ time.Time, v *leader.View) error {
		known, ready := map[state.Key]string{}, map[state.Key]bool{}
		for _, src := range list {
			key := state.KeyOf(src.key)
			member, seen := known[key]
			if !seen {
				r := v.Replica(key)
				if r == nil {
					continue
				}
				var err error
				_, containers := v.StackOf(key.StackKey(), r.Revision)
				if member, err = memberWithPort(containers, start.Member, start.Port); err != nil {
					return err
				}
				known[key] = member
				ready[key] = v.Status(r).State == argosyv1.ReplicaState_REPLICA_STATE_READY
			}
			if src.member == member && (k.Number != 0 || ready[key]) {
				out = append(out, src)
			}
		}
		if len(out) == 0 {
			return refused("no replica of %s/%s is ready: 'argosy ps %s/%s' says why", k.App, k.Stack, k.App, k.Stack)
		}
		return nil
	})
	rand.Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out[:min(len(out), forwardTries)], err
}

// memberWithPort is the container of a stack that a port means: the one that is named, the only one, or the only one that
// says it has the port.
func memberWithPort(containers []*argosyv1.ContainerSpec, member string, port uint32) (string, error) {
	if member != "" {
		return member, nil
	}
	if len(containers) == 1 {
		return containers[0].Name, nil
	}
	var with, all []string
	for _, c := range containers {
		all = append(all, c.Name)
		if slices.ContainsFunc(c.Expose, func(p *argosyv1.Port) bool { return p.Port == port && p.Protocol != argosyv1.Protocol_PROTOCOL_UDP }) ||
			slices.ContainsFunc(c.Ports, func(p *argosyv1.PublishedPort) bool {
				return p.Target == port && p.Protocol != argosyv1.Protocol_PROTOCOL_UDP
			}) {
			with = append(with, c.Name)
		}
	}
	switch {
	case len(with) == 1:
		return with[0], nil
	case len(with) > 1:
		return "", refused("several containers have port %d: name one of %s", port, strings.Join(with, ", "))
	}
	return "", refused("no container declares port %d (with expose or ports): name one of %s", port, strings.Join(all, ", "))
}

// forwardsRemembered is how long a forwarding counts as the same one, for history.
const forwardsRemembered = 10 * time.Minute

// forwards remembers who was connected to what lately: a browser opens hundreds of connections, and history is to say that
// somebody looked, not how often.
type forwards struct {
	mu    sync.Mutex
	since map[string]time.Time
}

// first says whether this is the first of its kind lately.
func (f *forwards) first(now time.Time, what string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if t, ok := f.since[what]; ok && now.Sub(t) < forwardsRemembered {
		return false
	}
	if f.since == nil || len(f.since) >= 10_000 {
		f.since = map[string]time.Time{}
	}
	f.since[what] = now
	return true
}

// auditForward records who was connected to which port of a container. What passes is not recorded.
func (s *Server) auditForward(ctx context.Context, at source, port uint32) error {
	what := fmt.Sprintf("%s %s/%s:%d", actorOf(ctx), state.KeyOf(at.key), at.member, port)
	if !s.forwards.first(time.Now(), what) {
		return nil
	}
	return s.security(ctx, at.key, at.member, "port forwarded", fmt.Sprintf("port %d", port))
}

// security records who did what to a container.
func (s *Server) security(ctx context.Context, key *argosyv1.ReplicaKey, member, what, cause string) error {
	return rpcError(s.leader.Propose(ctx, func(time.Time, *leader.View) (leader.Proposal, error) {
		return leader.Proposal{Transitions: []*argosyv1.Transition{{Kind: argosyv1.TransitionKind_TRANSITION_KIND_SECURITY,
			Replica: proto.CloneOf(key), Member: member, To: what, Cause: clip(cause), Actor: actorOf(ctx)}}}, nil
	}))
}
