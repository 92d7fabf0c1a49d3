//go:build e2e

package e2e

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// fromEnv names the commit whose executables are the earlier release. Without it that is the newest release before this commit (a
// tag v*), and as long as there is none, the commit so many before.
const (
	fromEnv   = "ARGOSY_UPGRADE_FROM"
	fromSince = 10
)

var upgrading = flag.Bool("upgrade", false, "run TestUpgrade, which builds an earlier release")

// release is a pair of executables.
type release struct {
	version string
	argosy  string // with argosyd beside it
}

func git(t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = w.root
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("git %s: %w: %s", strings.Join(args, " "), err, errOut.String())
	}
	return strings.TrimSpace(out.String()), nil
}

// earlierRelease builds the release to upgrade from.
func earlierRelease(t *testing.T) release {
	t.Helper()
	if shallow, err := git(t, "rev-parse", "--is-shallow-repository"); err != nil || shallow != "false" {
		t.Fatalf("the earlier release is built from this repository's history, which is not here (%v): clone it whole, such as with 'git fetch --unshallow --tags'", err)
	}
	ref := os.Getenv(fromEnv)
	if ref == "" {
		tag, err := git(t, "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^")
		if ref = tag; err != nil {
			ref = fmt.Sprintf("HEAD~%d", fromSince)
		}
	}
	commit, err := git(t, "rev-parse", "--verify", ref+"^{commit}")
	if err != nil {
		t.Fatalf("there is no commit %s to upgrade from; name one with %s: %v", ref, fromEnv, err)
	}
	tree := filepath.Join(t.TempDir(), "earlier")
	if _, err := git(t, "worktree", "add", "--detach", tree, commit); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := git(t, "worktree", "remove", "--force", tree); err != nil {
			t.Error(err)
		}
	})
	begun := time.Now()
	r := release{version: "earlier-" + commit[:7], argosy: filepath.Join(tree, "bin/argosy")}
	build := exec.Command("make", "build", "VERSION="+r.version)
	build.Dir = tree
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building %s (%s): %v\n%s", ref, commit, err, out)
	}
	t.Logf("the earlier release is %s (%s), built in %.1f s", ref, commit[:12], time.Since(begun).Seconds())
	return r
}

// TestUpgrade changes three servers and three agents to the release before and back, one process after another, as
// docs/operations.md says. At every step both releases' commands work, at every server, and no container is touched.
func TestUpgrade(t *testing.T) {
	if !*upgrading {
		t.Skip("it runs with -upgrade: make upgrade")
	}
	earlier := earlierRelease(t)
	r := w.run(nil, "version", "--client", "-o", "name")
	if r.code != 0 {
		t.Fatal(r)
	}
	present := release{version: strings.TrimSpace(r.out), argosy: w.argosy}
	threeServers(t)
	u := &upgrade{t: t, both: []release{earlier, present}, file: manifest(t, `argosy: v1
app: steady
containers:
  web: {image: argosy-example/apache:2.4, entrypoint: [sleep, infinity], stop_grace_period: 1s, cpus: 0.05, mem_limit: 32m, secrets: [db-root]}
stacks:
  web: {containers: [web], placement: {spread: [machine]}}
  extra: {containers: [web]}
cluster: {web: 3, extra: 1}
`)}
	argosy(t, "apply", u.file, "--wait", "--timeout", "5m")
	removeApp(t, "steady")
	u.before = u.running()
	if len(u.before) != 3 {
		t.Fatalf("%d containers of 3 run: %v", len(u.before), u.before)
	}
	defer func() { // whatever happened, the cluster is as other tests expect it
		if t.Failed() {
			for _, m := range w.cluster.Machines {
				u.install(m.Name, present)
				on(t, m.Name, "systemctl", "restart", "argosy-server", "argosy-agent")
			}
		}
	}()
	for _, to := range []release{earlier, present} {
		u.servers(to)
		u.agents(to)
	}
	t.Logf("12 restarts of servers and agents, to the release before and back, touched 0 of %d members", len(u.before))
}

// upgrade is what TestUpgrade goes by.
type upgrade struct {
	t      *testing.T
	both   []release
	file   string
	before map[string]string
	steps  int
}

