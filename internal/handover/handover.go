// Package handover joins Argosy's two executables. argosy has every command and is quick to start; argosyd has the rooms that
// are not, and carries out what needs them, in place of the process that was asked:
//
//	argosy server  ─▶  flags are checked  ─▶  handover.To(args)       does not return when it worked
//	argosyd        ─▶  handover.Taken()                               refuses an argosy of another version
//
// Arguments, environment, terminal and process id stay, so nobody who started argosy sees a difference, systemd neither.
package handover

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/argosy-cluster/argosy/internal/version"
)

// The names of the executables.
const (
	Light = "argosy"
	Heavy = "argosyd"
)

// variable tells argosyd the version of the argosy that hands over.
const variable = "ARGOSY_HANDOVER"

// To replaces this process with argosyd, which gets the arguments. It returns only when that is impossible.
func To(args []string) error {
	path, err := Find(Heavy)
	if err != nil {
		return err
	}
	if from, ok := os.LookupEnv(variable); ok {
		return fmt.Errorf("%s is argosy (%s) and not argosyd: install the two of one build, as 'make install' does", path, from)
	}
	err = syscall.Exec(path, append([]string{path}, args...), append(os.Environ(), variable+"="+version.Version))
	return fmt.Errorf("starting %s, which carries out this command: %w", path, err)
}

// Taken reports whether this process, an argosyd, was argosy before. It fails when that was of another version. What is
// started from here learns nothing of it.
func Taken() (bool, error) {
	from, ok := os.LookupEnv(variable)
	if !ok {
		return false, nil
	}
	if err := os.Unsetenv(variable); err != nil {
		return false, fmt.Errorf("forgetting who handed over: %w", err)
	}
	return true, sameBuild(from)
}

func sameBuild(from string) error {
	if from == version.Version {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		self = Heavy
	}
	return fmt.Errorf("argosy is version %s, but %s is %s: install the two of one build, as 'make install' does", from, self, version.Version)
}

// Find is where the other executable is: beside this one, where packages may put it, or where PATH says.
func Find(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding this executable: %w", err)
	}
	return FindFor(self, name)
}

// FindFor is where an executable finds the other one, called name.
func FindFor(executable, name string) (string, error) {
	path, err := filepath.EvalSymlinks(executable)
	if err != nil {
		return "", fmt.Errorf("looking for %s: %w", name, err)
	}
	looked := places(path)
	for _, dir := range looked {
		if other := filepath.Join(dir, name); runnable(other) {
			return other, nil
		}
	}
	other, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("%s is missing, which has what this needs: it is neither in %s nor in PATH\n"+
			"Install it beside %s, from the same build: 'make install' does", name, strings.Join(looked, " or "), path)
	}
	return other, nil
}

// places are the directories where an executable at path looks for the other: its own, then from PREFIX/bin to
// PREFIX/libexec/argosy, and back.
func places(path string) []string {
	dir := filepath.Dir(path)
	out := []string{dir}
	if filepath.Base(dir) == "bin" {
		out = append(out, filepath.Join(dir, "../libexec/argosy"))
	}
	if strings.HasSuffix(dir, "/libexec/argosy") {
		out = append(out, filepath.Join(dir, "../../bin"))
	}
	return out
}

func runnable(path string) bool {
	st, err := os.Stat(path)
	return err == nil && st.Mode().IsRegular() && st.Mode()&0o111 != 0
}
