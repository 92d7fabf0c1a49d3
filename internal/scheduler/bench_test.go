package scheduler

import (
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/placement"
)

// Goals in placements per second on one core at 5,000 machines.
const (
	goalPlain  = 1_000_000
	goalSpread = 250_000
)

// BenchmarkDecide fills and empties a cluster in batches of 1,000 requests of
// different apps, with reasons. An operation is one placement. Machines differ
// in size and are from 30 % to nearly full, so that some do not fit.
func BenchmarkDecide(b *testing.B) {
	kinds := []struct {
		name   string
		goal   int
		perApp int
		shape  func(app int) *Shape
	}{
		{"plain", goalPlain, 10, plainShape},
		{"plain-singles", goalPlain, 1, plainShape},
		{"plain-large-apps", goalPlain, 1000, plainShape},
		{"spread-apart", goalSpread, 10, spreadShape},
		{"spread-apart-singles", goalSpread, 1, spreadShape},
		{"spread-apart-large-apps", goalSpread, 1000, spreadShape},
		{"require-prefer", goalSpread, 10, choosyShape},
	}
	for _, k := range kinds {
		for _, machines := range []int{100, 1000, 5000, 10_000} {
			b.Run(fmt.Sprintf("%s/machines=%d", k.name, machines), func(b *testing.B) {
				core := benchDecide(b, machines, k.perApp, k.shape)
				b.ReportMetric(float64(b.N)/core.Seconds(), "placements/s") // of one core
				if machines == 5000 {
					b.ReportMetric(float64(k.goal), "goal-placements/s")
				}
			})
		}
	}
}

func plainShape(app int) *Shape {
	return &Shape{Need: Resources{CPU: int64(50 + 25*(app%8)), Memory: int64(64+32*(app%5)) << 20}}
}

// spreadShape spreads over racks and machines, one on a machine at most, and
// keeps away from another app.
func spreadShape(app int) *Shape {
	s := plainShape(app)
	s.Spread = []string{"rack", SpreadMachine}
	own, other := benchStack(app), benchStack(app+1)
	s.Apart = []Stack{own, other}
	return s
}

func choosyShape(app int) *Shape {
	s := plainShape(app)
	s.Require = []placement.Expr{placement.MustParse("zone != z1")}
	s.Prefer = []Preference{{placement.MustParse("disk == ssd"), 10}}
	s.Spread = []string{SpreadMachine}
	return s
}

func benchStack(app int) Stack { return Stack{"default", fmt.Sprintf("app%d", app), "web"} }

func benchMachines(s *Scheduler, n int) {
	for i := range n {
		m := Machine{ID: fmt.Sprintf("%08x-machine", uint32(i)*2654435761), Name: fmt.Sprintf("m%d", i), Labels: map[string]string{
			"zone": fmt.Sprintf("z%d", i%3), "rack": fmt.Sprintf("r%d", i%20), "disk": []string{"ssd", "hdd"}[i%2],
		}}
		m.Capacity = Resources{CPU: int64(16_000 << (i % 3)), Memory: 32 << 30 << (i % 3)}
		s.SetMachine(m)
		cpu, mem := int64(30+i*37%70), int64(30+i*53%70) // per cent
		s.Add(Placed{Replica: Replica{Stack{"default", "filler", "all"}, i}, Machine: m.ID,
			Shape: &Shape{Need: Resources{CPU: m.Capacity.CPU * cpu / 100, Memory: m.Capacity.Memory * mem / 100}}})
	}
}

// coreTime is the processor time this process has used. Goals are for one
// core, and other processes of the machine must not count against them.
func coreTime(b *testing.B) time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		b.Fatal(err)
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// benchDecide returns the processor time that deciding took.
func benchDecide(b *testing.B, machines, perApp int, shape func(int) *Shape) (core time.Duration) {
	const batchSize = 1000
	s := New()
	benchMachines(s, machines)
	// The batches are used in turn; each is removed before it comes again, so
	// that about four replicas are on each machine.
	var batches [][]Request
	app := 0
	for len(batches) < 1+machines/250 {
		var batch []Request
		for len(batch) < batchSize {
			sh := shape(app)
			for n := range min(perApp, machines) {
				batch = append(batch, Request{Replica: Replica{benchStack(app), n + 1}, Shape: sh})
			}
			app++
		}
		batches = append(batches, batch)
	}
	held := make([][]Decision, len(batches))
	now := time.Unix(0, 0)
	waiting := 0
	b.ReportAllocs()
	b.ResetTimer()
	for done := 0; done < b.N; {
		i := done / batchSize % len(batches)
		if held[i] != nil {
			b.StopTimer()
			for j := range held[i] {
				if held[i][j].Placed() {
					s.Remove(held[i][j].Placement())
				}
			}
			b.StartTimer()
		}
		before := coreTime(b)
		held[i] = s.Decide(now, batches[i][:min(len(batches[i]), b.N-done)])
		core += coreTime(b) - before
		done += len(held[i])
		for j := range held[i] {
			if !held[i][j].Placed() {
				waiting++
			}
		}
	}
	b.ReportMetric(float64(waiting)/float64(b.N), "waiting/op")
	return core
}

// BenchmarkOne is the latency of a lone request in a large cluster, between
// changes elsewhere: a machine reports, a replica ends.
func BenchmarkOne(b *testing.B) {
	for _, kind := range []struct {
		name  string
		shape func(int) *Shape
	}{{"plain", plainShape}, {"large", largeShape}, {"spread-apart", spreadShape}, {"require-prefer", choosyShape}} {
		for _, machines := range []int{100, 1000, 5000, 10_000} {
			b.Run(fmt.Sprintf("%s/machines=%d", kind.name, machines), func(b *testing.B) {
				s := New()
				benchMachines(s, machines)
				shape := kind.shape(0)
				var last []Placed
				b.ResetTimer()
				for i := range b.N {
					d := s.Decide(time.Time{}, []Request{{Replica: Replica{benchStack(0), i}, Shape: shape}})
					if !d[0].Placed() {
						b.Fatal(d[0].Reason.String())
					}
					if last = append(last, d[0].Placement()); len(last) > 15 {
						s.Remove(last[0])
						last = last[1:]
					}
				}
			})
		}
	}
}

// BenchmarkReason is the cost of the text, which deciding does not pay.
func BenchmarkReason(b *testing.B) {
	s := New()
	benchMachines(s, 5000)
	d := s.Decide(time.Time{}, []Request{{Replica: Replica{benchStack(0), 1}, Shape: spreadShape(0)}})
	for b.Loop() {
		_ = d[0].Reason.String()
	}
}

// BenchmarkExplain looks at every one of 5,000 machines.
func BenchmarkExplain(b *testing.B) {
	s := New()
	benchMachines(s, 5000)
	r := Request{Replica: Replica{benchStack(0), 1}, Shape: spreadShape(0)}
	for b.Loop() {
		s.Explain(r)
	}
}

func largeShape(int) *Shape { return &Shape{Need: Resources{CPU: 7000, Memory: 14 << 30}} }
