package server

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/join"
)

// fleetClient speaks fleet's API as its documentation has it, knowing nothing of what answers.
type fleetClient struct {
	t    testing.TB
	hc   *http.Client
	base string
}

// doc is a JSON document.
type doc = map[string]any

// do sends body as JSON, or nothing when it is nil, and returns the answer: its document when it has one.
func (f fleetClient) do(method, path string, body any) (int, doc) {
	f.t.Helper()
	var r io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		r = strings.NewReader(b)
	default:
		text, err := json.Marshal(b)
		if err != nil {
			f.t.Fatal(err)
		}
		r = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(f.t.Context(), method, f.base+path, r)
	if err != nil {
		f.t.Fatal(err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := f.hc.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		f.t.Fatal(err)
	}
	if len(text) == 0 {
		return res.StatusCode, nil
	}
	if kind := res.Header.Get("Content-Type"); kind != "application/json" {
		f.t.Errorf("%s %s answers with %q: %s", method, path, kind, text)
	}
	var d doc
	if err := json.Unmarshal(text, &d); err != nil {
		f.t.Fatalf("%s %s: %v\n%s", method, path, err, text)
	}
	if res.StatusCode >= 400 {
		e, _ := d["error"].(doc)
		if e["code"] != float64(res.StatusCode) || e["message"] == "" {
			f.t.Errorf("%s %s: %d says %s", method, path, res.StatusCode, text)
		}
	}
	return res.StatusCode, d
}

func (f fleetClient) want(status int, method, path string, body any) doc {
	f.t.Helper()
	got, d := f.do(method, path, body)
	if got != status {
		f.t.Errorf("%s %s: %d, want %d: %v", method, path, got, status, d)
	}
	return d
}

// all reads every page of a list.
func (f fleetClient) all(path, list string) (items []doc, pages int) {
	f.t.Helper()
	token := ""
	for {
		d := f.want(http.StatusOK, http.MethodGet, path+token, nil)
		entities, ok := d[list].([]any)
		if !ok {
			f.t.Fatalf("GET %s has no list %s: %v", path, list, d)
		}
		for _, e := range entities {
			items = append(items, e.(doc))
		}
		pages++
		next, _ := d["nextPageToken"].(string)
		if next == "" {
			return items, pages
		}
		token = "?nextPageToken=" + next
	}
}

func options(sectionNameValue ...string) []doc {
	var out []doc
	for c := range slices.Chunk(sectionNameValue, 3) {
		out = append(out, doc{"section": c[0], "name": c[1], "value": c[2]})
	}
	return out
}

func sleeper(more ...string) []doc {
	return options(append([]string{"Service", "ExecStart", "/usr/bin/sleep 3000"}, more...)...)
}

// fleetCluster is a server with fleet's API on a socket and on a TLS address.
func fleetCluster(t *testing.T) (c *cluster, socket fleetClient, addr string) {
	t.Helper()
	dir := shortDir(t)
	addr = freePort(t)
	path := filepath.Join(dir, "f")
	c = own(t, dir, func(cfg *Config) { cfg.FleetAPI = []string{"unix://" + path, addr} })
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}}
	t.Cleanup(transport.CloseIdleConnections)
	return c, fleetClient{t, &http.Client{Transport: transport}, "http://domain-sock"}, addr
}

