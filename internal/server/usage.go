package server

import (
	"context"
	"slices"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/state"
)

// How often a watcher of usage hears of it.
const (
	usageEvery      = 2 * time.Second
	usageEveryLeast = time.Second
)

// WatchUsage tells what changed since it last did. A replica that uses what it used before costs nothing. It runs at the
// leader, whichever server was asked, so that the leader knows whether anybody watches.
func (s clusterService) WatchUsage(ctx context.Context, r *connect.Request[argosyv1.WatchUsageRequest], out *connect.ServerStream[argosyv1.WatchUsageResponse]) error {
	sel, err := s.selector(ctx, &argosyv1.ListReplicasRequest{Tenant: r.Msg.Tenant, AllTenants: r.Msg.AllTenants, App: r.Msg.App,
		Stack: r.Msg.Stack, Number: r.Msg.Number, Machine: r.Msg.Machine})
	if err != nil {
		return err
	}
	every := usageEvery
	if r.Msg.Every != nil && r.Msg.Every.AsDuration() != 0 {
		every = max(r.Msg.Every.AsDuration(), usageEveryLeast)
	}
	defer s.leader.WatchUsage()()
	w := &usageWatch{s: s.Server, sel: sel, members: r.Msg.Members}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		res, err := w.next()
		if err == nil {
			err = s.stillLeads(ctx)
		}
		if err != nil {
			return err
		}
		if res != nil {
			if err := out.Send(res); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// usageWatch is what a watcher was told.
type usageWatch struct {
	s       *Server
	sel     selector
	members bool
	// leader is the number of the leader that told it; another's tale begins anew.
	leader uint64
	begun  bool
	// sent holds, by machine, what was sent of each replica.
	sent map[string]*sentUsage
}

type sentUsage struct {
	at       time.Time
	replicas map[state.Key]usageSum
}

// usageSum is what decides whether a replica's usage changed.
type usageSum struct {
	cpu, memory                   int64
	rated                         bool
	received, sent, read, written int64
}

func sumOf(u *argosyv1.ReplicaUsage) usageSum {
	r := u.GetRate()
	return usageSum{u.GetCpuMilli(), u.GetMemory(), r != nil, r.GetNetworkReceived(), r.GetNetworkSent(), r.GetDiskRead(), r.GetDiskWritten()}
}

// next is the next message, nil when nobody reported. The leader is held up for one machine's replicas at a time.
func (w *usageWatch) next() (*argosyv1.WatchUsageResponse, error) {
	res := &argosyv1.WatchUsageResponse{}
	var due []string
	err := w.s.read(func(now time.Time, v *leader.View) error {
		if w.sel.r.Machine != "" {
			m, err := findMachine(v, w.sel.r.Machine)
			if err != nil {
				return err
			}
			w.sel.machine = m.Id
		}
		if !w.begun || w.leader != v.Number() {
			res.Full, w.begun, w.leader, w.sent = true, true, v.Number(), map[string]*sentUsage{}
		}
		for id := range w.sent {
			if v.Machine(id) == nil {
				delete(w.sent, id)
			}
		}
		for _, m := range v.Machines() {
			at := v.UsageAt(m.Id)
			if before := w.sent[m.Id]; at.IsZero() || before != nil && before.at.Equal(at) || w.sel.machine != "" && w.sel.machine != m.Id {
				continue
			}
			res.Machines = append(res.Machines, &argosyv1.MachineReport{Id: m.Id, Name: m.Name, Usage: v.MachineUsage(m.Id), Age: durationpb.New(max(now.Sub(at), 0))})
			due = append(due, m.Id)
		}
		return nil
	})
	if err != nil || (!res.Full && len(res.Machines) == 0) {
		return nil, err
	}
	for _, id := range due {
		if err := w.s.read(func(_ time.Time, v *leader.View) error { w.machine(v, id, res); return nil }); err != nil {
			return nil, err
		}
	}
	slices.SortFunc(res.Machines, func(a, b *argosyv1.MachineReport) int { return naturalCompare(a.Name, b.Name) })
	return res, nil
}

// machine adds the replicas of a machine whose usage is not what was sent. One that uses nothing any more is sent as that.
func (w *usageWatch) machine(v *leader.View, id string, res *argosyv1.WatchUsageResponse) {
	before := w.sent[id]
	now := &sentUsage{at: v.UsageAt(id), replicas: map[state.Key]usageSum{}}
	w.sent[id] = now
	for _, r := range v.MachineReplicas(id) {
		if !w.sel.has(r) {
			continue
		}
		k, u := state.KeyOf(r.Key), v.ReplicaUsage(r)
		var was usageSum
		known := false
		if before != nil {
			was, known = before.replicas[k]
		}
		switch {
		case u == nil && !known:
			continue
		case u == nil:
			u = &argosyv1.ReplicaUsage{Key: r.Key}
		default:
			now.replicas[k] = sumOf(u)
			if known && was == now.replicas[k] && !w.members {
				continue
			}
			if !w.members {
				u.Members = nil
			}
		}
		res.Replicas = append(res.Replicas, u)
	}
}
