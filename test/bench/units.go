package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/argosy-cluster/argosy/internal/localcluster"
)

// unitsMachines is how many machines run units; unitsAtOnce how many requests of one client are under way.
const (
	unitsMachines = 3
	unitsAtOnce   = 8
	unitsLimit    = 10 * time.Minute
)

// startingUnits submits units through fleet's API, and has systemd start as many of the same by itself, in the same machines.
var startingUnits = measurement{
	name: "units",
	want: []figure{
		{name: "units on three machines, through fleet's API, until the last is active", atMost: 60, unit: "s"},
		{name: "as many with systemctl start alone", unit: "s"},
		{name: "units: times what systemctl start takes", atMost: 1.5},
		{name: "units: from its request until one is active, half of them", unit: "s"},
		{name: "units: three agents and a server idle without any, of a core", unit: "%"},
		{name: "units: the same with all of them, of a core", unit: "%"},
	},
	run: func(ctx context.Context, b *bench, want []figure) ([]figure, error) {
		f, err := b.newFleet(ctx)
		if err != nil {
			return nil, err
		}
		defer f.remove()
		return want, f.measure(ctx, b.units, want)
	},
}

// fleet is a local cluster of three machines whose server speaks fleet's API.
type fleet struct {
	b     *bench
	local *localcluster.Local
	hc    *http.Client
}

func (b *bench) newFleet(ctx context.Context) (_ *fleet, err error) {
	name := b.name + "-units"
	local, err := localcluster.New(localcluster.Options{Name: name, Binary: b.binary, Progress: func(e localcluster.Event) {
		if e.Took > 0 {
			b.say("  %s (%.1fs)", strings.TrimSpace(e.Machine+" "+e.Text), e.Took.Seconds())
		}
	}})
	if err != nil {
		return nil, err
	}
	if have, err := local.Show(ctx); err == nil && len(have.Machines) > 0 {
		return nil, fmt.Errorf("a local cluster %s exists already: remove it with 'argosy cluster down --name %s', so that what is measured is new", name, name)
	}
	server, err := url.Parse(localcluster.ServerURL(name))
	if err != nil {
		return nil, err
	}
	socket := strings.TrimSuffix(server.Path, "server.sock") + "fleet.sock"
	f := &fleet{b: b, local: local, hc: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: unitsAtOnce, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", socket)
	}}}}
	defer func() {
		if err != nil {
			f.remove()
		}
	}()
	if _, err := local.Up(ctx, unitsMachines); err != nil {
		return nil, err
	}
	const dropIn = "/run/systemd/system/argosy-server.service.d/fleet.conf"
	script := `start=$(sed -n 's/^ExecStart=//p' $(systemctl show -p FragmentPath --value argosy-server.service))
mkdir -p $(dirname ` + dropIn + `)
printf '[Service]\nExecStart=\nExecStart=%s --fleet-api unix:///run/argosy/fleet.sock\n' "$start" > ` + dropIn + `
systemctl daemon-reload && systemctl restart argosy-server.service`
	if _, err := f.on(ctx, "m1", "sh", "-ec", script); err != nil {
		return nil, err
	}
	return f, f.until(ctx, time.Minute, "three machines are there", func() (bool, error) {
		var page struct{ Machines []struct{ ID string } }
		err := f.ask(ctx, http.MethodGet, "machines", nil, &page)
		return len(page.Machines) == unitsMachines, err
	})
}