func TestFleetUnits(t *testing.T) {
	_, f, _ := fleetCluster(t)
	for _, prefix := range []string{"/fleet/v1", "/v1-alpha"} {
		units, state := prefix+"/units/", prefix+"/state/"
		f.want(404, "GET", units+"web.service", nil)
		f.want(404, "GET", state+"web.service", nil)
		f.want(404, "DELETE", units+"web.service", nil)
		f.want(409, "PUT", units+"web.service", doc{"desiredState": "launched"})

		// Without a desired state it is kept inactive; and options come back as they were given.
		said := options("Unit", "Description", "a  web  ", "Service", "ExecStartPre", "-/bin/echo one", "Service", "ExecStartPre", "-/bin/echo two",
			"Service", "ExecStart", `/bin/sh -c "echo %n; exec sleep 3000"`, "Unit", "After", "network.target", "X-Fleet", "MachineMetadata", `"disk=ssd" rack=r1`)
		f.want(201, "PUT", units+"web.service", doc{"name": "web.service", "options": said})
		got := f.want(200, "GET", units+"web.service", nil)
		if got["desiredState"] != "inactive" || got["currentState"] != "inactive" || got["name"] != "web.service" {
			t.Errorf("a unit without a desired state: %v", got)
		}
		if want := asJSON(t, said); !reflect.DeepEqual(got["options"], want) {
			t.Errorf("options come back as\n%v, and were\n%v", got["options"], want)
		}
		if st := f.want(200, "GET", state+"web.service", nil); st["systemdActiveState"] != "inactive" || st["hash"] == nil {
			t.Errorf("the state of a unit that is inactive: %v", st)
		}
		// What it is to be changes; the same options say nothing.
		f.want(204, "PUT", units+"web.service", doc{"desiredState": "loaded"})
		f.want(204, "PUT", units+"web.service", doc{"desiredState": "launched", "options": said})
		if got := f.want(200, "GET", units+"web.service", nil); got["desiredState"] != "launched" || got["currentState"] != "inactive" {
			t.Errorf("a unit that no machine can run yet: %v", got)
		}
		f.want(200, "GET", state+"web.service", nil)
		f.want(409, "PUT", units+"web.service", doc{"name": "web.service"})
		f.want(409, "PUT", units+"web.service", doc{"options": said})
		// Other options make it another unit.
		f.want(201, "PUT", units+"web.service", doc{"options": sleeper(), "desiredState": "inactive"})
		if got := f.want(200, "GET", units+"web.service", nil); !reflect.DeepEqual(got["options"], asJSON(t, sleeper())) {
			t.Errorf("new options: %v", got)
		}
		// Destroyed, it can be made again at once.
		f.want(204, "DELETE", units+"web.service", nil)
		f.want(404, "GET", units+"web.service", nil)
		f.want(201, "PUT", units+"web.service", doc{"options": sleeper(), "desiredState": "inactive"})
		f.want(204, "DELETE", units+"web.service", nil)
	}
}

func asJSON(t *testing.T, v any) (out any) {
	t.Helper()
	b, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestFleetRefuses(t *testing.T) {
	c, f, _ := fleetCluster(t)
	const u = "/fleet/v1/units/"
	for _, q := range []struct {
		status       int
		method, path string
		body         any
	}{
		{405, "POST", "/fleet/v1/units", doc{}},
		{405, "PATCH", u + "a.service", doc{}},
		{405, "PUT", "/fleet/v1/state", doc{}},
		{405, "GET", "/fleet/v1", nil},
		{404, "GET", "/fleet/v1/cats", nil},
		{404, "GET", u + "a/b", nil},
		{404, "GET", "/", nil},
		{400, "PUT", u + "a.service", "{"},
		{400, "PUT", u + "a.service", "[]"},
		{400, "PUT", u + "a.service", doc{"name": "b.service", "options": sleeper()}},
		{400, "PUT", u + "a", doc{"options": sleeper()}},
		{400, "PUT", u + "a.servce", doc{"options": sleeper()}},
		{400, "PUT", u + "@.service", doc{"options": sleeper()}},
		{400, "PUT", u + "a.service", doc{"options": sleeper(), "desiredState": "banana"}},
		{400, "PUT", u + "a@.service", doc{"options": sleeper(), "desiredState": "launched"}},
		{400, "PUT", u + "a@.service", doc{"options": sleeper(), "desiredState": "loaded"}},
		{400, "PUT", u + "a.service", doc{"options": sleeper("X-Fleet", "MachineMetadata", "disk")}},
		{400, "PUT", u + "a.service", doc{"options": sleeper("X-Fleet", "Machineof", "b.service")}},
		{400, "PUT", u + "a.service", doc{"options": sleeper("Service", "ExecStat", "/bin/true")}},
		{400, "PUT", u + "a.service", doc{"options": sleeper("Service\n", "ExecStart", "/bin/true")}},
		{400, "PUT", u + "a.service", doc{"options": sleeper("Service", "ExecStart", "/bin/true\n[Install]")}},
		{400, "PUT", u + "a.service", doc{"options": sleeper("X-Fleet", "MachineOf", "b.service", "X-Fleet", "Conflicts", "b.*")}},
		{413, "PUT", u + "a.service", strings.Repeat(" ", 2<<20)},
		{400, "GET", "/fleet/v1/units?nextPageToken=banana", nil},
		{400, "GET", "/fleet/v1/units?nextPageToken=AAAAAA==", nil},
		{400, "GET", "/fleet/v1/units?nextPageToken=ZAABAA==&nextPageToken=ZAABAA==", nil},
		{400, "PATCH", "/fleet/v1/machines", `[{"op":"move","path":"/m/metadata/k","value":"v"}]`},
		{400, "PATCH", "/fleet/v1/machines", `[{"op":"add","path":"/m/labels/k","value":"v"}]`},
		{400, "PATCH", "/fleet/v1/machines", `[{"op":"add","path":"/m/metadata/k"}]`},
		{400, "PATCH", "/fleet/v1/machines", `[{"op":"add","path":"/m/metadata/k","value":7}]`},
		{404, "PATCH", "/fleet/v1/machines", `[{"op":"add","path":"/m/metadata/k","value":"v"}]`},
	} {
		f.want(q.status, q.method, q.path, q.body)
	}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPut, f.base+u+"a.service", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "text/plain")
	res, err := f.hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusUnsupportedMediaType {
		t.Errorf("text/plain: %d", res.StatusCode)
	}
	if items, _ := f.all("/fleet/v1/units", "units"); len(items) > 0 {
		t.Errorf("what was refused is there: %v", items)
	}
	if strings.Contains(c.log.String(), "hit a bug") {
		t.Error("a handler panicked")
	}
}

