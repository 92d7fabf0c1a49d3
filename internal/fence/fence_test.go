package fence

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// programs is a directory with one program, whose text a shell reads.
func programs(t *testing.T, text string) Programs {
	t.Helper()
	p := Programs{Dir: t.TempDir()}
	if err := os.Chmod(p.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	put(t, p, "san", text)
	return p
}

func put(t *testing.T, p Programs, name, text string) string {
	t.Helper()
	path := filepath.Join(p.Dir, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, 0o755); err != nil { // whatever umask says
		t.Fatal(err)
	}
	return path
}

var request = Request{Program: "san", Machine: "0a1b", Name: "m1", Address: "192.0.2.7", Volume: "default/shop/db.1/data", Source: "LABEL=x; $(id)", Session: "5e55"}

func TestFacts(t *testing.T) {
	t.Setenv("ARGOSY_SECRET", "x")
	out := filepath.Join(t.TempDir(), "out")
	p := programs(t, `{ echo "$# $1"; pwd; env | grep -v -e ^PWD= -e ^_= -e ^SHLVL= -e ^OLDPWD= | sort; cat; } > `+out)
	if err := p.Allow(t.Context(), request); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	want := `1 allow
/
ARGOSY_FENCE_ADDRESS=192.0.2.7
ARGOSY_FENCE_MACHINE=0a1b
ARGOSY_FENCE_MACHINE_NAME=m1
ARGOSY_FENCE_SESSION=5e55
ARGOSY_FENCE_SOURCE=LABEL=x; $(id)
ARGOSY_FENCE_VOLUME=default/shop/db.1/data
LC_ALL=C.UTF-8
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
`
	if string(got) != want {
		t.Errorf("it was told:\n%swant:\n%s", got, want)
	}
}

func TestOutcomes(t *testing.T) {
	for name, c := range map[string]struct{ text, want string }{
		"confirmed":          {"exit 0", ""},
		"refused":            {"echo hello; echo 'no path to the storage' >&2; echo; exit 3", "san fence ended with status 3: no path to the storage"},
		"silent":             {"exit 1", "san fence ended with status 1"},
		"ended by a signal":  {"kill -TERM $$", "san fence was ended by terminated"},
		"ends mid-line":      {"printf 'a\\nb'; exit 1", "san fence ended with status 1: b"},
		"control characters": {`printf 'a\033[31mred\007\n'; exit 1`, "san fence ended with status 1: a [31mred"},
		"no text":            {`printf '\377\376x\n'; exit 1`, "san fence ended with status 1: ?x"},
		"hangs":              {"echo connecting; sleep 60", "san fence was killed after 0.5s: connecting"},
		"ignores signals":    {"trap '' TERM INT HUP; while :; do sleep 1; done", "san fence was killed after 0.5s"},
		"leaves something":   {"sleep 60 & exit 0", "san fence left something behind that goes on, so it confirms nothing"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := programs(t, c.text)
			p.Limit = 500 * time.Millisecond
			if name == "leaves something" {
				p.Limit = 10 * time.Second
			}
			err := p.Fence(t.Context(), request)
			got := ""
			if err != nil {
				got = err.Error()
			}
			// What a loaded host adds to the limit is told, too.
			if before, after, hung := strings.Cut(got, "killed after "); hung {
				_, said, _ := strings.Cut(after, "s")
				got = before + "killed after 0.5s" + said
			}
			if got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// A program that prints without end costs no memory, and one that hangs leaves no process behind.
func TestFloodAndOffspring(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	p := programs(t, "sleep 600 & echo $! > "+pids+"; head -c 20000000 /dev/zero | tr '\\0' x; while :; do echo yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy; done")
	p.Limit = time.Second
	err := p.Fence(t.Context(), request)
	if err == nil || len(err.Error()) > 2*mostLine || !strings.Contains(err.Error(), "killed after") {
		t.Errorf("%.1000v", err)
	}
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	for range 100 {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) || zombie(pid) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Errorf("process %d of a program that was killed goes on", pid)
}

// zombie: in a container without a first process that reaps, what was killed stays in the list.
func zombie(pid int) bool {
	text, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(text), ") Z ")
}

func TestBrokenOff(t *testing.T) {
	begun := filepath.Join(t.TempDir(), "begun")
	p := programs(t, "touch "+begun+"; sleep 60")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if _, err := os.Stat(begun); err == nil {
				cancel()
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if err := p.Fence(ctx, request); !errors.Is(err, context.Canceled) {
		t.Errorf("when its leader's term ended: %v", err)
	}
}

func TestWhatIsRun(t *testing.T) {
	p := programs(t, "exit 0")
	refuses := func(name, want string) {
		t.Helper()
		err := p.Check(name)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", name, err, want)
		}
		r := request
		r.Program = name
		if err := p.Fence(t.Context(), r); err == nil {
			t.Errorf("%q was run", name)
		}
	}
	if err := p.Check("san"); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "..", "../san", "/bin/true", "san/x", "San", "san ", "-san", strings.Repeat("a", 64), "a\x00b"} {
		refuses(name, "cannot be the name of a fence")
	}
	refuses("nvme", "there is no fence program "+p.Dir+"/nvme")
	change := func(name string, how func(path string) error) {
		t.Helper()
		if err := how(put(t, p, name, "exit 0")); err != nil {
			t.Fatal(err)
		}
	}
	change("group", func(path string) error { return os.Chmod(path, 0o775) })
	refuses("group", "can be written by others (mode 0775)")
	change("plain", func(path string) error { return os.Chmod(path, 0o644) })
	refuses("plain", "cannot be executed")
	change("link", func(path string) error { return errors.Join(os.Remove(path), os.Symlink("/bin/true", path)) })
	refuses("link", "is a symbolic link")
	change("dir", func(path string) error { return errors.Join(os.Remove(path), os.Mkdir(path, 0o755)) })
	refuses("dir", "is no regular file")
	change("pipe", func(path string) error { return errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o700)) })
	refuses("pipe", "is no regular file")
	if os.Geteuid() == 0 {
		change("others", func(path string) error { return os.Chown(path, 12345, 0) })
		refuses("others", "belongs to user 12345")
	}
	if err := os.Chmod(p.Dir, 0o777); err != nil {
		t.Fatal(err)
	}
	refuses("san", "can be written by others (mode 0777)")
	p.Dir += "/none"
	refuses("san", "there is no directory")
}
