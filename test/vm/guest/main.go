// Command guest runs in the virtual machine of test/vm, once after each boot, and goes on where the boot before ended. It says on
// standard output what it saw: "vm ok: …", "vm wrong: …", and "vm done" at its end.
package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/argosy-cluster/argosy/test/ledger"
)

const (
	diary    = "/var/lib/guest"
	manifest = "/etc/guest/one.yaml"
	image    = "argosy-test/ledger:1"
	patience = 10 * time.Minute // a machine that is emulated on a busy host takes its time
)

func main() {
	if err := run(); err != nil {
		say("wrong", "%v", err)
		say("done", "")
	}
}

func say(what, format string, args ...any) {
	text := "vm " + what
	if format != "" {
		text += ": " + fmt.Sprintf(format, args...)
	}
	fmt.Println(strings.ReplaceAll(text, "\n", " | "))
}

// parts are what is tried, one in each life of the machine.
var parts = []func() error{begin, afterWatchdog, afterStuck}

func run() error {
	if err := os.MkdirAll(diary, 0o755); err != nil {
		return err
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	done := 0
	for i := range parts {
		before, err := os.ReadFile(life(i))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		if string(before) == string(boot) {
			return errors.New("it runs for the second time since this machine booted")
		}
		done = i + 1
	}
	if done == len(parts) {
		return errors.New("the machine was reset once more than it should have been")
	}
	if err := write(life(done), boot); err != nil {
		return err
	}
	say("note", "life %d begins", done+1)
	if done > 0 {
		if err := os.Remove(meant()); err != nil {
			return fmt.Errorf("the machine was reset before it should have been: %w", err)
		}
	}
	return parts[done]()
}

// life is the file with the boot id of one.
func life(i int) string { return filepath.Join(diary, fmt.Sprintf("boot-%d", i+1)) }

// meant is there while a reset is expected.
func meant() string { return filepath.Join(diary, "meant") }

func write(path string, data []byte) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	return errors.Join(err, f.Sync(), f.Close())
}

// begin makes a cluster as docs/operations.md has it, starts the writer, and ends with a guard that hangs.
func begin() error {
	group, err := output("stat", "-f", "-c", "%T", "/sys/fs/cgroup")
	if err != nil {
		return err
	}
	driver, err := output("docker", "info", "--format", "{{.CgroupDriver}} {{.CgroupVersion}}")
	if err != nil {
		return err
	}
	check(group == "cgroup2fs" && driver == "systemd 2", "cgroups are %s, Docker's driver is %s", group, driver)
	if err := cluster(); err != nil {
		return err
	}
	if err := steps(
		step{"docker", "import", "--change", `ENTRYPOINT ["/writer"]`, "/etc/guest/writer.tar", image},
		step{"argosy", "image", "load", image},
		step{"argosy", "apply", manifest},
		step{"argosy", "wait", "one", "--timeout", patience.String()},
	); err != nil {
		return err
	}
	process, err := writer()
	if err != nil {
		return err
	}
	where, err := os.ReadFile("/proc/" + process + "/cgroup")
	if err != nil {
		return err
	}
	check(strings.Contains(string(where), "argosy-claim-one_w.1_data"), "the writer is in its claim's slice: %s", strings.TrimSpace(string(where)))

	for _, unit := range []string{"argosy-guard", "argosy-agent", "argosy-server", "argosy-witness"} {
		if err := steps(step{"systemctl", "restart", unit}); err != nil {
			return err
		}
		if err := wrote(process, unit+" began anew"); err != nil {
			return err
		}
	}
	if err := lapse(process); err != nil {
		return err
	}
	return untilReset("the guard hangs", step{"systemctl", "kill", "--signal", "STOP", "argosy-guard"})
}

func cluster() error {
	if err := steps(step{"systemctl", "start", "argosy-server", "argosy-witness"}); err != nil {
		return err
	}
	if err := await("the server answers", func() error { return quietly("argosy", "machines") }); err != nil {
		return err
	}
	token, err := output("argosy", "token", "create")
	if err != nil {
		return err
	}
	return steps(step{"argosy", "join", "--name", "vm1", token},
		step{"systemctl", "start", "argosy-guard", "argosy-agent"},
		step{"systemctl", "enable", "--quiet", "argosy-server", "argosy-witness", "argosy-guard", "argosy-agent"},
		step{"argosy", "wait", "machine/vm1", "--timeout", patience.String()})
}

// lapse takes the machine's lease away without a reset: nobody agrees any more.
func lapse(process string) error {
	begun := time.Now()
	if err := steps(step{"systemctl", "stop", "argosy-witness"}); err != nil {
		return err
	}
	if err := await("the writer has ended and its volume is unmounted", func() error {
		if _, err := os.Stat("/proc/" + process); err == nil {
			return errors.New("the writer runs")
		}
		if path, err := volume(); err == nil {
			return fmt.Errorf("%s is mounted", path)
		}
		return nil
	}); err != nil {
		return err
	}
	say("ok", "nobody agreed any more: the writer had ended and its volume was unmounted %.1f s later, without a reset", time.Since(begun).Seconds())
	return steps(step{"systemctl", "start", "argosy-witness"}, step{"argosy", "wait", "one", "--timeout", patience.String()})
}

