//go:build e2e

package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/localcluster"
)

var fleetctl = flag.String("fleetctl", "", "fleet's own client, to try with the socket; empty leaves it out")

// fleetClient: fleet's own client does with Argosy what it did with fleet. It is told nothing of what it speaks to.
func fleetClient(t *testing.T) {
	socket := filepath.Join(filepath.Dir(strings.TrimPrefix(localcluster.ServerURL(*name), "unix://")), "fleet.sock")
	dir := t.TempDir()
	files := map[string]string{
		"alone-hello.service": "[Unit]\nDescription=hello\n\n[Service]\nExecStart=/usr/bin/sleep infinity\n",
		"alone-web@.service":  "[Unit]\nDescription=web %i\n\n[Service]\nExecStart=/usr/bin/sleep infinity\n\n[X-Fleet]\nConflicts=alone-web@*.service\n",
		"alone-glob.service":  "[Service]\nExecStart=/usr/bin/sleep infinity\n\n[X-Fleet]\nGlobal=true\n",
		"alone-bad.service":   "[Service]\nExecStart=/usr/bin/sleep infinity\n\n[X-Fleet]\nMachineMetadata=rack\n",
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	try := func(args ...string) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // it waits for ever for what does not come
		defer cancel()
		cmd := exec.CommandContext(ctx, *fleetctl, append([]string{"--driver=API", "--endpoint=unix://" + socket, "--request-timeout=10"}, args...)...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	do := func(args ...string) string {
		t.Helper()
		out, err := try(args...)
		if err != nil {
			t.Fatalf("fleetctl %v: %v\n%s", args, err, out)
		}
		return out
	}
	// lists waits until a list has these lines, a set of words each. What is done is seen a moment later.
	lists := func(command string, lines ...string) {
		t.Helper()
		eventually(t, 30*time.Second, "fleetctl "+command, func() error {
			out, err := try(command, "--no-legend", "--full")
			if err != nil {
				return err
			}
			var got []string
			for line := range strings.Lines(out) {
				words := strings.Fields(line)
				if len(words) > 1 && strings.HasPrefix(words[0], "alone-") {
					got = append(got, words[0]+" "+strings.Join(words[2:], " "))
				}
			}
			slices.Sort(got)
			if !slices.Equal(got, lines) {
				return fmt.Errorf("it says\n%s", out)
			}
			return nil
		})
	}
	if got := strings.Count(do("list-machines", "--no-legend"), "\n"); got != len(w.cluster.Machines) {
		t.Errorf("it sees %d machines", got)
	}
	do("submit", "alone-hello.service", "alone-web@.service", "alone-glob.service")
	lists("list-unit-files", "alone-glob.service inactive - global", "alone-hello.service inactive inactive -", "alone-web@.service inactive inactive -")
	if out := do("load", "alone-hello.service"); !strings.Contains(out, "Unit alone-hello.service loaded on ") {
		t.Errorf("load says %s", out)
	}
	if out := do("start", "alone-hello.service", "alone-web@1", "alone-web@2"); strings.Count(out, "launched") != 3 {
		t.Errorf("start says %s", out)
	}
	do("start", "alone-glob.service")
	lists("list-units", "alone-glob.service active running", "alone-glob.service active running", "alone-glob.service active running",
		"alone-hello.service active running", "alone-web@1.service active running", "alone-web@2.service active running")
	if running := pids(t, "alone-web@*.service"); machineOf(running["alone-web@1.service"]) == machineOf(running["alone-web@2.service"]) {
		t.Errorf("they conflict, and run as %v", running)
	}
	if out := do("cat", "alone-hello.service"); strings.TrimSpace(out) != strings.TrimSpace(files["alone-hello.service"]) {
		t.Errorf("cat says\n%s", out)
	}
	do("stop", "alone-hello.service")
	do("unload", "alone-web@1")
	lists("list-units", "alone-glob.service active running", "alone-glob.service active running", "alone-glob.service active running",
		"alone-hello.service inactive dead", "alone-web@2.service active running")
	if out, err := try("submit", "alone-bad.service"); err == nil {
		t.Errorf("nonsense was taken: %s", out)
	}
	do("destroy", "alone-web@2", "alone-web@1", "alone-hello.service", "alone-glob.service", "alone-web@.service")
	lists("list-unit-files")
}
