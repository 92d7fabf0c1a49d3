package docker

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/containerd/errdefs"
	"github.com/moby/moby/api/types/container"
	"github.com/moby/moby/api/types/events"
	"github.com/moby/moby/api/types/network"
	"github.com/moby/moby/client"
)

// maxContainers bounds what is believed of one machine.
const maxContainers = 5000

// Glimpse is what a listing shows of a container: enough to know whether a closer look is worth it.
type Glimpse struct {
	ContainerID string
	State       core.ContainerState
	Health      core.Health
}

// Glance lists this cluster's containers in one cheap call, running or not.
func (e *Engine) Glance(ctx context.Context) ([]Glimpse, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	res, err := e.api.ContainerList(ctx, client.ContainerListOptions{All: true, Filters: e.mine()})
	if err != nil {
		return nil, fault("list containers", err)
	}
	if len(res.Items) > maxContainers {
		return nil, fmt.Errorf("the Docker Engine lists %d containers of this cluster; at most %d are believed", len(res.Items), maxContainers)
	}
	list := make([]Glimpse, 0, len(res.Items))
	for _, c := range res.Items {
		if !validID(c.ID) || c.Labels[labelCluster] != e.cfg.ClusterID {
			continue
		}
		g := Glimpse{ContainerID: c.ID, State: stateOf(c.State)}
		if g.State == core.Running {
			g.Health = healthOfStatus(c.Status)
		}
		list = append(list, g)
	}
	return list, nil
}

func (e *Engine) mine() client.Filters {
	return client.Filters{}.Add("label", labelCluster+"="+e.cfg.ClusterID)
}

// List looks at every container of this cluster. Those whose labels are not understood are logged and left out.
func (e *Engine) List(ctx context.Context) ([]core.Container, error) {
	glimpses, err := e.Glance(ctx)
	if err != nil {
		return nil, err
	}
	list := make([]core.Container, 0, len(glimpses))
	for _, g := range glimpses {
		c, err := e.Look(ctx, g.ContainerID)
		switch {
		case isKind(err, core.FaultGone):
			continue
		case err != nil:
			return nil, err
		case c.ContainerID != "":
			list = append(list, c)
		}
	}
	return list, nil
}

// Look looks at one container. A container that is not this cluster's, or whose labels are not understood, comes back as
// the zero Container without an error; one that does not exist is a Fault of kind FaultGone.
func (e *Engine) Look(ctx context.Context, id string) (core.Container, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	res, err := e.api.ContainerInspect(ctx, id, client.ContainerInspectOptions{})
	if errdefs.IsNotFound(err) {
		return core.Container{}, &core.Fault{Kind: core.FaultGone, Message: "the container does not exist any more", Err: err}
	}
	if err != nil {
		return core.Container{}, fault("look at container", err)
	}
	in := res.Container
	if in.Config == nil || in.State == nil || in.Config.Labels[labelCluster] != e.cfg.ClusterID {
		return core.Container{}, nil
	}
	owner, member, err := e.owner(in.Config.Labels)
	if err != nil {
		e.cfg.Log.Warn("a container with Argosy's labels is left alone", "container", clip(in.ID, 12), "because", err)
		return core.Container{}, nil
	}
	return e.container(in, owner, member), nil
}

func (e *Engine) container(in container.InspectResponse, owner core.ID, member string) core.Container {
	labels := in.Config.Labels
	c := core.Container{
		ContainerID: clip(in.ID, maxLabelText), Owner: owner, Member: member,
		Definition: clip(labels[labelDefinition], maxLabelText),
		Revision:   number(labels[labelRevision]), Restart: number(labels[labelRestart]),
		State: stateOf(in.State.Status), ExitCode: in.State.ExitCode, OOMKilled: in.State.OOMKilled, Error: plain(in.State.Error),
		CreatedAt: when(in.Created), StartedAt: when(in.State.StartedAt), FinishedAt: when(in.State.FinishedAt),
		ImageID: clip(in.Image, maxLabelText), PID: in.State.Pid, Claims: clip(labels[labelClaims], maxClaims),
	}
	if after := labels[labelAfter]; after != "" && len(after) < maxAfter*maxLabelText {
		c.After = strings.Split(after, ",")
	}
	if h := in.State.Health; h != nil && c.State == core.Running {
		c.Health = healthOf(h.Status)
		if n := len(h.Log); n > 0 && h.Log[n-1] != nil && c.Health == core.Unhealthy {
			c.HealthOutput = clip(h.Log[n-1].Output, 200)
		}
	}
	if in.NetworkSettings != nil {
		c.Address = e.address(in.NetworkSettings.Networks)
		c.Ports = ports(in.NetworkSettings.Ports)
	}
	return c
}