// afterWatchdog looks at what the first reset left, and ends with something outside the slice that keeps the volume.
func afterWatchdog() error {
	say("ok", "a guard that hung: the machine was reset by its watchdog")
	if err := back(2); err != nil {
		return err
	}
	path, err := volume()
	if err != nil {
		return err
	}
	f, err := os.Create(filepath.Join(path, "data", "intruder"))
	if err != nil {
		return err
	}
	defer f.Close()
	return untilReset("a process outside the slice holds the volume, and nobody agrees to the lease any more", step{"systemctl", "stop", "argosy-witness"})
}

func afterStuck() error {
	say("ok", "a volume that could not be let go: the machine was reset by its guard")
	if err := back(3); err != nil {
		return err
	}
	say("done", "")
	return nil
}

// untilReset does what the machine has to be reset for.
func untilReset(why string, what step) error {
	if err := quietly("sync", "--file-system", diary); err != nil {
		return err
	}
	if err := write(meant(), []byte(why)); err != nil {
		return err
	}
	say("note", "%s", why)
	if err := steps(what); err != nil {
		return err
	}
	time.Sleep(patience)
	return fmt.Errorf("the machine was not reset: %s", why)
}

// back waits until the writer writes again by itself, and judges all that it wrote in its lives so far.
func back(lives int) error {
	if err := await("the server answers", func() error { return quietly("argosy", "machines") }); err != nil {
		return err
	}
	if err := steps(step{"argosy", "wait", "one", "--timeout", patience.String()}); err != nil {
		return err
	}
	process, err := writer()
	if err != nil {
		return err
	}
	if err := wrote(process, "after the reset"); err != nil {
		return err
	}
	path, err := volume()
	if err != nil {
		return err
	}
	f, err := os.Open(filepath.Join(path, "data", "ledger"))
	if err != nil {
		return err
	}
	defer f.Close()
	records, err := ledger.Read(f)
	if err != nil {
		return err
	}
	faults := ledger.Judge(across(records), nil)
	tokens := 0
	for i, r := range records {
		if i == 0 || records[i-1].Token.Less(r.Token) {
			tokens++
		}
	}
	check(len(faults) == 0 && tokens >= lives, "%d records with %d tokens, one after another; faults: %v", len(records), tokens, faults)
	return nil
}

// across has the clock, which begins anew with each boot, go on across boots.
func across(records []ledger.Record) []ledger.Record {
	var shift, last time.Duration
	for i := range records {
		if i > 0 && records[i].At < last && records[i].Life != records[i-1].Life {
			shift = records[i-1].At
		}
		last = records[i].At
		records[i].At += shift
	}
	return records
}

// wrote checks that the writer is the same process still, and that it writes.
func wrote(process, after string) error {
	path, err := volume()
	if err != nil {
		return err
	}
	size := func() int64 {
		info, err := os.Stat(filepath.Join(path, "data", "ledger"))
		if err != nil {
			return 0
		}
		return info.Size()
	}
	before := size()
	if err := await("more is written", func() error {
		if size() <= before {
			return errors.New("nothing was added to the ledger")
		}
		return nil
	}); err != nil {
		return err
	}
	now, err := writer()
	if err != nil {
		return err
	}
	check(now == process, "the writer is process %s, and was %s: %s", now, process, after)
	return nil
}

// writer is the process id of the container's.
func writer() (string, error) {
	id, err := output("docker", "ps", "--quiet", "--filter", "label=argosy.app=one")
	if err != nil {
		return "", err
	}
	return output("docker", "inspect", "--format", "{{.State.Pid}}", id)
}

// volume is where the disk is mounted.
func volume() (string, error) {
	return output("findmnt", "--noheadings", "--first-only", "--output", "TARGET", "--source", "LABEL=proof-vm")
}

func check(right bool, format string, args ...any) {
	if right {
		say("ok", format, args...)
		return
	}
	say("wrong", format, args...)
}

type step []string

func steps(all ...step) error {
	for _, s := range all {
		if err := quietly(s...); err != nil {
			return err
		}
	}
	return nil
}

func quietly(args ...string) error {
	_, err := output(args...)
	return err
}

func output(args ...string) (string, error) {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Env = append(os.Environ(), "NO_COLOR=1", "HOME=/root")
	var out, errs strings.Builder
	cmd.Stdout, cmd.Stderr = &out, io.Writer(&errs)
	if err := cmd.Run(); err != nil {
		if args[0] == "argosy" && args[1] == "join" {
			args = args[:2] // the token is nobody's business
		}
		return "", fmt.Errorf("%s: %w: %s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return strings.TrimSpace(out.String()), nil
}

func await(what string, f func() error) error {
	begun := time.Now()
	for {
		err := f()
		if err == nil {
			return nil
		}
		if time.Since(begun) > patience {
			return fmt.Errorf("%s: not after %s: %w", what, patience, err)
		}
		time.Sleep(200 * time.Millisecond)
	}
}
