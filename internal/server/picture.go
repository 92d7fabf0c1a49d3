package server

import (
	"cmp"
	"strings"
	"time"

	"github.com/argosy-cluster/argosy/internal/leader"
	"github.com/argosy-cluster/argosy/internal/server/metrics"
)

// picture is what this server tells Prometheus now.
func (s *Server) picture() metrics.Picture {
	p := metrics.Picture{
		Relays: int(s.relays.Load()), StoreSize: s.base.Size(), StoreIndex: s.base.Applied(),
		CertificateEnds: s.source.Current().Certificate.NotAfter,
	}
	for _, m := range s.members() {
		if !m.Learner {
			p.Members++
		}
	}
	if last, err := s.history.Last(); err == nil {
		p.HistoryLast = last
	}
	// An error means that another server leads, or none does.
	_ = s.leader.Read(func(_ time.Time, v *leader.View) {
		p.Leading, p.Term = true, v.Number()
		p.Machines = pictureMachines(v)
		p.Apps, p.Replicas = pictureApps(v)
	})
	return p
}

func pictureMachines(v *leader.View) []metrics.Machine {
	amount := func(milli, memory int64) metrics.Amount {
		return metrics.Amount{CPUs: float64(milli) / 1000, Memory: memory}
	}
	var out []metrics.Machine
	for _, m := range v.Machines() {
		st := v.MachineStatus(m)
		c, u := m.GetCapacity(), st.GetUsage()
		one := metrics.Machine{
			Name: cmp.Or(m.GetName(), m.GetId()), Condition: enumWord(st.GetCondition().String(), "MACHINE_CONDITION_"),
			Heard: st.GetAge() != nil, Age: st.GetAge().AsDuration(), Replicas: int(st.GetReplicas()),
			Capacity: amount(c.GetCpuMilli()-c.GetReserveCpuMilli(), c.GetMemory()-c.GetReserveMemory()),
			Reserved: amount(st.GetReservedCpuMilli(), st.GetReservedMemory()), DiskTotal: c.GetDiskTotal(),
		}
		if u != nil {
			used := amount(u.GetCpuMilli(), u.GetMemory())
			one.Used, one.DiskUsed, one.DiskTotal = &used, u.GetDiskUsed(), cmp.Or(u.GetDiskTotal(), one.DiskTotal)
		}
		out = append(out, one)
	}
	return out
}

func pictureApps(v *leader.View) (wanted []metrics.App, counts []metrics.Replicas) {
	for _, a := range v.Apps("") {
		for _, st := range v.Wanted(a) {
			wanted = append(wanted, metrics.App{Tenant: a.GetTenant(), App: a.GetName(), Stack: st.GetStack(), Wanted: int(st.GetWanted())})
		}
	}
	count := map[metrics.Replicas]int{}
	for _, r := range v.Replicas("") {
		k := r.GetKey()
		count[metrics.Replicas{Tenant: k.GetTenant(), App: k.GetApp(), Stack: k.GetStack(), State: enumWord(v.ReplicaState(r).String(), "REPLICA_STATE_")}]++
	}
	for r, n := range count {
		r.Count = n
		counts = append(counts, r)
	}
	return wanted, counts
}

// enumWord is a value of the protocol as people read it: READY is ready, and what is not said is unknown.
func enumWord(name, prefix string) string {
	word := strings.ToLower(strings.TrimPrefix(name, prefix))
	if word == "unspecified" {
		return "unknown"
	}
	return word
}
