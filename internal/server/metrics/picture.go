package metrics

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Picture is what a server knows at one instant. Amounts are in cpus, bytes and seconds.
type Picture struct {
	// Leading says that this server leads; what follows up to Replicas is told only then.
	Leading  bool
	Term     uint64
	Machines []Machine
	Apps     []App
	Replicas []Replicas

	Relays          int    // streams of people's bytes passed on now
	StoreSize       int64  // of the store's file
	StoreIndex      uint64 // how far this server's store has applied the log
	HistoryLast     uint64 // number of the last transition in this server's history
	Members         int    // servers of the store with a vote
	CertificateEnds time.Time
}

// Machine is one machine of the cluster.
type Machine struct {
	Name, Condition string
	Heard           bool // that anything was heard of it, Age ago
	Age             time.Duration
	Replicas        int
	// What replicas may have, and what those here reserve.
	Capacity, Reserved Amount
	// Used is nil when the machine has not told.
	Used *Amount
	// DiskUsed and DiskTotal are bytes of the file system with images and volumes.
	DiskUsed, DiskTotal int64
}

// Amount is of processors and memory.
type Amount struct {
	CPUs   float64
	Memory int64
}

// App is how many replicas of a stack are wanted.
type App struct {
	Tenant, App, Stack string
	Wanted             int
}

// Replicas counts those of a stack in one state.
type Replicas struct {
	Tenant, App, Stack, State string
	Count                     int
}

// example has one of everything, so that everything has a name.
var example = Picture{Leading: true, Machines: []Machine{{Heard: true, Used: &Amount{}}}, Apps: []App{{}}, Replicas: []Replicas{{}}}

// gauge describes one metric that pictures hold.
func gauge(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("argosy_"+name, help, labels, nil)
}

// descs are the metrics of a picture.
type descs struct {
	leading, term, machine, age, replicasOn, capacityCPUs, capacityMemory, reservedCPUs, reservedMemory, usedCPUs, usedMemory,
	diskUsed, diskTotal, wanted, replicas, relays, storeSize, storeIndex, history, members, certificate *prometheus.Desc
}

func describe() descs {
	stack := []string{"tenant", "app", "stack"}
	return descs{
		leading:        gauge("leading", "1 when this server leads the cluster. What only the leader knows, every metric with a machine, app or stack, is told by it alone."),
		term:           gauge("term", "Number of the leader's term; it grows with each change of leader."),
		machine:        gauge("machine_condition", "1 for the condition that a machine is in: ready, draining, unreachable, lost, or unknown when this leader has not heard of it.", "machine", "condition"),
		age:            gauge("machine_heard_age_seconds", "How long ago a machine was last heard of.", "machine"),
		replicasOn:     gauge("machine_replicas", "Replicas assigned to a machine.", "machine"),
		capacityCPUs:   gauge("machine_capacity_cpus", "Processors that replicas may have.", "machine"),
		capacityMemory: gauge("machine_capacity_memory_bytes", "Memory that replicas may have.", "machine"),
		reservedCPUs:   gauge("machine_reserved_cpus", "Processors that the replicas of a machine reserve.", "machine"),
		reservedMemory: gauge("machine_reserved_memory_bytes", "Memory that the replicas of a machine reserve.", "machine"),
		usedCPUs:       gauge("machine_used_cpus", "Processors that a machine uses, everything on it included, as it last told.", "machine"),
		usedMemory:     gauge("machine_used_memory_bytes", "Memory that a machine uses, everything on it included, as it last told.", "machine"),
		diskUsed:       gauge("machine_disk_used_bytes", "Used bytes of the file system that holds images and volumes, as the machine last told.", "machine"),
		diskTotal:      gauge("machine_disk_total_bytes", "Bytes of the file system that holds images and volumes.", "machine"),
		wanted:         gauge("replicas_wanted", "Replicas that a stack should have.", stack...),
		replicas:       gauge("replicas", "Replicas of a stack by state, as in argosy ps; unknown when nobody has seen them lately.", append(stack, "state")...),
		relays:         gauge("relays", "Streams of logs, exec, cp and port-forward that this server passes on."),
		storeSize:      gauge("store_size_bytes", "Size of the store's file on this server."),
		storeIndex:     gauge("store_applied_index", "How far this server has applied the store's log; compare servers to see who lags."),
		history:        gauge("history_last", "Number of the last transition in this server's own history."),
		members:        gauge("store_voters", "Servers that vote in the store."),
		certificate:    gauge("certificate_ends_timestamp_seconds", "When this server's certificate ends, in seconds since 1970."),
	}
}

// collector turns pictures into metrics.
type collector struct{ picture func() Picture }

// Describe says nothing: which metrics there are depends on who leads.
func (*collector) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	p, d := c.picture(), describe()
	set := func(desc *prometheus.Desc, value float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...)
	}
	set(d.relays, float64(p.Relays))
	set(d.storeSize, float64(p.StoreSize))
	set(d.storeIndex, float64(p.StoreIndex))
	set(d.history, float64(p.HistoryLast))
	set(d.members, float64(p.Members))
	set(d.certificate, float64(p.CertificateEnds.Unix()))
	if !p.Leading {
		set(d.leading, 0)
		return
	}
	set(d.leading, 1)
	set(d.term, float64(p.Term))
	for _, m := range p.Machines {
		m.collect(d, set)
	}
	for _, a := range p.Apps {
		set(d.wanted, float64(a.Wanted), a.Tenant, a.App, a.Stack)
	}
	for _, r := range p.Replicas {
		set(d.replicas, float64(r.Count), r.Tenant, r.App, r.Stack, r.State)
	}
}

func (m Machine) collect(d descs, set func(desc *prometheus.Desc, value float64, labels ...string)) {
	set(d.machine, 1, m.Name, m.Condition)
	if m.Heard {
		set(d.age, m.Age.Seconds(), m.Name)
	}
	set(d.replicasOn, float64(m.Replicas), m.Name)
	set(d.capacityCPUs, m.Capacity.CPUs, m.Name)
	set(d.capacityMemory, float64(m.Capacity.Memory), m.Name)
	set(d.reservedCPUs, m.Reserved.CPUs, m.Name)
	set(d.reservedMemory, float64(m.Reserved.Memory), m.Name)
	set(d.diskTotal, float64(m.DiskTotal), m.Name)
	if m.Used != nil {
		set(d.usedCPUs, m.Used.CPUs, m.Name)
		set(d.usedMemory, float64(m.Used.Memory), m.Name)
		set(d.diskUsed, float64(m.DiskUsed), m.Name)
	}
}