// remove removes the cluster, unless it is to be kept.
func (f *fleet) remove() {
	if f.b.keep {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := errors.Join(f.local.Down(ctx, localcluster.DownOptions{}), f.local.Close()); err != nil {
		f.b.say("the local cluster could not be removed: %v", err)
	}
}

func (f *fleet) measure(ctx context.Context, n int, want []figure) error {
	processes, err := f.processes(ctx)
	if err != nil {
		return err
	}
	f.b.say("  %s of calm and %s of watching without units", calm, while)
	idle, err := f.idle(ctx, processes)
	if err != nil {
		return err
	}
	alone, plain, err := f.alone(ctx, n, processes)
	if err != nil {
		return err
	}
	f.b.say("  systemctl started %d units in %.1f s; %s", n, alone.Seconds(), plain.each(n))
	before, err := f.spent(ctx, processes)
	if err != nil {
		return err
	}
	took, half, accepted, err := f.submit(ctx, n)
	if err != nil {
		return err
	}
	after, err := f.spent(ctx, processes)
	if err != nil {
		return err
	}
	f.b.say("  Argosy started them in %.1f s; %s", took.Seconds(), after.since(before).each(n))
	f.b.say("  %d units were accepted within %.1f s and active within %.1f s; %s of calm and %s of watching", n, accepted.Seconds(), took.Seconds(), calm, while)
	busy, err := f.idle(ctx, processes)
	if err != nil {
		return err
	}
	note := fmt.Sprintf("%d units, %d requests at once; the last was accepted after %.1f s; %s; load average %s", n, unitsAtOnce, accepted.Seconds(), after.since(before).each(n), load())
	want[0].value, want[0].note = took.Seconds(), note
	want[1].value, want[1].note = alone.Seconds(), "all files written, one daemon-reload, then one systemctl start with all names on each machine; "+plain.each(n)
	want[2].value = took.Seconds() / alone.Seconds()
	want[3].value, want[3].note = half.Seconds(), "fleet needed 35 s"
	want[4].value, want[5].value = idle*100, busy*100
	return nil
}

// plainUnit is what is started, in either way.
const plainUnit = "[Unit]\nDescription=one of many\n[Service]\nExecStart=/usr/bin/sleep infinity\n"

// alone writes as many units on each machine as are a third of all, starts them by systemctl, and removes them. The time is that of
// everything but the writing and the removing.
func (f *fleet) alone(ctx context.Context, n int, processes []process) (took time.Duration, used spending, err error) {
	each := (n + unitsMachines - 1) / unitsMachines
	everywhere := func(script string) error {
		var g errgroup.Group
		for _, m := range machineNames() {
			g.Go(func() error {
				_, err := f.on(ctx, m, "sh", "-ec", script)
				return err
			})
		}
		return g.Wait()
	}
	names := fmt.Sprintf("$(seq -f 'plain-%%.0f.service' %d)", each)
	if err := everywhere("cd /run/systemd/system; for u in " + names + `; do printf '` + strings.ReplaceAll(plainUnit, "\n", `\n`) + `' > $u; done`); err != nil {
		return 0, used, err
	}
	before, err := f.spent(ctx, processes)
	if err != nil {
		return 0, used, err
	}
	begun := time.Now()
	if err := everywhere("systemctl daemon-reload; systemctl start " + names); err != nil {
		return 0, used, err
	}
	took = time.Since(begun)
	after, err := f.spent(ctx, processes)
	if err != nil {
		return 0, used, err
	}
	return took, after.since(before), everywhere("cd /run/systemd/system; systemctl stop " + names + "; rm -f plain-*.service; systemctl daemon-reload; systemctl reset-failed")
}

// submit sends all units as fast as they are taken, and waits until systemd calls them active. Half is how long half of them took
// from their own request on.
func (f *fleet) submit(ctx context.Context, n int) (took, half, accepted time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, unitsLimit)
	defer cancel()
	var opts []map[string]string
	section := ""
	for line := range strings.Lines(plainUnit) {
		line = strings.TrimSpace(line)
		if name, value, ok := strings.Cut(line, "="); ok {
			opts = append(opts, map[string]string{"section": section, "name": name, "value": value})
		} else {
			section = strings.Trim(line, "[]")
		}
	}
	asked := make([]time.Duration, n) // on the clock that systemd has, which machines share
	begun, err := monotonic()
	if err != nil {
		return 0, 0, 0, err
	}
	var g errgroup.Group
	g.SetLimit(unitsAtOnce)
	for i := range n {
		g.Go(func() (err error) {
			if asked[i], err = monotonic(); err != nil {
				return err
			}
			return f.put(ctx, i, opts)
		})
	}
	if err := g.Wait(); err != nil {
		return 0, 0, 0, err
	}
	end, err := monotonic()
	if err != nil {
		return 0, 0, 0, err
	}
	accepted = end - begun
	if err := f.until(ctx, unitsLimit, "all units are active, as fleet's API says", func() (bool, error) {
		active, err := f.active(ctx)
		return active == n, err
	}); err != nil {
		return 0, 0, 0, err
	}
	times, err := f.activeSince(ctx, n)
	if err != nil {
		return 0, 0, 0, err
	}
	last := slices.Max(times)
	for i := range times {
		times[i] -= asked[i]
	}
	slices.Sort(times)
	return last - begun, times[n/2], accepted, nil
}

