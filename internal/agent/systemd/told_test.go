package systemd

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// of252 is what systemd 252 tells of a service that runs, by interface.
func of252(active, sub string, pid uint32) (unit, service Properties) {
	return Properties{"ActiveState": active, "SubState": sub, "InactiveExitTimestamp": uint64(5), "InactiveEnterTimestamp": uint64(0),
			"ConditionTimestamp": uint64(5), "ConditionResult": true, "InvocationID": []byte{1}, "Job": []any{uint32(0), "/"}},
		Properties{"Result": "success", "MainPID": pid, "NRestarts": uint32(0), "ExecMainStatus": int32(0), "ExecMainCode": int32(0), "UID": uint32(0)}
}

// answer is what systemd says when it is asked for everything that is looked at.
func answer(active, sub string, pid uint32) Properties {
	p, service := of252(active, sub, pid)
	for name, v := range service {
		p[name] = v
	}
	p["LoadState"], p["FragmentPath"], p["After"] = "loaded", "/run/systemd/system/a.service", []string{"b.service"}
	return p
}

// listener is a told of one unit of ours, a.service.
func listener() *told {
	t := newTold()
	t.watch(func(name string) string {
		if name == "a.service" {
			return "unit:a.service:1"
		}
		return ""
	})
	return t
}

func (t *told) hearBoth(active, sub string, pid uint32, at uint64) {
	unit, service := of252(active, sub, pid)
	t.hear("a.service", "Service", service.only(ofType["Service"]), at)
	t.hear("a.service", "Unit", unit.only(changing), at+1)
}

func TestWhatWasToldIsNotAsked(t *testing.T) {
	h := listener()
	if _, ok := h.show("a.service"); ok {
		t.Error("it is known before anything was said")
	}
	h.hearBoth("active", "running", 7, 1)
	if _, ok := h.show("a.service"); ok {
		t.Error("what never changes was not asked yet")
	}
	h.keep("a.service", h.of("a.service"), answer("active", "running", 7), 3)
	h.hearBoth("failed", "failed", 0, 4)
	p, ok := h.show("a.service")
	if !ok || p.text("ActiveState") != "failed" || p.number("MainPID") != 0 || p.text("LoadState") != "loaded" || !slices.Equal(p.list("After"), []string{"b.service"}) {
		t.Errorf("after a change it is %v, %v", p, ok)
	}
}

// TestAnswersThatCameLate: an answer that was on its way while systemd told of a change does not hide that.
func TestAnswersThatCameLate(t *testing.T) {
	h := listener()
	asked := h.of("a.service")
	h.hearBoth("failed", "failed", 0, 11)
	h.keep("a.service", asked, answer("active", "running", 7), 10)
	if p, _ := h.show("a.service"); p.text("ActiveState") != "failed" || p.number("MainPID") != 0 {
		t.Errorf("it is %v", p)
	}
	h.keep("a.service", asked, answer("activating", "auto-restart", 0), 13)
	if p, _ := h.show("a.service"); p.text("SubState") != "auto-restart" {
		t.Errorf("asked again, it is %v", p)
	}
}

// TestWhatIsDropped: what may not hold any more is asked for.
func TestWhatIsDropped(t *testing.T) {
	cases := map[string]func(h *told){
		"unloaded":         func(h *told) { h.forget("a.service") },
		"all listed":       func(h *told) { h.begin() },
		"files read again": func(h *told) { h.reread() },
		"watched anew":     func(h *told) { h.watch(h.ours) },
		"not watched":      func(h *told) { h.watch(nil) },
		"another file":     func(h *told) { h.ours = func(string) string { return "unit:a.service:2" } },
		"not ours for a moment": func(h *told) {
			o := h.ours
			h.ours = func(string) string { return "" }
			h.wants("a.service")
			h.ours = o
		},
		"not all told": func(h *told) { h.hear("a.service", "Unit", Properties{"ActiveState": "failed"}, 9) },
	}
	for name, drop := range cases {
		t.Run(name, func(t *testing.T) {
			h := listener()
			h.keep("a.service", h.of("a.service"), answer("active", "running", 7), 1)
			if _, ok := h.show("a.service"); !ok {
				t.Fatal("it is not known at first")
			}
			asked := h.of("a.service")
			drop(h)
			if p, ok := h.show("a.service"); ok {
				t.Errorf("it is taken for %v", p)
			}
			h.keep("a.service", asked, answer("active", "running", 7), 2)
			if p, ok := h.show("a.service"); ok {
				t.Errorf("an answer from before is taken for %v", p)
			}
		})
	}
}

func TestNothingNewIsNoNews(t *testing.T) {
	h := listener()
	news := func() []string {
		select {
		case <-h.wake:
		default:
		}
		return h.take()
	}
	want := func(when string, names ...string) {
		t.Helper()
		if diff := cmp.Diff(names, news()); diff != "" {
			t.Errorf("%s: %s", when, diff)
		}
	}
	h.hearBoth("active", "running", 7, 1)
	want("the first that is heard", "a.service")
	h.hearBoth("active", "running", 7, 3)
	want("the same again")
	h.reread()
	h.hearBoth("active", "running", 7, 5)
	want("the same, as systemd says of all units when it has read its files again")
	h.hearBoth("active", "running", 8, 7)
	want("another process", "a.service")
	h.keep("a.service", h.of("a.service"), answer("failed", "failed", 0), 9)
	h.hearBoth("failed", "failed", 0, 10)
	want("what an answer said already")
	h.hear("a.service", "Cgroup", Properties{"x": 1}, 12)
	unit, service := of252("active", "running", 1)
	h.hear("b.service", "Unit", unit, 13)
	h.hear("b.service", "Service", service, 14)
	want("what is nobody's business")
	if h.wants("b.service") || !h.wants("a.service") {
		t.Error("signals of ours are not wanted, or those of others are")
	}
}

func TestJobsEnd(t *testing.T) {
	j := newJobs()
	first, second := j.await("a.service"), j.await("a.service")
	if !j.any() {
		t.Error("nobody waits")
	}
	j.removed("/job/1", "a.service", "canceled") // before anybody knows which is his
	j.named(second, "/job/2")
	j.named(first, "/job/1")
	j.removed("/job/2", "a.service", "done")
	j.removed("/job/2", "a.service", "done")
	if a, b := <-first.done, <-second.done; a != "canceled" || b != "done" {
		t.Errorf("they ended %s and %s", a, b)
	}
	j.leave(first)
	j.leave(second)
	if j.any() {
		t.Error("somebody waits still")
	}
}
