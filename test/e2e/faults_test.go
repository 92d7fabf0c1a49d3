//go:build e2e

package e2e

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// base is a valid manifest that the bad ones below are made from.
const base = `argosy: v1
app: bad
containers:
  web:
    image: argosy-example/apache:2.4
    mem_limit: 64m
stacks:
  site:
    containers: [web]
cluster:
  site: 1
`

// TestBadManifests: a person who makes a mistake is told the place and what to
// do, and nothing has changed.
func TestBadManifests(t *testing.T) {
	argosy(t, "validate", manifest(t, base))
	replace := func(old, new string) string {
		changed := strings.Replace(base, old, new, 1)
		if changed == base {
			t.Fatalf("the base manifest has no %q", old)
		}
		return changed
	}
	for _, tc := range []struct {
		class, text string
		line        int    // of the fault; 0 is any, -1 none
		says        string // a regular expression
	}{
		{"unknown key", replace("mem_limit", "mem_limt"), 6, `mem_limit`},
		{"duplicate key", replace("    mem_limit: 64m", "    mem_limit: 64m\n    mem_limit: 65m"), 7, `(?i)twice|duplicate|already`},
		{"wrong type", replace("[web]", "{web: yes}"), 9, `(?i)list|sequence`},
		{"wrong value", replace("64m", "lots"), 6, `lots`},
		{"dangling reference", replace("[web]", "[wbe]"), 9, `web`},
		{"circular dependency", replace("    mem_limit: 64m", "    depends_on: [db]\n  db:\n    image: x:1\n    depends_on: [web]"), 0, `(?i)circ|cycle|each other`},
		{"name that is none", replace("app: bad", "app: 9bad"), 2, `9bad`},
		{"refused Compose key", replace("    mem_limit: 64m", "    build: ."), 6, `build`},
		{"not granted", replace("    mem_limit: 64m", "    privileged: true"), 6, `privileged`},
		{"broken YAML", replace("[web]", "[web"), 0, `.`},
		{"missing version", replace("argosy: v1\n", ""), 0, `argosy: v1`},
		{"empty", "", 0, `.`},
		{"aliases that explode", bomb(), 0, `.`},
		{"nesting without end", "argosy: v1\napp: " + strings.Repeat("[", 100000), -1, `.`},
	} {
		t.Run(tc.class, func(t *testing.T) {
			file := manifest(t, tc.text)
			begun := time.Now()
			r := fails(t, 1, "apply", file)
			if took := time.Since(begun); took > 20*time.Second { // what explodes takes minutes, or the machine's memory
				t.Errorf("refusing it took %s", took)
			}
			place := regexp.QuoteMeta(file) + `:\d+:\d+: `
			switch {
			case tc.line < 0: // about the file as a whole
				place = regexp.QuoteMeta(file) + ":"
			case tc.line > 0:
				place = fmt.Sprintf(`%s:%d:\d+: `, regexp.QuoteMeta(file), tc.line)
			}
			if !regexp.MustCompile(place).MatchString(r.err) {
				t.Errorf("it does not name the place %s:\n%s", place, r.err)
			}
			if !regexp.MustCompile(tc.says).MatchString(r.err) {
				t.Errorf("it does not say %s:\n%s", tc.says, r.err)
			}
		})
	}
	t.Run("all faults at once", func(t *testing.T) {
		text := strings.NewReplacer("mem_limit", "mem_limt", "[web]", "[wbe]", "site: 1", "sight: 1").Replace(base)
		r := fails(t, 1, "validate", manifest(t, text))
		for _, line := range []int{6, 9, 11} {
			if !strings.Contains(r.err, fmt.Sprintf(".yaml:%d:", line)) {
				t.Errorf("the fault in line %d is missing:\n%s", line, r.err)
			}
		}
	})
	if apps := argosy(t, "apps", "-o", "name"); strings.Contains(apps, "bad") {
		t.Errorf("a refused manifest made an app: %s", apps)
	}
}

// bomb is 9 levels of lists, each of nine times the one before.
func bomb() string {
	text := "argosy: v1\napp: bad\nx-0: &a0 [x, x, x, x, x, x, x, x, x]\n"
	for i := 1; i <= 9; i++ {
		text += fmt.Sprintf("x-%d: &a%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*a%d, ", i-1), 9), ", "))
	}
	return text + "containers:\n  web: {image: \"x:1\", command: *a9}\n"
}

