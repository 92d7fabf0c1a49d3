package main

import (
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test executable be argosy-guard, and a container that writes.
func TestMain(m *testing.M) {
	switch os.Getenv("BE") {
	case "argosy-guard":
		main()
	case "writer":
		write()
	default:
		os.Exit(m.Run())
	}
}

// write appends to a file for ever.
func write() {
	f, err := os.OpenFile("/data/out", os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		println(err.Error())
		os.Exit(1)
	}
	for {
		if _, err := f.WriteString("x"); err != nil {
			os.Exit(1)
		}
		time.Sleep(time.Millisecond)
	}
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{[]string{"--help"}, 0, "--state /run/argosy-guard"},
		{[]string{"--version"}, 0, "argosy-guard "},
		{[]string{"b"}, 2, `nothing beside flags is understood: ["b"]`},
		{[]string{"--nonsense"}, 2, "not defined: -nonsense"},
	} {
		cmd := exec.Command(os.Args[0], c.args...)
		cmd.Env = append(os.Environ(), "BE=argosy-guard")
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != c.code || !strings.Contains(string(out), c.says) {
			t.Errorf("%q: code %d, want %d with %q:\n%s", c.args, cmd.ProcessState.ExitCode(), c.code, c.says, out)
		}
	}
}
