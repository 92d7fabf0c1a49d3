//go:build e2e

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// importImages are the names that the projects have for the one image of testdata/import/image.
var importImages = []string{"redis:7", "postgres:15", "nginx:1", "haproxy:2", "memcached:1", "mosquitto:2", "nats:2", "app:1"}

// imported is one Compose project of testdata/import: who asks whom by its plain name, and what must come back.
type imported struct {
	name    string
	files   []string
	targets map[string]int // stacks and how many replicas of each
	from    string         // stack.number/container that asks
	ask     []string
	want    string
}

func importedProjects() []imported {
	one := func(stack string) map[string]int { return map[string]int{stack: 1} }
	curl := func(url string) []string { return []string{"curl", "-sS", "--max-time", "5", url} }
	bash := func(s string) []string { return []string{"bash", "-c", s} }
	return []imported{
		{name: "redis", targets: one("main"), from: "main.1/app", ask: bash(`redis-cli -h "$REDIS_HOST" ping && echo "$GREETING"`), want: "PONG\n${HOME} costs $5"},
		{name: "postgres", targets: one("main"), from: "main.1/app", ask: []string{"psql", "-h", "db", "-U", "ledger", "-Atc", "select 40+2", "postgres"}, want: "42"},
		{name: "nginx-proxy", targets: one("main"), from: "main.1/app", ask: curl("http://web/"), want: "hello from app"},
		{name: "scaled", targets: map[string]int{"lb": 1, "web": 3}, from: "lb.1/lb", ask: bash("curl -sS --max-time 5 http://web:8000/ http://localhost/"), want: "hello from web\nhello from web"},
		{name: "memcached", targets: one("main"), from: "main.1/app", ask: bash(`exec 3<>/dev/tcp/memcached/11211; printf 'version\r\nquit\r\n' >&3; cat <&3`), want: "VERSION"},
		{name: "mosquitto", targets: one("main"), from: "main.1/sensor", ask: []string{"mosquitto_sub", "-h", "broker", "-t", "temperature", "-C", "1", "-W", "10"}, want: "21"},
		{name: "nats", targets: one("main"), from: "main.1/app", ask: bash(`exec 3<>/dev/tcp/nats/4222; head -n 1 <&3; hostname`), want: "INFO {"},
		{name: "migrate", targets: one("main"), from: "main.1/client", ask: curl("http://app:8000/"), want: "migrated"},
		{name: "global", targets: map[string]int{"hub": 1, "agent": 3}, from: "hub.1/hub", ask: bash(`curl -sS --max-time 5 http://agent:8000/; getent ahostsv4 agent | awk '{print $1}' | sort -u | wc -l`), want: "hello from agent\n3"},
		{name: "env-files", targets: one("main"), from: "main.1/app", ask: bash(`curl -sS --max-time 5 http://peer:8000/; echo "$SHAPE $COLOUR $TAG_WAS"`), want: "hello from peer\nround blue 1"},
		{name: "several", files: []string{"compose.yaml", "compose.prod.yaml"}, targets: one("main"), from: "main.1/web", ask: bash(`redis-cli -h store ping; echo "$MODE"`), want: "PONG\nproduction"},
		{name: "secrets", targets: one("main"), from: "main.1/app", ask: bash(`curl -sS --max-time 5 http://peer:8000/; cat /motd; stat -c %a /run/secrets/pass_word; wc -c < /run/secrets/pass_word`), want: "hello from peer\nprice: $1\n400\n32"},
		{name: "health", targets: one("main"), from: "main.1/two-b", ask: curl("http://one:8000/"), want: "one"},
	}
}

// TestImport runs Compose projects: imported, applied all at once, and asked for each other by their plain names.
func TestImport(t *testing.T) {
	buildImportImage(t)
	argosy(t, "secret", "set", "import-test", "--random")
	dir := t.TempDir()
	projects := importedProjects()
	var apps []string
	for _, p := range projects {
		apps = append(apps, "import-"+p.name)
	}
	removeApp(t, apps...)
	for i, p := range projects {
		app := apps[i]
		where := filepath.Join(w.root, "test/e2e/testdata/import", p.name)
		if p.files == nil {
			p.files = []string{"compose.yaml"}
		}
		copied := filepath.Join(dir, p.name)
		if err := os.CopyFS(copied, os.DirFS(where)); err != nil {
			t.Fatal(err)
		}
		args := []string{"import", "--app", app, "--write", filepath.Join(copied, "argosy.yaml")}
		for _, f := range p.files {
			args = append(args, filepath.Join(copied, f))
		}
		argosy(t, args...)
		argosy(t, "apply", filepath.Join(copied, "argosy.yaml"))
	}
	for _, p := range projects {
		t.Run(p.name, func(t *testing.T) {
			app := "import-" + p.name
			for stack, n := range p.targets {
				eventually(t, 4*time.Minute, fmt.Sprintf("%s/%s has %d ready", app, stack, n), func() error {
					_, err := ready(app+"/"+stack, n)
					return err
				})
			}
			eventually(t, 30*time.Second, p.from+" gets its answer", func() error {
				r := w.run(nil, append([]string{"exec", app + "/" + p.from, "--"}, p.ask...)...)
				if r.code != 0 || !strings.Contains(strings.ReplaceAll(r.out, "\r", ""), p.want) {
					return fmt.Errorf("want %q: %s", p.want, r)
				}
				return nil
			})
		})
	}
}

// buildImportImage builds the image of the projects out of Debian packages, and sends it to the cluster by all its names.
func buildImportImage(t *testing.T) {
	t.Helper()
	base, err := exec.Command("docker", "images", "--format", "{{.Repository}}:{{.Tag}}", "argosy-example/base").Output()
	if err != nil || len(strings.Fields(string(base))) == 0 {
		t.Fatalf("the base of the example's images is not there: %v", err)
	}
	args := []string{"build", "--network", "host", "--label", "argosy.example=import", "--build-arg", "BASE=" + strings.Fields(string(base))[0]}
	load := []string{"image", "load"}
	for _, name := range importImages {
		args = append(args, "--tag", "argosy-import/"+name)
		load = append(load, "argosy-import/"+name)
	}
	out, err := exec.Command("docker", append(args, filepath.Join(w.root, "test/e2e/testdata/import/image"))...).CombinedOutput()
	if err != nil {
		t.Fatalf("build the image of the imported projects: %v\n%s", err, out)
	}
	argosy(t, load...)
}
