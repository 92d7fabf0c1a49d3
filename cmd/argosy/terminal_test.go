package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/argosy-cluster/argosy/internal/freeport"
)

var rewrite = flag.Bool("rewrite", false, "write the screens in testdata/screen anew")

// TestTerminal looks at the live views as people do: the program runs in a real terminal (tmux) against a real server with
// three machines that are played, and what is on the screen is compared with testdata/screen. After a change:
//
//	go test ./cmd/argosy -run TestTerminal -rewrite && git diff cmd/argosy/testdata/screen
func TestTerminal(t *testing.T) {
	if _, err := exec.LookPath("tmux"); err != nil {
		t.Fatal("tmux is missing, and the terminal views are tested in it: run make install-deps, or apt-get install tmux")
	}
	dir, err := os.MkdirTemp("", "argosy") // sockets have short names only
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &testServer{t: t, dir: dir}
	s.start()
	for n := 1; n <= 3; n++ {
		joinDouble(t, s.token(), n)
	}
	manifest := filepath.Join(dir, "shop.yaml")
	if err := os.WriteFile(manifest, []byte(terminalApp), 0o600); err != nil {
		t.Fatal(err)
	}
	s.argosy("apply", manifest)
	s.until(func() bool { return strings.Count(s.argosy("ps", "-o", "json"), "REPLICA_STATE_READY\"") >= 2*299 })

	t.Run("80x24", func(t *testing.T) { s.tour(t, 80, 24) })
	t.Run("200x50", func(t *testing.T) { s.tour(t, 200, 50) })
	t.Run("handover", s.handover)
	t.Run("signals", s.signals)
	t.Run("watch", s.watch)
	t.Run("disconnected", s.disconnected)
}

const terminalApp = `argosy: v1
app: shop
containers:
  web: {image: "127.0.0.1:1/web:1", cpus: 0.05, mem_limit: 16m}
  log: {image: "127.0.0.1:1/log:1", cpus: 0.05, mem_limit: 16m}
stacks:
  front: {containers: [web, log], placement: {spread: [machine]}}
cluster: {front: 300}
`

// tour is what a person looks at one after another.
func (s *testServer) tour(t *testing.T, width, height int) {
	p := s.terminal(t, width, height, "argosy top")
	name := func(n string) string { return fmt.Sprintf("%s-%dx%d", n, width, height) }
	p.screen(name("replicas"), "3/3 machines  cpu", "300 replicas: 299 ready, 1 failed", "0.02")
	p.keys(">", ">", ">")
	p.screen(name("by-cpu"), "CPU▼", "6.00")
	p.keys("/", "state:failed", "Enter")
	p.screen(name("filtered"), "(1 of 300)")
	p.keys("Enter")
	p.screen(name("containers"), "containers of shop/front.13", "0.13")
	p.keys("x")
	p.see("shop/front.13 is failed", "Each machine as it stands now:")
	p.keys("Escape")
	p.see("containers of shop/front.13")
	p.keys("Escape")
	p.see("(1 of 300)")
	p.keys("Escape") // with a key right behind it, a terminal takes it for Alt
	p.see("argosy top  replicas  ")
	p.keys("Tab")
	p.screen(name("machines"), "m3", "64G", "400G")
	p.keys("Down", "Enter")
	p.see("replicas on m2 (100 of 300)")
	p.keys("?")
	p.screen(name("help"), "Any key comes back.")
	p.keys("q")
	p.see("replicas on m2 (100 of 300)")
	p.keys("q")
	p.see("ended with 0")
	p.restored()
}

// handover gives the terminal to logs and to a shell, and takes it back.
func (s *testServer) handover(t *testing.T) {
	p := s.terminal(t, 80, 24, "argosy top shop/front.7")
	p.see("shop/front.7 ", "now")
	p.keys("e")
	p.see("Choose a container")
	p.keys("e")
	p.see("container$")
	p.keys("echoed")
	p.see("container$ echoed")
	p.keys("C-c") // is the container's
	p.keys("C-d")
	p.see("containers of shop/front.7", "live")
	p.keys("Down", "l")
	p.see("hello from")
	p.keys("C-c")
	p.see("containers of shop/front.7", "live")
	p.keys("C-c")
	p.see("ended with 0")
	p.restored()
}

// signals end or stop the view, and leave the terminal as it was.
func (s *testServer) signals(t *testing.T) {
	p := s.terminal(t, 80, 24, "argosy top")
	p.see("300 replicas")
	s.signal(p, syscall.SIGTERM)
	p.see("ended with 0")
	p.restored()

	for _, stop := range []func(p *pane){
		func(p *pane) { p.keys("C-z") },
		func(p *pane) { s.signal(p, syscall.SIGTSTP) },
	} {
		p = s.shell(t, 80, 24)
		p.keys("argosy top", "Enter")
		p.see("300 replicas")
		stop(p)
		p.see("Stopped")
		p.restored()
		p.keys("fg", "Enter")
		p.see("300 replicas", "live")
		p.keys("q")
		p.see("here$")
		p.restored()
	}
	for _, size := range [][2]int{{20, 5}, {3, 2}, {200, 50}, {80, 24}} {
		p = s.terminal(t, 80, 24, "argosy top")
		p.see("300 replicas")
		p.resize(size[0], size[1])
		p.see(">")
		p.keys("q")
		p.resize(80, 24)
		p.see("ended with 0")
	}
}

