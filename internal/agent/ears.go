package agent

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/protocol"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// What servers say. session.Ears.

// Welcomed implements session.Ears.
func (a *agent) Welcomed(server string, w *argosyv1.Welcome) {
	if name := w.GetName(); name != "" && len(name) <= 253 {
		a.name.Store(&name)
	}
	if list := w.GetServers(); len(list) > 0 && len(list) <= 64 {
		if err := a.db.SetValue("servers", strings.Join(list, ",")); err != nil {
			a.log.Warn("the servers' addresses could not be kept", "error", err)
		}
	}
	if w.GetLeader() {
		if err := a.db.SetValue("leader", fmt.Sprintf("%d/%d", w.GetGeneration(), w.GetTerm())); err != nil {
			a.log.Warn("which leader was met could not be kept", "error", err)
		}
	}
	if a.cfg.Greeted != nil {
		a.cfg.Greeted(w)
	}
	if a.net != nil {
		a.net.set(place{Subnet: w.GetSubnet(), Range: w.GetSettings().GetNetworkRange()})
	}
}

// Assigned implements session.Ears: durable first, then acted on.
func (a *agent) Assigned(server string, m *argosyv1.Assignments) error {
	set := m.GetSet()[:0:0]
	for _, as := range m.GetSet() {
		if err := sound(as); err != nil {
			a.log.Error("an assignment makes no sense and is passed over", "server", server, "replica", as.GetKey().String(), "error", err)
			continue
		}
		set = append(set, as)
	}
	if err := a.db.Assign(m.GetFull(), set, m.GetRemoved()); err != nil {
		return err
	}
	a.x.Assign(m.GetFull(), set, m.GetRemoved())
	a.lookForStrays()
	if m.GetFull() {
		a.once.Do(func() { close(a.installed) })
	}
	return nil
}

// sound says what makes an assignment one that cannot be carried out at all.
func sound(as *argosyv1.Assignment) error {
	k := as.GetKey()
	switch {
	case k.GetTenant() == "" || k.GetApp() == "" || k.GetStack() == "" || k.GetNumber() == 0:
		return errors.New("it does not name a replica")
	case as.GetAppUid() == "" || as.GetIncarnation() == 0:
		return errors.New("it does not say which incarnation")
	case len(as.GetContainers())+len(as.GetUnits()) > 1000:
		return errors.New("it has more than 1000 members")
	}
	names := map[string]bool{}
	for _, c := range as.GetContainers() {
		if c.GetName() == "" || names[c.GetName()] {
			return errors.New("its members do not have names of their own")
		}
		names[c.GetName()] = true
	}
	for _, u := range as.GetUnits() {
		if !unitfile.IsName(u.GetName()) || names[u.GetName()] {
			return fmt.Errorf("%q is no unit's name, or there twice", u.GetName())
		}
		names[u.GetName()] = true
	}
	return nil
}

// Leased implements session.Ears.
func (a *agent) Leased(server string, l *argosyv1.LeaseServers) {
	if err := a.storage.Servers(l); err != nil {
		a.log.Error("whom the guard is to ask for leases cannot be taken", "server", server, "error", err)
	}
}

// Acknowledged implements session.Ears.
func (a *agent) Acknowledged(server string, seq uint64) error { return a.db.Acknowledge(seq) }

// Networked implements session.Ears.
func (a *agent) Networked(server string, n *argosyv1.NetworkUpdate) {
	if a.net == nil {
		return
	}
	a.net.update(n)
	a.net.names.told(n)
}

// Asked implements session.Ears.
func (a *agent) Asked(ctx context.Context, server string, _ argosyv1connect.AgentServiceClient, w *argosyv1.Work) {
	hc := a.flows
	if w.GetLogs() != nil || w.GetExec() != nil {
		hc = apart(a.cfg.HTTP)
	}
	a.desk.Do(ctx, argosyv1connect.NewAgentServiceClient(hc, a.cfg.Scheme+"://"+server, protocol.Client(a.cfg.Version)), w)
}

// apart is a client with connections of its own. HTTP/2 bounds what a server has not read yet for a connection as a whole: a
// reader of logs who pauses would hold up the beats of a session on the same one, and the machine would count as lost. Logs
// and commands get a connection each; streams of bytes, which bound themselves, share one.
func apart(hc *http.Client) *http.Client {
	own := *hc
	if t, ok := hc.Transport.(*http.Transport); ok {
		t = t.Clone()
		t.IdleConnTimeout = idleTime
		own.Transport = t
	}
	return &own
}

// idleTime is how long a connection for work stays without work.
const idleTime = 10 * time.Second

// Refused implements session.Ears.
func (a *agent) Refused(server string, r *argosyv1.Refusal) {
	a.log.Error("a server refused this machine", "server", server, "because", r.GetReason(), "final", r.GetFinal())
	if r.GetFinal() {
		select {
		case a.removed <- r.GetReason():
		default:
		}
	}
}
