package agent_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

const fifty = 50

// BenchmarkFiftyContainers compares fifty replicas of one small container with a bare loop of parallel docker run -d of the
// same, one after the other in the same run. Each iteration takes about half a minute; -benchtime 1x is meant.
func BenchmarkFiftyContainers(b *testing.B) {
	bn, l := newBench(b), newLeader(b)
	bn.start(b, bn.config(l, nil))
	l.until(b, "the agent reported", func() bool { return l.full })
	var ratios []float64
	for range b.N {
		bare := bn.bareFifty(b)
		ours := bn.agentFifty(b, l)
		// Once more in the other order, since the Engine gets slower as it goes.
		ours += bn.agentFifty(b, l)
		bare += bn.bareFifty(b)
		ratios = append(ratios, ours.Seconds()/bare.Seconds())
		b.Logf("50 containers: bare %.2fs, agent %.2fs", bare.Seconds()/2, ours.Seconds()/2)
	}
	slices.Sort(ratios)
	b.ReportMetric(ratios[len(ratios)/2], "x-bare(goal≤1.25)")
}

func (b *bench) bareFifty(t testing.TB) time.Duration {
	t.Helper()
	var script strings.Builder
	for i := range fifty {
		fmt.Fprintf(&script, "docker run -d --label argosy.cluster=%s --name %s-bare-%d %s sleep infinity >/dev/null &\n", b.cluster+"-bare", b.prefix, i, b.image)
	}
	script.WriteString("wait\n")
	begin := time.Now()
	out, err := exec.Command("sh", "-c", script.String()).CombinedOutput()
	took := time.Since(begin)
	rm := "docker ps -aq --filter label=argosy.cluster=" + b.cluster + "-bare | xargs -r -n 1 -P 4 docker rm -f"
	if out, err := exec.Command("sh", "-c", rm).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err != nil || len(bytes.TrimSpace(out)) > 0 {
		t.Fatalf("%v: %s", err, out)
	}
	return took
}

func (b *bench) agentFifty(t testing.TB, l *leader) time.Duration {
	t.Helper()
	var list []*argosyv1.Assignment
	for i := range fifty {
		list = append(list, b.assignment(uint32(i+1), b.member("apache", "sleep", "infinity")))
	}
	begin := time.Now()
	l.assign(list...)
	l.until(t, "all fifty are ready", func() bool { return l.readyCount() == fifty })
	took := time.Since(begin)
	for _, a := range list {
		gone := proto.CloneOf(a)
		gone.Goal = argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE
		gone.Containers[0].StopGracePeriod = durationpb.New(0)
		l.assign(gone)
	}
	l.until(t, "all fifty are gone", func() bool {
		for _, o := range l.seen {
			if o.GetState() != argosyv1.ReplicaState_REPLICA_STATE_GONE {
				return false
			}
		}
		return true
	})
	for _, a := range list {
		l.forget(a.GetKey())
	}
	l.until(t, "all fifty are forgotten", func() bool { return len(l.seen) == 0 })
	return took
}

func (l *leader) readyCount() (n int) {
	for _, o := range l.seen {
		if o.GetState() == argosyv1.ReplicaState_REPLICA_STATE_READY {
			n++
		}
	}
	return n
}

// BenchmarkIdleAgent measures an agent, as a process of its own, that keeps fifty replicas with health checks and has
// nothing else to do: resident memory, and its share of a core over a while.
func BenchmarkIdleAgent(b *testing.B) {
	const while = 30 * time.Second
	bn, l := newBench(b), newLeader(b)
	usage := 15 * time.Second // these two are what a cluster does by itself
	l.beat = time.Second
	p := bn.process(b, l, usage)
	l.until(b, "the agent reported", func() bool { return l.full })
	for i := range fifty {
		m := bn.member("apache", "serve")
		m.Healthcheck = &argosyv1.Healthcheck{Test: []string{"CMD", "/testprog", "check", "http://127.0.0.1:8080/health"}, Interval: durationpb.New(30 * time.Second)}
		l.assign(bn.assignment(uint32(i+1), m))
	}
	l.until(b, "all fifty are ready", func() bool { return l.readyCount() == fifty })
	var cores, rss float64
	for range b.N {
		before := cpuTime(b, p.Process.Pid)
		<-time.After(while)
		cores = (cpuTime(b, p.Process.Pid) - before).Seconds() / while.Seconds()
		rss = resident(b, p.Process.Pid)
	}
	b.ReportMetric(cores*100, "%core(goal≤0.2)")
	b.ReportMetric(rss, "MB-resident(goal≤40)")
}

func cpuTime(t testing.TB, pid int) time.Duration {
	total := time.Duration(0)
	tasks, err := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task/*/schedstat"))
	if err != nil || len(tasks) == 0 {
		t.Fatalf("no threads: %v", err)
	}
	for _, f := range tasks {
		raw, err := os.ReadFile(f)
		if err != nil {
			continue // the thread ended meanwhile
		}
		ns, err := strconv.ParseInt(strings.Fields(string(raw))[0], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		total += time.Duration(ns)
	}
	return total
}

func resident(t testing.TB, pid int) float64 {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "status"))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(raw)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.Atoi(strings.Fields(rest)[0])
			if err != nil {
				t.Fatal(err)
			}
			return float64(kb) / 1024
		}
	}
	t.Fatal("no VmRSS")
	return 0
}

// BenchmarkAssignmentToCreate measures the time from an assignment's arrival at the agent to the Engine having created its
// container, on a machine that has the image.
func BenchmarkAssignmentToCreate(b *testing.B) {
	bn, l := newBench(b), newLeader(b)
	bn.start(b, bn.config(l, nil))
	l.until(b, "the agent reported", func() bool { return l.full })
	var times []time.Duration
	for i := range b.N {
		begin := time.Now()
		l.assign(bn.assignment(uint32(i+1), bn.member("apache")))
		name := fmt.Sprintf("shop/lamp.%d", i+1)
		l.ready(b, name)
		l.mu.Lock()
		id := l.seen[name].GetMembers()[0].GetContainerId()
		l.mu.Unlock()
		out, err := exec.Command("docker", "inspect", "-f", "{{.Created}}", id).Output()
		if err != nil {
			b.Fatal(err)
		}
		created, err := time.Parse(time.RFC3339Nano, strings.TrimSpace(string(out)))
		if err != nil {
			b.Fatal(err)
		}
		times = append(times, created.Sub(begin))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds())/1000, "ms-median(goal≤50)")
}