func (e *Engine) address(networks map[string]*network.EndpointSettings) string {
	name := e.cfg.Network
	if name == "" {
		name = network.NetworkBridge
	}
	if n := networks[name]; n != nil && n.IPAddress.IsValid() {
		return n.IPAddress.String()
	}
	return ""
}

// ports reads published ports, in a stable order; a port published on 0.0.0.0 and on :: is one.
func ports(m network.PortMap) []*argosyv1.PublishedPort {
	var list []*argosyv1.PublishedPort
	for p, bindings := range m {
		for _, b := range bindings {
			published, err := strconv.ParseUint(b.HostPort, 10, 16)
			if err != nil || len(list) >= 1024 {
				continue
			}
			out := &argosyv1.PublishedPort{Published: uint32(published), Target: uint32(p.Num()), Protocol: argosyv1.Protocol_PROTOCOL_TCP}
			if p.Proto() == network.UDP {
				out.Protocol = argosyv1.Protocol_PROTOCOL_UDP
			}
			if b.HostIP.IsValid() && !b.HostIP.IsUnspecified() {
				out.HostIp = b.HostIP.String()
			}
			list = append(list, out)
		}
	}
	key := func(p *argosyv1.PublishedPort) string {
		return fmt.Sprintf("%05d %d %05d %s", p.GetTarget(), p.GetProtocol(), p.GetPublished(), p.GetHostIp())
	}
	slices.SortFunc(list, func(a, b *argosyv1.PublishedPort) int { return strings.Compare(key(a), key(b)) })
	return slices.CompactFunc(list, func(a, b *argosyv1.PublishedPort) bool { return key(a) == key(b) })
}

func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// when reads the Engine's times; its zero time and what is no time become Go's zero.
func when(s string) time.Time {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1980 {
		return time.Time{}
	}
	return t
}

func stateOf(s container.ContainerState) core.ContainerState {
	switch s {
	case container.StateCreated:
		return core.Created
	case container.StateRunning, container.StateRestarting:
		return core.Running
	case container.StatePaused:
		return core.Paused
	case container.StateRemoving:
		return core.Removing
	case container.StateDead:
		return core.Dead
	}
	return core.Exited
}

func healthOf(s container.HealthStatus) core.Health {
	switch s {
	case container.Starting:
		return core.CheckStarting
	case container.Healthy:
		return core.Healthy
	case container.Unhealthy:
		return core.Unhealthy
	}
	return core.NoCheck
}

// healthOfStatus reads what Engines before 25 say only in words: "Up 5 minutes (healthy)".
func healthOfStatus(s string) core.Health {
	switch {
	case strings.HasSuffix(s, "(healthy)"):
		return core.Healthy
	case strings.HasSuffix(s, "(unhealthy)"):
		return core.Unhealthy
	case strings.HasSuffix(s, "(health: starting)"):
		return core.CheckStarting
	}
	return core.NoCheck
}

func validID(id string) bool {
	if len(id) == 0 || len(id) > maxLabelText {
		return false
	}
	for i := range len(id) {
		c := id[i]
		if !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f') {
			return false
		}
	}
	return true
}

// watched are the events after which a container has to be looked at again. Naming them matters: a health check makes three
// exec events each time it runs, and nobody here wants those. Creation is not among them: only the agent creates.
var watched = []string{"start", "die", "stop", "oom", "pause", "unpause", "destroy", "health_status"}

// Watch calls changed with the id of each container of this cluster to which something happened, until ctx ends or the
// Engine does not answer any more. It calls ready once it would notice; what happened before has to be listed.
func (e *Engine) Watch(ctx context.Context, ready func(), changed func(containerID string)) error {
	filters := e.mine().Add("type", "container").Add("event", watched...)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	res := e.api.Events(ctx, client.EventsListOptions{Filters: filters})
	select {
	case err := <-res.Err:
		return fault("watch containers", err)
	default:
	}
	ready()
	for {
		select {
		case err := <-res.Err:
			if err == nil {
				err = fmt.Errorf("the stream of events ended")
			}
			return fault("watch containers", err)
		case m := <-res.Messages:
			if m.Type == events.ContainerEventType && validID(m.Actor.ID) {
				changed(m.Actor.ID)
			}
		}
	}
}