// watch is ps --watch, on a terminal and on a pipe.
func (s *testServer) watch(t *testing.T) {
	p := s.terminal(t, 80, 24, "argosy ps --watch --members shop/front.13")
	p.screen("ps-watch-80x24", "argosy ps shop/front.13", "backoff", "live")
	p.keys("q")
	p.see("ended with 0")
	p.restored()

	p = s.terminal(t, 100, 24, "argosy ps --watch shop/front.13 | cat")
	p.see("REPLICA ", "shop/front.13 ", "failed", "exited with 1")
	p.keys("C-c")
	p.see("interrupted")

	p = s.terminal(t, 100, 24, "NO_COLOR=1 TERM=dumb argosy top shop/front.13")
	p.see("REPLICA ", "shop/front.13 ", "0.26", "ended with 0")
}

// disconnected says so, and how old what it shows is; it goes on by itself.
func (s *testServer) disconnected(t *testing.T) {
	p := s.terminal(t, 80, 24, "argosy top")
	p.see("299 ready", "live")
	s.stop()
	p.see("disconnected, retrying; data is", "s old", "ready?")
	s.start()
	p.see("299 ready", "live", " ready ")
	p.keys("q")
	p.see("ended with 0")
}

// testServer is a server of one test.
type testServer struct {
	t    *testing.T
	dir  string
	addr string
	cmd  *exec.Cmd
}

func (s *testServer) start() {
	s.t.Helper()
	if s.addr == "" {
		var err error
		if s.addr, err = freeport.Address(); err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(func() { s.stop() })
	}
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command("argosy", "server", "--data-dir", filepath.Join(s.dir, "data"), "--socket", filepath.Join(s.dir, "s"), "--listen", s.addr, "--advertise", s.addr)
	s.cmd.Stderr = log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	s.until(func() bool { return s.command("status").Run() == nil })
}

func (s *testServer) stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	_ = s.cmd.Wait()
	s.cmd = nil
}

func (s *testServer) command(args ...string) *exec.Cmd {
	cmd := exec.Command("argosy", args...)
	cmd.Env = append(os.Environ(), "ARGOSY_SERVER=unix://"+filepath.Join(s.dir, "s"), "HOME="+s.dir)
	return cmd
}

