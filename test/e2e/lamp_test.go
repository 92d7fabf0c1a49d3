//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// lampFile is the example as people get it.
func lampFile() string { return filepath.Join(w.root, "examples/lamp/lamp.yaml") }

// balancers returns the addresses of the machines that run the two balancers.
func balancers(t *testing.T) []netip.Addr {
	t.Helper()
	list, err := ready("shop/balancer", 2)
	if err != nil {
		t.Fatal(err)
	}
	var at []netip.Addr
	for _, r := range list {
		at = append(at, address(t, r.MachineName))
	}
	return at
}

// TestLamp follows the example through a day of its life.
func TestLamp(t *testing.T) {
	removeApp(t, "shop")
	parts := []struct {
		name string
		f    func(*testing.T)
	}{
		{"serves", lampServes},
		{"names", lampNames},
		{"logs and exec", lampLogsAndExec},
		{"port-forward", lampPortForward},
		{"cp", lampCopy},
		{"plan and explain", lampPlanAndExplain},
		{"secrets stay secret", lampSecrets},
		{"agent is killed", lampAgentKilled},
		{"server restarts", lampServerRestarts},
		{"scale", lampScale},
		{"changed manifest", lampChanged},
		{"network is cut", lampCut},
		{"machine dies and returns", lampMachineDies},
	}
	for _, p := range parts {
		if !t.Run(p.name, p.f) && p.name == "serves" {
			t.Fatal("what does not serve cannot be tested further")
		}
	}
}

func lampServes(t *testing.T) {
	argosy(t, "validate", lampFile())
	argosy(t, "apply", lampFile(), "--wait", "--timeout", "5m")
	lamps, err := ready("shop/lamp", 5)
	if err != nil {
		t.Fatal(err)
	}
	perMachine := map[string]int{}
	for _, r := range lamps {
		perMachine[r.MachineName]++
	}
	for machine, n := range perMachine {
		if n > 2 || len(perMachine) != 3 {
			t.Errorf("%d of 5 lamps are on %s, and %d machines have any; they are not spread", n, machine, len(perMachine))
		}
	}
	at := balancers(t)
	if at[0] == at[1] {
		t.Errorf("both balancers are on %s", at[0])
	}
	for _, b := range at {
		eventually(t, time.Minute, fmt.Sprintf("all five answer through %s", b), func() error {
			return serves(t.Context(), b, 1, 2, 3, 4, 5)
		})
	}
	v, err := get(t.Context(), at[0])
	if err != nil || !strings.HasPrefix(v.balancer, "shop/balancer.") {
		t.Errorf("the balancer calls itself %q, %v", v.balancer, err)
	}
}

func lampNames(t *testing.T) {
	ask := func(name string) []string {
		out := argosy(t, "exec", "shop/lamp.1/apache", "--", "getent", "ahostsv4", name)
		addrs := map[string]bool{}
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) > 0 {
				addrs[f[0]] = true
			}
		}
		return slices.Sorted(maps.Keys(addrs))
	}
	all := ask("apache.lamp.shop.default.argosy.internal")
	if len(all) != 5 {
		t.Errorf("the name of all ready apaches has addresses %v, want 5", all)
	}
	if short := ask("apache.lamp.shop"); !slices.Equal(short, all) {
		t.Errorf("the short name has addresses %v, the long one %v", short, all)
	}
	one := ask("apache.3.lamp.shop.default.argosy.internal")
	if len(one) != 1 || !slices.Contains(all, one[0]) {
		t.Errorf("one replica's name has addresses %v, want one of %v", one, all)
	}
	sibling, own := ask("mysql"), ask("mysql.1.lamp.shop.default.argosy.internal")
	if len(sibling) != 1 || !slices.Equal(sibling, own) {
		t.Errorf("the sibling's plain name has addresses %v, its full name %v", sibling, own)
	}
}

