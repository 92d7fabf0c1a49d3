package cli

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// watchLines prints a line for each change of replicas, until it is interrupted. A watch that breaks begins again; what did
// not change meanwhile is not said twice.
func (a *app) watchLines(ctx context.Context, s *liveSource, members, all bool) error {
	l := &changeLines{a: a, members: members, all: all, known: map[string]*argosyv1.ReplicaStatus{}}
	said := false
	for {
		var failed error
		err := s.Replicas(ctx, func(m *argosyv1.WatchReplicasResponse) {
			said = false
			if failed == nil {
				failed = l.take(m)
			}
		})
		switch {
		case failed != nil:
			return failed
		case ctx.Err() != nil:
			return ctx.Err()
		case s.Refused(err):
			return err
		}
		if !said {
			said = true
			a.note("argosy: %s\nTrying again until it answers; what was printed may be out of date.", cmp.Or(s.Say(err), "the server ended the watch"))
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Second):
		}
	}
}

// changeLines is what was printed of each replica.
type changeLines struct {
	a            *app
	members, all bool
	known        map[string]*argosyv1.ReplicaStatus
	begun        bool
}

func (l *changeLines) name(k *argosyv1.ReplicaKey) string {
	if l.all {
		return k.GetTenant() + ":" + replicaName(k)
	}
	return replicaName(k)
}

func (l *changeLines) take(m *argosyv1.WatchReplicasResponse) error {
	if !l.begun && l.a.output == "table" {
		l.begun = true
		l.row("REPLICA", "WANTED", "STATE", "MACHINE", "MESSAGE")
	}
	gone := slices.Clone(m.Removed)
	if m.Full { // what is not in it has gone
		in := map[string]bool{}
		for _, r := range m.Replicas {
			in[l.name(r.GetReplica().GetKey())] = true
		}
		for _, name := range slices.Sorted(maps.Keys(l.known)) {
			if !in[name] {
				gone = append(gone, l.known[name].GetReplica().GetKey())
			}
		}
	}
	for _, r := range m.Replicas {
		name := l.name(r.GetReplica().GetKey())
		if old := l.known[name]; old != nil && l.said(old) == l.said(r) {
			continue
		}
		l.known[name] = r
		if err := l.print(name, r); err != nil {
			return err
		}
	}
	for _, k := range gone {
		name := l.name(k)
		if l.known[name] == nil {
			continue
		}
		delete(l.known, name)
		if l.a.output == "json" {
			if err := l.a.printJSONLine(&argosyv1.WatchReplicasResponse{Removed: []*argosyv1.ReplicaKey{k}}); err != nil {
				return err
			}
			continue
		}
		l.row(name, "-", "removed", "-", "")
	}
	return nil
}

// said is what a line says of a replica: as long as that is the same, nothing has changed for who reads it.
func (l *changeLines) said(r *argosyv1.ReplicaStatus) string {
	var b strings.Builder
	fmt.Fprintln(&b, wanted(r), r.State, r.MachineName, r.Message)
	if l.members || l.a.output == "json" {
		for _, m := range r.GetObservation().GetMembers() {
			fmt.Fprintln(&b, m.Name, m.State, m.Address, memberMessage(m))
		}
	}
	return b.String()
}

func (l *changeLines) print(name string, r *argosyv1.ReplicaStatus) error {
	if l.a.output == "json" {
		return l.a.printJSONLine(&argosyv1.WatchReplicasResponse{Replicas: []*argosyv1.ReplicaStatus{r}})
	}
	l.row(name, wanted(r), stateCell(r).text, orDash(r.MachineName), oneLine(r.Message))
	if !l.members || l.a.output == "name" {
		return nil
	}
	for _, m := range r.GetObservation().GetMembers() {
		l.row("  "+m.Name, "", memberCell(m, r.State).text, orDash(m.Address), oneLine(memberMessage(m)))
	}
	return nil
}

// row prints one line. Columns are as wide as most names need: what comes later is not known.
func (l *changeLines) row(name, wanted, state, machine, message string) {
	if l.a.output == "name" {
		fmt.Fprintln(l.a.sys.Out, name)
		return
	}
	fmt.Fprintln(l.a.sys.Out, strings.TrimRight(fmt.Sprintf("%-24s  %-8s  %-9s  %-15s  %s", name, wanted, state, machine, message), " "))
}