// TestImpossible: what no machine can do is said with numbers, not done silently.
func TestImpossible(t *testing.T) {
	text := strings.NewReplacer("app: bad", "app: huge", "64m", "500g").Replace(base)
	file := manifest(t, text)
	r := w.run(nil, "apply", file)
	if r.code == 0 {
		removeApp(t, "huge")
		eventually(t, time.Minute, "the replica says what it lacks", func() error {
			list, err := replicas("huge/site")
			if err == nil && (len(list) != 1 || !strings.Contains(strings.ToLower(list[0].Message), "memory")) {
				err = fmt.Errorf("%v", list)
			}
			return err
		})
		return
	}
	if !strings.Contains(strings.ToLower(r.err), "memory") {
		t.Errorf("the refusal does not name memory: %s", r)
	}
}

// TestOneBadReplicaHarmsOnlyItself (invariant 6): an image that does not exist,
// a command that exits, a missing secret and a taken port delay nobody else.
func TestOneBadReplicaHarmsOnlyItself(t *testing.T) {
	removeApp(t, "mixed")
	file := manifest(t, `argosy: v1
app: mixed
containers:
  good:
    image: argosy-example/apache:2.4
    entrypoint: [sleep, infinity]
    mem_limit: 32m
    stop_grace_period: 1s
  absent:
    image: argosy-example/there-is-no-such-image:1
    mem_limit: 32m
  quits:
    image: argosy-example/apache:2.4
    entrypoint: [sh, -c, "echo I quit; exit 3"]
    mem_limit: 32m
stacks:
  good: {containers: [good]}
  absent: {containers: [absent]}
  quits: {containers: [quits]}
cluster:
  absent: 2
  good: 3
  quits: 2
`)
	argosy(t, "apply", file)
	eventually(t, 60*time.Second, "the good ones are ready", func() error {
		_, err := ready("mixed/good", 3)
		return err
	})
	says := func(target, what string) {
		t.Helper()
		eventually(t, time.Minute, target+" says why", func() error {
			list, err := replicas(target)
			if err != nil {
				return err
			}
			for _, r := range list {
				if r.State == argosyv1.ReplicaState_REPLICA_STATE_READY {
					return fmt.Errorf("%v is said to be ready", r.GetReplica().GetKey())
				}
				text := r.Message
				for _, m := range r.GetObservation().GetMembers() {
					text += " " + m.Message
				}
				if !strings.Contains(text, what) {
					return fmt.Errorf("%v says %q, which does not name %q", r.GetReplica().GetKey(), text, what)
				}
			}
			return nil
		})
	}
	says("mixed/absent", "there-is-no-such-image")
	says("mixed/quits", "3")
	if out := argosy(t, "logs", "mixed/quits.1/quits"); !strings.Contains(out, "I quit") {
		t.Errorf("the last words of what exits are lost: %q", out)
	}
}

// TestPortTaken: a host port is there once on each machine. Who finds none free
// waits and says so, and gets one as soon as there is.
func TestPortTaken(t *testing.T) {
	removeApp(t, "ports")
	file := manifest(t, `argosy: v1
app: ports
containers:
  web:
    image: argosy-example/apache:2.4
    entrypoint: [sleep, infinity]
    ports: ["18080:80"]
    mem_limit: 32m
    stop_grace_period: 1s
stacks:
  web: {containers: [web]}
cluster:
  web: 4
`)
	argosy(t, "apply", file)
	eventually(t, 60*time.Second, "three run and the fourth says that the port is taken", func() error {
		list, err := replicas("ports/web")
		if err != nil {
			return err
		}
		up, says := 0, false
		for _, r := range list {
			if r.State == argosyv1.ReplicaState_REPLICA_STATE_READY {
				up++
			} else {
				says = strings.Contains(r.Message, "18080")
			}
		}
		if up != 3 || len(list) != 4 || !says {
			return errors.New(w.run(nil, "ps", "ports").out)
		}
		return nil
	})
	argosy(t, "scale", "ports/web=3", "--wait", "--timeout", "3m")
	if _, err := ready("ports/web", 3); err != nil {
		t.Error(err)
	}
}
