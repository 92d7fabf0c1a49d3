package kernel

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMain lets the test executable be the first process of a namespace, and one in it that resets.
func TestMain(m *testing.M) {
	switch os.Getenv("BE") {
	case "init":
		beInit()
	case "resetter":
		beResetter()
	default:
		os.Exit(m.Run())
	}
}

// beInit is what is to be reset.
func beInit() {
	if os.Getpid() != 1 || !Contained() {
		fmt.Println("this is no namespace of its own")
		os.Exit(3)
	}
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "BE=resetter")
	cmd.Stdout = os.Stdout
	if err := cmd.Run(); err != nil {
		fmt.Println("the resetter ended:", err)
	}
	fmt.Println("it goes on")
	os.Exit(4)
}

func beResetter() {
	if os.Getppid() != 1 || !Contained() {
		fmt.Println("this is no namespace of its own")
		os.Exit(3)
	}
	fmt.Println("reset")
	fmt.Println("not allowed:", Reset())
}

// TestResetOfAContainer: in a namespace of processes the reset ends that, and nothing else.
func TestResetOfAContainer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root: it makes a namespace of processes")
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "BE=init")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS}
	// A /proc of its own, mounted by the first process, would be of no use here: namespaces are told apart by links that the
	// host's /proc shows as well, of the process that looks.
	out, err := cmd.CombinedOutput()
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	if !ok || !status.Signaled() || status.Signal() != syscall.SIGHUP {
		t.Fatalf("it ended otherwise than by a reset: %v, %v\n%s", err, cmd.ProcessState, out)
	}
	if text := string(out); strings.TrimSpace(text) != "reset" {
		t.Errorf("something went on:\n%s", text)
	}
}

func TestWatchdogIsJudged(t *testing.T) {
	dir := t.TempDir()
	for name, files := range map[string]map[string]string{
		"watchdog0": {"identity": "Good Dog", "state": "inactive", "nowayout": "0"},
		"watchdog1": {"identity": "Busy Dog", "state": "active", "nowayout": "0"},
		"watchdog2": {"identity": "Stubborn Dog", "state": "inactive", "nowayout": "1"},
		"watchdog3": {},
	} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		for f, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name, f), []byte(text+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	for name, says := range map[string]string{"watchdog0": "", "watchdog1": "somebody else", "watchdog2": "nowayout", "watchdog3": "not there", "none": "not there", "": "not there"} {
		dog, err := kennel{dir: dir}.usable(name)
		if says == "" {
			if err != nil || dog.Name != "Good Dog" || dog.path != "/dev/watchdog0" {
				t.Errorf("%s: %+v, %v", name, dog, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A guard that was killed left it counting down: the next one has to feed it.
	for left, want := range map[string]string{"": "Good Dog", "watchdog1": "Busy Dog", "watchdog2": "Good Dog", "gone": "Good Dog"} {
		if dog, err := (kennel{dir, left}).search(); err != nil || dog.Name != want {
			t.Errorf("after %q: %+v, %v", left, dog, err)
		}
	}
	if dog, err := (kennel{dir: dir}).search(); err != nil || dog.Name != "Good Dog" {
		t.Errorf("%+v, %v", dog, err)
	}
	if dog, err := (kennel{dir: filepath.Join(dir, "none")}).search(); err != nil || dog != nil {
		t.Errorf("%+v, %v", dog, err)
	}
	if dog, err := FindWatchdog("off", filepath.Join(dir, "mark")); err == nil || dog != nil {
		t.Errorf("%+v, %v", dog, err)
	}
}