// running are the containers that must not change: where, which, and since when.
func (u *upgrade) running() map[string]string {
	u.t.Helper()
	all := map[string]string{}
	for _, m := range w.cluster.Machines {
		out := on(u.t, m.Name, "sh", "-c", `for id in $(docker ps -q --no-trunc --filter label=argosy.app=steady --filter label=argosy.stack=web); do docker inspect --format '{{.Name}} {{.Id}} {{.State.StartedAt}} {{.RestartCount}}' $id; done`)
		for line := range strings.Lines(out) {
			name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
			all[m.Name+name] = rest
		}
	}
	return all
}

// install replaces the executables in a machine, as install(1) does, and restarts nothing.
func (u *upgrade) install(machine string, to release) {
	u.t.Helper()
	for _, bin := range []string{"argosy", "argosyd"} {
		from := filepath.Join(filepath.Dir(to.argosy), bin)
		cp := exec.Command("docker", "cp", from, "argosy-"+*name+"-"+machine+":/usr/local/bin/"+bin+".new")
		if out, err := cp.CombinedOutput(); err != nil {
			u.t.Fatalf("%v: %s", err, out)
		}
		on(u.t, machine, "mv", "/usr/local/bin/"+bin+".new", "/usr/local/bin/"+bin)
	}
}

// servers changes one server after another, the one that leads last.
func (u *upgrade) servers(to release) {
	lead, _ := wholeServers(u.t)
	order := []string{"m1", "m2", "m3"}
	slices.SortFunc(order, func(a, b string) int {
		if a == lead || b == lead {
			return map[bool]int{true: 1, false: -1}[a == lead]
		}
		return strings.Compare(a, b)
	})
	for _, m := range order {
		u.install(m, to)
		on(u.t, m, "systemctl", "restart", "argosy-server")
		eventually(u.t, 2*time.Minute, "server "+m+" is "+to.version, func() error {
			var res argosyv1.ListServersResponse
			if err := ask(&res, "servers"); err != nil {
				return err
			}
			for _, s := range res.Servers {
				if s.Name == m && s.Healthy && s.Health.GetVersion() == to.version && res.Spare == 1 {
					return nil
				}
			}
			return fmt.Errorf("%v", res.Servers)
		})
		u.works("server " + m)
	}
}

// agents changes the agents; the executables are there already.
func (u *upgrade) agents(to release) {
	for _, m := range []string{"m1", "m2", "m3"} {
		on(u.t, m, "systemctl", "restart", "argosy-agent")
		eventually(u.t, 2*time.Minute, "agent "+m+" is "+to.version, func() error {
			var s argosyv1.MachineStatus
			if err := ask(&s, "machines", "show", m); err != nil {
				return err
			}
			if s.Condition != argosyv1.MachineCondition_MACHINE_CONDITION_READY || s.GetMachine().GetAgentVersion() != to.version {
				return fmt.Errorf("it is %v, its agent %s", s.Condition, s.GetMachine().GetAgentVersion())
			}
			return nil
		})
		u.works("agent " + m)
	}
}

// works has the commands of both releases apply, scale and look, each at another server.
func (u *upgrade) works(after string) {
	u.t.Helper()
	u.steps++
	for i, r := range u.both {
		extra := 1 + (u.steps+i)%2
		u.run(r, "apply", u.file)
		u.run(r, "scale", fmt.Sprintf("steady/extra=%d", extra), "--wait", "--timeout", "3m")
		var list argosyv1.ListReplicasResponse
		if err := protojson.Unmarshal([]byte(u.run(r, "ps", "steady", "-o", "json")), &list); err != nil {
			u.t.Fatalf("%s after %s: %v", r.version, after, err)
		}
		if len(list.Replicas) != 3+extra {
			u.t.Errorf("after %s, %s shows %d replicas, want %d", after, r.version, len(list.Replicas), 3+extra)
		}
	}
	if now := u.running(); !maps.Equal(now, u.before) {
		u.t.Fatalf("after %s containers are not what they were:\n%v\n%v", after, u.before, now)
	}
}

// run runs a command of a release on this host.
func (u *upgrade) run(r release, args ...string) string {
	u.t.Helper()
	ctx, cancel := context.WithTimeout(u.t.Context(), 4*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.argosy, args...)
	cmd.Env = append(os.Environ(), "ARGOSY_SERVER="+w.cluster.Server, "NO_COLOR=1")
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	if err := cmd.Run(); err != nil {
		u.t.Fatalf("%s: argosy %s: %v\n%s%s", r.version, strings.Join(args, " "), err, out.String(), errOut.String())
	}
	return out.String()
}
