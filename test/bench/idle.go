package main

import (
	"context"
	"fmt"
	"time"
)

const (
	// calm is how long after the last change things are given to come to rest; while is how long they are watched then.
	calm  = 30 * time.Second
	while = 60 * time.Second

	serverUnit = "argosy-server.service"
	agentUnit  = "argosy-agent.service"
)

var serverIdle = measurement{
	name:    "server-idle",
	machine: true,
	want:    []figure{{name: "server idle, a new cluster of one machine: resident", atMost: 120, unit: "MB"}},
	run: func(ctx context.Context, b *bench, want []figure) ([]figure, error) {
		if err := settle(ctx, calm/2); err != nil {
			return nil, err
		}
		p, err := b.m.process(ctx, serverUnit)
		if err != nil {
			return nil, err
		}
		mem, err := p.memory(ctx)
		if err != nil {
			return nil, err
		}
		want[0].value, want[0].note = mem.resident, mem.note()
		return want, nil
	},
}

func (m memory) note() string {
	return fmt.Sprintf("%.1f MB of it its own, the rest pages of the executable that it has touched", m.anonymous)
}

var agentIdle = measurement{
	name:    "agent-idle",
	machine: true,
	want: []figure{
		{name: "agent idle with 50 replicas: resident", atMost: 40, unit: "MB"},
		{name: "agent idle with 50 replicas: of a core", atMost: 0.2, unit: "%"},
		{name: "server idle with 50 replicas: resident", atMost: 120, unit: "MB"},
		{name: "server idle with 50 replicas: of a core", unit: "%"},
	},
	run: func(ctx context.Context, b *bench, want []figure) ([]figure, error) {
		m := b.m
		if _, _, err := m.apply(ctx, "idle", fifty); err != nil {
			return nil, err
		}
		if _, _, err := m.ready(ctx, "idle", fifty); err != nil {
			return nil, err
		}
		b.say("  50 replicas are ready; now %s of calm and %s of watching", calm, while)
		if err := settle(ctx, calm); err != nil {
			return nil, err
		}
		agent, err := m.process(ctx, agentUnit)
		if err != nil {
			return nil, err
		}
		server, err := m.process(ctx, serverUnit)
		if err != nil {
			return nil, err
		}
		shares, err := shares(ctx, while, agent, server)
		if err != nil {
			return nil, err
		}
		for i, p := range []process{agent, server} {
			mem, err := p.memory(ctx)
			if err != nil {
				return nil, err
			}
			want[2*i].value, want[2*i].note = mem.resident, mem.note()
			want[2*i+1].value = shares[i] * 100
			want[2*i+1].note = fmt.Sprintf("over %.0f s, to one part in %.0f of a core", while.Seconds(), while.Seconds()*ticksPerSecond)
		}
		return want, m.remove(ctx, "idle")
	},
}

// shares returns how much of one core each process used over a while: 1 is all of it.
func shares(ctx context.Context, d time.Duration, processes ...process) ([]float64, error) {
	before := make([]time.Duration, len(processes))
	out := make([]float64, len(processes))
	var err error
	for i, p := range processes {
		if before[i], err = p.cpuTime(ctx); err != nil {
			return nil, err
		}
	}
	begun := time.Now()
	if err := settle(ctx, d); err != nil {
		return nil, err
	}
	for i, p := range processes {
		after, err := p.cpuTime(ctx)
		if err != nil {
			return nil, err
		}
		out[i] = (after - before[i]).Seconds() / time.Since(begun).Seconds()
	}
	return out, nil
}
