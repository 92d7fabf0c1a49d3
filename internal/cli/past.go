package cli

import (
	"context"
	"fmt"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/timestamppb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// psAt shows what ran where at some time.
func (a *app) psAt(ctx context.Context, c *connection, r *argosyv1.ListReplicasRequest, when string) error {
	at, err := instant(when, time.Now())
	if err != nil {
		return err
	}
	res, err := c.apps().ListReplicasAt(ctx, connect.NewRequest(&argosyv1.ListReplicasAtRequest{Tenant: r.Tenant, AllTenants: r.AllTenants,
		App: r.App, Stack: r.Stack, Number: r.Number, Machine: r.Machine, At: timestamppb.New(at)}))
	if err != nil {
		return err
	}
	t := &table{header: []string{"REPLICA", "STATE", "MACHINE", "SINCE", "MESSAGE"}, wide: []string{"INCARNATION", "DECIDED", "REASON"}}
	if r.AllTenants {
		t.header = append([]string{"TENANT"}, t.header...)
	}
	var names []string
	for _, p := range res.Msg.Replicas {
		names = append(names, replicaName(p.Key))
		state, message := p.State, p.Cause
		if p.LastState != "" {
			message = fmt.Sprintf("%s; it was %s before", message, p.LastState)
		}
		if p.Removing {
			state += ", to be removed"
		}
		row := []cell{text(replicaName(p.Key)), text(state), text(orDash(p.MachineName)), text(clock(p.Since, at)), text(oneLine(message))}
		if r.AllTenants {
			row = append([]cell{text(p.Key.Tenant)}, row...)
		}
		t.add(row...)
		t.also(text(fmt.Sprint(p.Incarnation)), text(clock(p.DecidedAt, at)), text(oneLine(p.Reason)))
	}
	since := res.Msg.KnownSince
	if since != nil && since.AsTime().After(at) {
		a.note("History begins at %s: of the time before nothing is known.", since.AsTime().Local().Format(time.DateTime))
	} else if len(res.Msg.Replicas) == 0 && a.output == "table" {
		a.note("Nothing ran here at %s.", at.Local().Format(time.DateTime))
		return nil
	}
	return a.show(res.Msg, t, names)
}

// clock is a time near another, without the date when that is the same.
func clock(t *timestamppb.Timestamp, near time.Time) string {
	then := t.AsTime().Local()
	if then.Format(time.DateOnly) == near.Local().Format(time.DateOnly) {
		return then.Format(time.TimeOnly)
	}
	return then.Format(time.DateTime)
}