func TestFleetPages(t *testing.T) {
	_, f, _ := fleetCluster(t)
	const n = 205
	for i := range n {
		f.want(201, "PUT", fmt.Sprintf("/fleet/v1/units/u%03d.service", i), doc{"options": sleeper()})
	}
	f.want(201, "PUT", "/fleet/v1/units/t@.service", doc{"options": sleeper(), "desiredState": "inactive"})
	items, pages := f.all("/fleet/v1/units", "units")
	names := map[any]bool{}
	for _, u := range items {
		names[u["name"]] = true
	}
	if len(items) != n+1 || len(names) != n+1 || pages != 3 {
		t.Errorf("%d units of %d names on %d pages, want %d on 3", len(items), len(names), pages, n+1)
	}
	if states, pages := f.all("/fleet/v1/state", "states"); len(states) != 0 || pages != 1 {
		t.Errorf("units that are nowhere have %d states there", len(states))
	}
	if d := f.want(200, "GET", "/fleet/v1/discovery", nil); d["kind"] != "discovery#restDescription" || d["servicePath"] != "fleet/v1/" {
		t.Errorf("the discovery document: %v", d)
	}
}

// TestFleetMachines: machines, their metadata, and units that are placed and seen there.
func TestFleetMachines(t *testing.T) {
	c, f, _ := fleetCluster(t)
	m := c.machine(t, facts())
	m.connect(t)
	id := m.m.MachineID
	var list []doc
	until(t, "the machine is there", func(context.Context) error { // it is welcomed first
		if list, _ = f.all("/fleet/v1/machines", "machines"); len(list) == 0 {
			return errors.New("no machine is there")
		}
		return nil
	})
	if len(list) != 1 || list[0]["id"] != id || list[0]["primaryIP"] != m.m.Address {
		t.Fatalf("machines: %v", list)
	}
	f.want(204, "PATCH", "/fleet/v1/machines", fmt.Sprintf(`[{"op":"add","path":"/%s/metadata/disk","value":"hdd"},{"op":"add","path":"/%s/metadata/gone","value":"x"},
		{"op":"replace","path":"/%s/metadata/disk","value":{"value":"ssd"}},{"op":"remove","path":"/%s/metadata/gone"}]`, id, id, id, id))
	list, _ = f.all("/fleet/v1/machines", "machines")
	if labels, _ := list[0]["metadata"].(doc); !reflect.DeepEqual(labels, doc{"disk": "ssd"}) {
		t.Errorf("metadata: %v", labels)
	}

	f.want(201, "PUT", "/fleet/v1/units/web.service", doc{"desiredState": "launched", "options": sleeper("X-Fleet", "MachineMetadata", "disk=ssd")})
	f.want(201, "PUT", "/fleet/v1/units/all.service", doc{"desiredState": "launched", "options": sleeper("X-Fleet", "Global", "true")})
	if c.assigned(t, "web.service") == "" {
		t.Fatal("no machine")
	}
	if u := f.want(200, "GET", "/fleet/v1/units/web.service", nil); u["machineID"] != id || u["currentState"] != "inactive" {
		t.Errorf("a unit that is on its way: %v", u)
	}
	f.want(200, "GET", "/fleet/v1/state/web.service", nil)
	a := m.assignment(t, "web.service")
	m.reportUnit(t, a, "active", "running", argosyv1.MemberState_MEMBER_STATE_RUNNING)
	f.eventually("/fleet/v1/units/web.service", doc{"currentState": "launched", "machineID": id})
	f.eventually("/fleet/v1/state/web.service", doc{"systemdLoadState": "loaded", "systemdActiveState": "active", "systemdSubState": "running", "machineID": id})
	if states, _ := f.all("/fleet/v1/state?unitName=web.service", "states"); len(states) != 1 {
		t.Errorf("states of one unit: %v", states)
	}
	u := f.want(200, "GET", "/fleet/v1/units/all.service", nil)
	if u["machineID"] != nil || u["currentState"] != nil || u["desiredState"] != "launched" {
		t.Errorf("a unit of every machine: %v", u)
	}
	// Handed to systemd it is launched, whatever becomes of it; its state tells the truth.
	m.reportUnit(t, a, "failed", "failed", argosyv1.MemberState_MEMBER_STATE_FAILED)
	f.eventually("/fleet/v1/state/web.service", doc{"systemdActiveState": "failed"})
	f.eventually("/fleet/v1/units/web.service", doc{"currentState": "launched"})
}