func lampLogsAndExec(t *testing.T) {
	if out := argosy(t, "logs", "shop/lamp.2/apache"); !strings.Contains(out, `"GET / HTTP/1.1"`) {
		t.Errorf("the logs of an apache that was visited show no visit:\n%s", out)
	}
	out := argosy(t, "exec", "shop/lamp.2/mysql", "--", "mariadb", "-N", "shop", "-e", "SELECT COUNT(*) > 0 FROM visits")
	if strings.TrimSpace(out) != "1" {
		t.Errorf("its database says %q about its visits", out)
	}
	if r := w.run([]byte("one\ntwo\n"), "exec", "-i", "shop/lamp.2/apache", "--", "wc", "-l"); strings.TrimSpace(r.out) != "2" {
		t.Errorf("standard input does not pass: %s", r)
	}
	r := fails(t, 7, "exec", "shop/lamp.2/apache", "--", "sh", "-c", "echo no >&2; exit 7")
	if r.err != "no\n" {
		t.Errorf("its standard error is %q", r.err)
	}
}

func lampPlanAndExplain(t *testing.T) {
	argosy(t, "plan", lampFile()) // code 0: nothing to do
	var e argosyv1.ExplainResponse
	if err := ask(&e, "explain", "shop/lamp.3"); err != nil {
		t.Fatal(err)
	}
	if e.GetDecided().GetSummary() == "" || len(e.GetNow()) != 3 || len(e.GetHistory()) == 0 {
		t.Errorf("explain gives no reason, not 3 machines or no history: %v", &e)
	}
	var res argosyv1.ListEventsResponse
	if err := ask(&res, "events", "shop/lamp.3"); err == nil && len(res.Events) == 0 {
		t.Error("nothing has happened to shop/lamp.3, say its events")
	}
	if out := argosy(t, "events", "shop/lamp.3"); !strings.Contains(out, "lamp.3") {
		t.Errorf("events of shop/lamp.3:\n%s", out)
	}
}

// lampSecrets looks for the passwords wherever something is kept for long.
func lampSecrets(t *testing.T) {
	for secret, value := range w.secrets {
		if len(value) < 20 {
			t.Fatalf("secret %s has a value too short to search for", secret)
		}
		for _, m := range w.cluster.Machines {
			out := on(t, m.Name, "sh", "-c", `grep -rlF -e "$1" /var/lib/argosy /var/lib/docker/containers /var/log /etc 2>/dev/null || true`, "sh", value)
			if out != "" {
				t.Errorf("secret %s stands in the clear on %s: %s", secret, m.Name, out)
			}
		}
		for _, args := range [][]string{{"events", "shop"}, {"logs", "-n", "-1", "shop"}, {"ps", "shop", "-o", "json"}, {"secret", "list", "-o", "json"}, {"explain", "shop/lamp.1", "-o", "json"}} {
			if strings.Contains(argosy(t, args...), value) {
				t.Errorf("secret %s stands in the clear in `argosy %s`", secret, strings.Join(args, " "))
			}
		}
	}
	out := argosy(t, "exec", "shop/lamp.1/mysql", "--", "sh", "-c", "cat /run/secrets/db-root; stat -f -c ' %T' /run/secrets/db-root")
	if want := w.secrets["db-root"] + " tmpfs\n"; out != want {
		t.Errorf("the container sees its secret as %q, want the value on a tmpfs", out)
	}
}

