package server

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// scrape asks for the metrics and returns the answer's status and lines.
func (c *clients) scrape(t *testing.T) (int, []string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.base+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.hc.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.Split(string(body), "\n")
}

// TestMetrics: whoever may watch the cluster sees what it does; a viewer of one tenant does not see everybody's apps.
func TestMetrics(t *testing.T) {
	c := own(t, shortDir(t), nil)
	m := c.machine(t, facts())
	m.connect(t)
	c.apply(t, spec("shop", 3))
	machine := c.assigned(t, "shop")

	monitor := c.user(t, "prometheus", "monitor")
	status, lines := monitor.scrape(t)
	if status != http.StatusOK {
		t.Fatal(status, lines)
	}
	for _, want := range []string{
		`argosy_leading 1`,
		`argosy_replicas_wanted{app="shop",stack="web",tenant="default"} 3`,
		`argosy_replicas{app="shop",stack="web",state="pending",tenant="default"} 3`,
		`argosy_machine_condition{condition="ready",machine="` + machine + `"} 1`,
		`argosy_machine_capacity_cpus{machine="` + machine + `"} 4`,
		`argosy_machine_reserved_cpus{machine="` + machine + `"} 0.3`,
		`argosy_rpc_requests_total{code="ok",procedure="/argosy.v1.AppService/Apply"} 1`,
		`argosy_rpc_streams{procedure="/argosy.v1.AgentService/Session"} 1`,
		`argosy_store_voters 1`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("%s is missing", want)
		}
	}
	for _, begin := range []string{"argosy_commit_seconds_count ", "argosy_decision_seconds_count ", "argosy_store_size_bytes ", "etcd_server_has_leader 1",
		"argosy_certificate_ends_timestamp_seconds ", "go_goroutines ", "process_resident_memory_bytes "} {
		if !hasBegin(lines, begin) {
			t.Errorf("nothing begins with %q", begin)
		}
	}
	for _, l := range lines {
		if strings.HasSuffix(l, " 0") && strings.HasPrefix(l, "argosy_commit_seconds_count") {
			t.Error("the leader has committed, and nothing counted it")
		}
	}

	for role, want := range map[string]int{"viewer": http.StatusForbidden, "operator": http.StatusForbidden, "admin": http.StatusOK} {
		if status, lines := c.user(t, "u-"+role, role).scrape(t); status != want {
			t.Errorf("the role %s got %d: %.200s", role, status, strings.Join(lines, " "))
		}
	}
	if status, _ := c.nobody(t).scrape(t); status != http.StatusUnauthorized {
		t.Errorf("nobody got %d", status)
	}
	if status, _ := m.scrape(t); status != http.StatusForbidden {
		t.Errorf("a machine got %d", status)
	}
	if _, err := monitor.apps.ListApps(t.Context(), connect.NewRequest(&argosyv1.ListAppsRequest{})); err == nil {
		t.Error("the role monitor reads more than metrics")
	}
}

func hasBegin(lines []string, begin string) bool {
	return slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, begin) })
}