func (s *testServer) argosy(args ...string) string {
	s.t.Helper()
	cmd := s.command(args...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		s.t.Fatalf("argosy %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	return string(out)
}

func (s *testServer) token() string {
	var res struct{ Token string }
	if err := json.Unmarshal([]byte(s.argosy("token", "create", "-o", "json")), &res); err != nil {
		s.t.Fatal(err)
	}
	return res.Token
}

// patience is how long anything may take to appear on a screen.
const patience = 15 * time.Second

func (s *testServer) until(so func() bool) {
	s.t.Helper()
	if err := poll(patience, func() error {
		if so() {
			return nil
		}
		return fmt.Errorf("not after %s", patience)
	}); err != nil {
		log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
		s.t.Fatalf("%v\n%s", err, log[max(0, len(log)-4000):])
	}
}

// pane is a terminal of its own.
type pane struct {
	t      *testing.T
	socket string
	tty    string
}

// terminal runs a command in a terminal, and says how it ended.
func (s *testServer) terminal(t *testing.T, width, height int, command string) *pane {
	return s.pane(t, width, height, "trap : INT; stty -a >"+filepath.Join(s.dir, "stty")+"; "+command+"; echo ended with $?; cat")
}

// shell is a terminal with a shell that knows jobs.
func (s *testServer) shell(t *testing.T, width, height int) *pane {
	return s.pane(t, width, height, "stty -a >"+filepath.Join(s.dir, "stty")+"; PS1='here$ ' exec bash --norc -i")
}

func (s *testServer) pane(t *testing.T, width, height int, command string) *pane {
	t.Helper()
	dir, err := os.MkdirTemp(s.dir, "t")
	if err != nil {
		t.Fatal(err)
	}
	p := &pane{t: t, socket: filepath.Join(dir, "s")}
	conf := filepath.Join(dir, "conf")
	if err := os.WriteFile(conf, []byte("set -g status off\nset -g default-terminal screen-256color\nset -s escape-time 0\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("tmux", "-u", "-S", p.socket, "-f", conf, "new-session", "-d", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height), "sh", "-c", command)
	cmd.Env = append(s.command().Env, "LC_ALL=C.UTF-8", "SHELL=/bin/sh")
	for i, e := range cmd.Env { // a terminal inside another is nobody's business
		if strings.HasPrefix(e, "TMUX") || strings.HasPrefix(e, "NO_COLOR") {
			cmd.Env[i] = "X="
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("tmux: %v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("tmux", "-S", p.socket, "kill-server").Run() })
	p.tty = filepath.Join(s.dir, "stty")
	return p
}

func (p *pane) tmux(args ...string) string {
	p.t.Helper()
	out, err := exec.Command("tmux", append([]string{"-u", "-S", p.socket}, args...)...).CombinedOutput()
	if err != nil {
		p.t.Fatalf("tmux %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// keys presses keys; what is no key's name is typed.
func (p *pane) keys(keys ...string) {
	p.t.Helper()
	for _, k := range keys {
		p.tmux("send-keys", k)
	}
}

func (p *pane) resize(width, height int) {
	p.t.Helper()
	p.tmux("resize-window", "-x", fmt.Sprint(width), "-y", fmt.Sprint(height))
}

func (p *pane) capture() string { return p.tmux("capture-pane", "-p") }

// see waits until all of these are on the screen.
func (p *pane) see(all ...string) string {
	p.t.Helper()
	screen := ""
	err := poll(patience, func() error {
		screen = p.capture()
		for _, s := range all {
			if !strings.Contains(screen, s) {
				return fmt.Errorf("%q is not on the screen after %s", s, patience)
			}
		}
		return nil
	})
	if err != nil {
		p.t.Fatalf("%v:\n%s", err, screen)
	}
	return screen
}

var (
	anAge     = regexp.MustCompile(` +\d+(ms|[smhd])\b`)
	aMachine  = regexp.MustCompile(`(?m)^([ >] *\S+ .*?) m[123] `)
	noTrailer = regexp.MustCompile(`(?m) +$`)
)

// screen waits until the screen is as it was written down. What differs from run to run (ages, which of three equal machines
// it was) is made equal first.
func (p *pane) screen(name string, marks ...string) {
	p.t.Helper()
	same := func(s string) string {
		return noTrailer.ReplaceAllString(aMachine.ReplaceAllString(anAge.ReplaceAllString(s, " (age)"), "$1 mX "), "")
	}
	p.see(marks...)
	file := filepath.Join("testdata", "screen", name+".txt")
	if *rewrite {
		last, times := "", 0
		_ = poll(patience, func() error {
			now := same(p.capture())
			if now != last {
				last, times = now, 0
			}
			if times++; times < 30 {
				return fmt.Errorf("it still changes")
			}
			return nil
		})
		if err := os.WriteFile(file, []byte(last), 0o600); err != nil {
			p.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		p.t.Fatal(err)
	}
	diff := ""
	if err := poll(patience, func() error {
		if diff = cmp.Diff(string(want), same(p.capture())); diff != "" {
			return fmt.Errorf("it differs")
		}
		return nil
	}); err != nil {
		p.t.Fatalf("the screen is not as in %s (write it anew with -rewrite, and judge the change):\n%s", file, diff)
	}
}

// restored checks that the terminal is as before: its modes, its cursor, its own screen.
func (p *pane) restored() {
	p.t.Helper()
	want, err := os.ReadFile(p.tty)
	if err != nil {
		p.t.Fatal(err)
	}
	modes := "#{alternate_on} #{cursor_flag} #{mouse_any_flag} #{mouse_button_flag} #{keypad_cursor_flag}"
	if err := poll(patience, func() error {
		if got := strings.TrimSpace(p.tmux("display-message", "-p", modes)); got != "0 1 0 0 0" {
			return fmt.Errorf("alternate screen, cursor, mouse, mouse, keys are %q, want %q", got, "0 1 0 0 0")
		}
		stty := exec.Command("stty", "-a", "-F", strings.TrimSpace(p.tmux("display-message", "-p", "#{pane_tty}")))
		got, err := stty.Output()
		if err != nil {
			return err
		}
		if d := cmp.Diff(cooked(string(want)), cooked(string(got))); d != "" {
			return fmt.Errorf("the terminal's modes changed:\n%s", d)
		}
		return nil
	}); err != nil {
		p.t.Fatal(err)
	}
}

// cooked is whether a terminal echoes, makes lines and signals of keys, in stty's words. A shell that waits for input has
// modes of its own.
func cooked(stty string) string {
	var out []string
	for _, w := range strings.Fields(stty) {
		switch strings.TrimPrefix(w, "-") {
		case "isig", "opost":
			out = append(out, w)
		}
	}
	return strings.Join(out, " ")
}

// signal sends a signal to the program in a terminal.
func (s *testServer) signal(p *pane, sig syscall.Signal) {
	p.t.Helper()
	tty := strings.TrimPrefix(strings.TrimSpace(p.tmux("display-message", "-p", "#{pane_tty}")), "/dev/")
	out, err := exec.Command("ps", "-t", tty, "-o", "pid=,args=").Output()
	if err != nil {
		p.t.Fatal(err)
	}
	for l := range strings.Lines(string(out)) {
		f := strings.Fields(l)
		if len(f) == 3 && filepath.Base(f[1]) == "argosy" && f[2] == "top" {
			var pid int
			if _, err := fmt.Sscan(f[0], &pid); err != nil {
				p.t.Fatal(err)
			}
			if err := syscall.Kill(pid, sig); err != nil {
				p.t.Fatal(err)
			}
			return
		}
	}
	p.t.Fatalf("argosy top does not run on %s:\n%s", tty, out)
}