// eventually waits until a document has these fields.
func (f fleetClient) eventually(path string, want doc) {
	f.t.Helper()
	var got doc
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		got = f.want(http.StatusOK, http.MethodGet, path, nil)
		same := true
		for k, v := range want {
			same = same && got[k] == v
		}
		if same {
			return
		}
	}
	f.t.Errorf("GET %s stays %v, want %v", path, got, want)
}

// assignment is what the machine is given of an app.
func (f *fakeAgent) assignment(t *testing.T, app string) *argosyv1.Assignment {
	t.Helper()
	for end := time.After(30 * time.Second); ; {
		select {
		case a := <-f.given:
			if a.GetKey().GetApp() == app {
				return a
			}
		case <-end:
			t.Fatalf("nothing of %s is given to the machine", app)
		}
	}
}

// reportUnit says how the one unit of an assignment is.
func (f *fakeAgent) reportUnit(t *testing.T, a *argosyv1.Assignment, active, sub string, state argosyv1.MemberState) {
	t.Helper()
	whole := argosyv1.ReplicaState_REPLICA_STATE_READY
	if state == argosyv1.MemberState_MEMBER_STATE_FAILED {
		whole = argosyv1.ReplicaState_REPLICA_STATE_FAILED
	}
	o := &argosyv1.ReplicaObservation{Key: a.Key, AppUid: a.AppUid, Incarnation: a.Incarnation, Revision: a.Revision, Restart: a.Restart, State: whole,
		Members: []*argosyv1.MemberObservation{{Name: a.Units[0].Name, State: state,
			Unit: &argosyv1.UnitObservation{Name: a.Units[0].Name, LoadState: "loaded", ActiveState: active, SubState: sub}}}}
	if err := f.send(&argosyv1.SessionRequest{Message: &argosyv1.SessionRequest_Report{Report: &argosyv1.Report{Replicas: []*argosyv1.ReplicaObservation{o}}}}); err != nil {
		t.Fatal(err)
	}
}

// TestFleetCallers: on an address, who asks shows a login's certificate and may what the role may.
func TestFleetCallers(t *testing.T) {
	c, _, addr := fleetCluster(t)
	as := func(name string, role auth.Role) fleetClient {
		dir := t.TempDir()
		if role == "" {
			hc := c.nobody(t).hc
			return fleetClient{t, hc, "https://" + addr}
		}
		token := c.token(t, &argosyv1.CreateTokenRequest{Purpose: argosyv1.TokenPurpose_TOKEN_PURPOSE_USER, User: name, Role: string(role)})
		if _, err := join.User(t.Context(), token, dir); err != nil {
			t.Fatal(err)
		}
		return fleetClient{t, c.as(t, dir).hc, "https://" + addr}
	}
	put := doc{"options": sleeper()}
	as("ops", auth.Operator).want(201, "PUT", "/fleet/v1/units/a.service", put)
	viewer := as("look", auth.Viewer)
	viewer.want(403, "PUT", "/fleet/v1/units/b.service", put)
	viewer.want(200, "GET", "/fleet/v1/units/a.service", nil)
	as("", "").want(401, "GET", "/fleet/v1/units", nil)
}
