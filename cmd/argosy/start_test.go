package main

import (
	"bytes"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// What each of our packages may allocate as it is loaded, before any command runs. Whoever needs more does the work where it
// is needed: sync.OnceValue, internal/pattern.
const loadingMay = 16 << 10

// Generated descriptors of the protocol are registered as they are loaded; that is the library's way.
var loadsDescriptors = regexp.MustCompile(`/api/argosy/`)

// What a package does as it is loaded, every command waits for that is linked with it; argosyd has all packages of argosy.
// Time depends on the host; allocations do not, and are what costs.
func TestLoadingAllocatesLittle(t *testing.T) {
	cmd := exec.Command("argosyd", "--help")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	var trace bytes.Buffer
	cmd.Stderr = &trace
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, trace.String())
	}
	form := regexp.MustCompile(`init (\S+) @.*, (\d+) bytes, (\d+) allocs`)
	seen := 0
	for line := range strings.Lines(trace.String()) {
		m := form.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		seen++
		bytes, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(m[1], "github.com/argosy-cluster/argosy/") && !loadsDescriptors.MatchString(m[1]) && bytes > loadingMay {
			t.Errorf("%s allocates %d bytes as it is loaded, more than %d: do that where it is needed (sync.OnceValue, internal/pattern)", m[1], bytes, loadingMay)
		}
	}
	if seen < 50 {
		t.Fatalf("only %d packages are in the trace:\n%s", seen, trace.String())
	}
}
