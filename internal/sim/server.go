package sim

import "time"

// server is one of those that there may be. Each has a member of the store, which takes changes while a majority of them see each other.
type server struct {
	w     *World
	name  string
	clock *clock
	// down: it does not run; paused: it is stopped; cut: it does not reach the other servers.
	down, paused, cut bool
	// absent: it is not one of the cluster's.
	absent bool
	// parting counts those who wait to remove it.
	parting int
	// heard is since when it has heard of machines while another leads.
	heard time.Time
	// programs are those that fence machines and may be under way.
	programs int
	// beside is where its witness stands.
	beside stand
}

// joined reports whether a server takes part in the store.
func (s *server) joined() bool { return !s.absent && !s.down && !s.paused && !s.cut }

// majority reports whether the store takes what this server asks for.
func (s *server) majority() bool { return s.joined() && s.w.quorate() }

// present are the cluster's servers.
func (w *World) present() (list []*server) {
	for _, s := range w.servers {
		if !s.absent {
			list = append(list, s)
		}
	}
	return list
}

// quorate reports whether a majority of the servers see each other.
func (w *World) quorate() bool { return 2*len(w.joined()) > len(w.present()) }

func (w *World) joined() (list []*server) {
	for _, s := range w.servers {
		if s.joined() {
			list = append(list, s)
		}
	}
	return list
}

// StartLeader has one of the servers take over leadership.
func (w *World) StartLeader() {
	list := w.joined()
	if w.leader != nil || !w.quorate() {
		return
	}
	w.lead(list[w.pick(len(list))])
}

// pick chooses one of n; the first when calm.
func (w *World) pick(n int) int {
	if w.cfg.Calm {
		return 0
	}
	return w.rng.IntN(n)
}

func (w *World) lead(s *server) {
	l := &leaderProcess{process: process{w: w, clock: s.clock}, server: s, blindness: map[string]time.Duration{}, fencing: map[fenceTry]bool{}}
	w.leader = l
	w.reigns = append(w.reigns, l)
	w.trace("server %s is elected", s.name)
	l.after(w.span(10*time.Millisecond, 300*time.Millisecond), l.takeOver)
}

// election has the servers' members of the store elect a leader after a while, unless they have one by then.
func (w *World) election() {
	w.after(w.span(500*time.Millisecond, 2*time.Second), func() {
		if w.leader != nil && w.leader.server.joined() || !w.quorate() {
			return
		}
		w.leader = nil
		w.StartLeader()
	})
}

// KillLeader kills the server that leads at once: a transaction on its way may still be applied.
func (w *World) KillLeader() {
	l := w.leader
	if l == nil {
		return
	}
	w.trace("server %s is killed", l.server.name)
	l.end()
}
