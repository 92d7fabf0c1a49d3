package main

import (
	"context"
	"fmt"
	"time"
)

// spending is processor time of three sorts of processes, each with that of all machines: what other work on the host does to the clock
// does not change it much.
type spending struct{ systemd, agents, server time.Duration }

func (s spending) since(before spending) spending {
	return spending{s.systemd - before.systemd, s.agents - before.agents, s.server - before.server}
}

// each says it of one of n units.
func (s spending) each(n int) string {
	ms := func(d time.Duration) float64 { return d.Seconds() * 1000 / float64(n) }
	return fmt.Sprintf("processor time of each: systemd %.1f ms, agents %.1f ms, server %.1f ms", ms(s.systemd), ms(s.agents), ms(s.server))
}

// spent is what was spent so far; processes are the agents and, last, the server.
func (f *fleet) spent(ctx context.Context, processes []process) (s spending, err error) {
	for i, p := range processes {
		used, err := p.ownTime(ctx)
		if err != nil {
			return s, err
		}
		if i == len(processes)-1 {
			s.server = used
			break
		}
		s.agents += used
		first, err := process{1, p.m}.ownTime(ctx)
		if err != nil {
			return s, err
		}
		s.systemd += first
	}
	return s, nil
}