// untouched fails the test unless the app's containers are still those in
// before.
func untouched(t *testing.T, before map[string]string) {
	t.Helper()
	after, err := everywhere(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	for key, id := range before {
		if after[key] != id {
			t.Errorf("%s was container %.12s and is %.12s", key, id, after[key])
		}
	}
	if len(after) != len(before) {
		t.Errorf("there were %d containers and are %d", len(before), len(after))
	}
}

// killUnit kills the main process of a unit and waits until systemd has started
// another.
func killUnit(t *testing.T, machine, unit string) {
	t.Helper()
	pid := func() string { return strings.TrimSpace(on(t, machine, "systemctl", "show", "-P", "MainPID", unit)) }
	before := pid()
	if before == "0" {
		t.Fatalf("%s does not run on %s", unit, machine)
	}
	on(t, machine, "kill", "-9", before)
	eventually(t, time.Minute, unit+" runs again", func() error {
		if now := pid(); now == "0" || now == before {
			return fmt.Errorf("its process is %s", now)
		}
		return nil
	})
}

func lampAgentKilled(t *testing.T) {
	before, err := everywhere(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	tr := startTraffic(t, balancers(t)[0])
	for _, m := range w.cluster.Machines {
		killUnit(t, m.Name, "argosy-agent.service")
	}
	eventually(t, time.Minute, "all replicas are seen ready again", func() error {
		_, err := ready("shop", 7)
		return err
	})
	tr.stop(t)
	untouched(t, before)
}

func lampServerRestarts(t *testing.T) {
	before, err := everywhere(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	tr := startTraffic(t, balancers(t)[0])
	killUnit(t, "m1", "argosy-server.service")
	eventually(t, time.Minute, "the server knows all again", func() error {
		_, err := ready("shop", 7)
		return err
	})
	argosy(t, "plan", lampFile())
	tr.stop(t)
	untouched(t, before)
}

func lampScale(t *testing.T) {
	at := balancers(t)
	rows, err := reached(t.Context(), at[0], 20)
	if err != nil {
		t.Fatal(err)
	}
	haproxies := func() map[string]string {
		all, err := everywhere(t.Context(), "shop")
		if err != nil {
			t.Fatal(err)
		}
		maps.DeleteFunc(all, func(key, _ string) bool { return !strings.HasPrefix(key, "balancer.") })
		return all
	}
	before := haproxies()
	through := func(numbers ...int) {
		t.Helper()
		for _, b := range at {
			eventually(t, time.Minute, fmt.Sprintf("%d replicas answer through %s", len(numbers), b), func() error {
				return serves(t.Context(), b, numbers...)
			})
		}
	}
	tr := startTraffic(t, at[1])
	argosy(t, "scale", "shop/lamp=7", "--wait", "--timeout", "3m")
	through(1, 2, 3, 4, 5, 6, 7)
	argosy(t, "scale", "shop/lamp=3", "--wait", "--timeout", "3m")
	through(1, 2, 3)
	argosy(t, "scale", "shop/lamp=5", "--wait", "--timeout", "3m")
	through(1, 2, 3, 4, 5)
	tr.stop(t)

	again, err := reached(t.Context(), at[0], 20)
	if err != nil {
		t.Fatal(err)
	}
	for _, replica := range []string{"shop/lamp.4", "shop/lamp.5"} {
		if again[replica] <= rows[replica] {
			t.Errorf("%s had %d rows before it was scaled away and has %d now: its data did not stay", replica, rows[replica], again[replica])
		}
	}
	if after := haproxies(); !maps.Equal(before, after) {
		t.Errorf("a balancer was restarted: containers %v, then %v", before, after)
	}
}

// lampChanged changes what apache is: only apaches are made anew, one at a time.
func lampChanged(t *testing.T) {
	text, err := os.ReadFile(lampFile())
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.Replace(string(text), "      DB_HOST: mysql", "      GREETING: hello\n      DB_HOST: mysql", 1)
	if changed == string(text) {
		t.Fatal("the example does not look as this test expects")
	}
	file := manifest(t, changed)
	before, err := everywhere(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	if r := fails(t, 2, "plan", file); !strings.Contains(r.out, "GREETING") {
		t.Errorf("the plan does not name what changes:\n%s", r.out)
	}
	tr := startTraffic(t, balancers(t)[0])
	argosy(t, "apply", file, "--wait", "--timeout", "5m")
	tr.stop(t)
	after, err := everywhere(t.Context(), "shop")
	if err != nil {
		t.Fatal(err)
	}
	for key, id := range before {
		if isApache := strings.HasSuffix(key, "/apache"); isApache == (after[key] == id) {
			t.Errorf("%s: container %.12s, then %.12s", key, id, after[key])
		}
	}
	if out := argosy(t, "exec", "shop/lamp.4/apache", "--", "printenv", "GREETING"); out != "hello\n" {
		t.Errorf("the new variable is %q", out)
	}
}