// put submits one unit. On a host that is starved nobody may lead for a moment; then it is asked again, as fleet's client does.
func (f *fleet) put(ctx context.Context, i int, opts []map[string]string) error {
	for {
		err := f.ask(ctx, http.MethodPut, fmt.Sprintf("units/many-%d.service", i), map[string]any{"desiredState": "launched", "options": opts}, nil)
		if !errors.Is(err, errUnavailable) {
			return err
		}
		if wait := settle(ctx, 200*time.Millisecond); wait != nil {
			return errors.Join(wait, err)
		}
	}
}

var errUnavailable = errors.New("nobody can answer now")

// monotonic is the time since the host booted.
func monotonic() (time.Duration, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0, fmt.Errorf("ask for the time: %w", err)
	}
	return time.Duration(ts.Nano()), nil
}

// active counts the units of which fleet's API says so.
func (f *fleet) active(ctx context.Context) (n int, err error) {
	for token := ""; ; {
		var page struct {
			States        []struct{ SystemdActiveState string }
			NextPageToken string
		}
		if err := f.ask(ctx, http.MethodGet, "state"+token, nil, &page); err != nil {
			return 0, err
		}
		for _, s := range page.States {
			if s.SystemdActiveState == "active" {
				n++
			}
		}
		if page.NextPageToken == "" {
			return n, nil
		}
		token = "?nextPageToken=" + page.NextPageToken
	}
}

// activeSince is when systemd found each unit active.
func (f *fleet) activeSince(ctx context.Context, n int) ([]time.Duration, error) {
	times := make([]time.Duration, n)
	found := 0
	for _, m := range machineNames() {
		out, err := f.on(ctx, m, "systemctl", "show", "-p", "Id", "-p", "ActiveState", "-p", "ActiveEnterTimestampMonotonic", "many-*.service")
		if err != nil {
			return nil, err
		}
		for block := range strings.SplitSeq(strings.TrimSpace(out), "\n\n") {
			said := map[string]string{}
			for line := range strings.Lines(block) {
				key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
				said[key] = value
			}
			number, err := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(said["Id"], "many-"), ".service"))
			us, err2 := strconv.ParseInt(said["ActiveEnterTimestampMonotonic"], 10, 64)
			if err := errors.Join(err, err2); err != nil || number >= n || said["ActiveState"] != "active" {
				return nil, fmt.Errorf("systemd on %s says %q", m, block)
			}
			if times[number] != 0 {
				return nil, fmt.Errorf("%s is on two machines", said["Id"])
			}
			times[number] = time.Duration(us) * time.Microsecond
			found++
		}
	}
	if found != n {
		return nil, fmt.Errorf("systemd runs %d of %d units", found, n)
	}
	return times, nil
}

// idle is what of a core processes use together while nothing happens.
func (f *fleet) idle(ctx context.Context, processes []process) (sum float64, err error) {
	if err := settle(ctx, calm); err != nil {
		return 0, err
	}
	list, err := shares(ctx, while, processes...)
	for _, s := range list {
		sum += s
	}
	return sum, err
}

func (f *fleet) processes(ctx context.Context) (list []process, err error) {
	for _, m := range machineNames() {
		p, err := (&machine{local: f.local, at: m}).process(ctx, agentUnit)
		if err != nil {
			return nil, err
		}
		list = append(list, p)
	}
	p, err := (&machine{local: f.local, at: "m1"}).process(ctx, serverUnit)
	return append(list, p), err
}

func machineNames() (names []string) {
	for i := range unitsMachines {
		names = append(names, fmt.Sprintf("m%d", i+1))
	}
	return names
}

func (f *fleet) on(ctx context.Context, m string, cmd ...string) (string, error) {
	return (&machine{local: f.local, at: m}).on(ctx, cmd...)
}

// ask makes a request of fleet's API.
func (f *fleet) ask(ctx context.Context, method, path string, body, into any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://fleet/fleet/v1/"+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	res, err := f.hc.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode == http.StatusServiceUnavailable {
		return fmt.Errorf("%s %s: %w: %s", method, path, errUnavailable, answer)
	}
	if res.StatusCode >= 300 {
		return fmt.Errorf("%s %s: %s: %s", method, path, res.Status, answer)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(answer, into)
}

// until asks every half second whether something is so.
func (f *fleet) until(ctx context.Context, limit time.Duration, what string, so func() (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		ok, err := so()
		if ok {
			return nil
		}
		if wait := settle(ctx, 500*time.Millisecond); wait != nil {
			return fmt.Errorf("waiting until %s: %w", what, errors.Join(wait, err))
		}
	}
}
