package main

import (
	"archive/tar"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/argosy-cluster/argosy/internal/freeport"
	_ "github.com/argosy-cluster/argosy/internal/node" // so that go test knows what the executables are made of
)

func TestMain(m *testing.M) {
	testscript.Main(built{m}, map[string]func(){"editor": editor})
}

// built runs tests with argosy and argosyd on the path, as they are shipped. This test program could be both, and would take
// several times as long to load, as often as scripts run a command.
type built struct{ tests testscript.TestingM }

func (b built) Run() int {
	dir, err := os.MkdirTemp("", "argosy-built")
	if err == nil {
		defer os.RemoveAll(dir)
		err = os.Setenv("PATH", dir+string(filepath.ListSeparator)+os.Getenv("PATH"))
	}
	if err == nil {
		var out []byte
		if out, err = exec.Command("go", "build", "-buildvcs=false", "-ldflags", "-s -w", "-o", dir, ".", "../argosyd").CombinedOutput(); err != nil {
			err = fmt.Errorf("building argosy and argosyd: %w\n%s", err, out)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return b.tests.Run()
}

// TestScripts runs the command line as people do: each script is a story with a real server, without machines.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			// Sockets have short names only, and work directories of tests are deep.
			dir, err := os.MkdirTemp("", "argosy")
			if err != nil {
				return err
			}
			env.Defer(func() { _ = os.RemoveAll(dir) })
			env.Setenv("SOCKET", filepath.Join(dir, "s"))
			env.Setenv("HOME", env.WorkDir)
			env.Setenv("ARGOSY_SERVER", "unix://"+filepath.Join(dir, "s"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"server":      startServer,
			"storage":     startStorage,
			"stop":        stopServer,
			"double":      joinDoubles,
			"within":      within,
			"archive":     archive,
			"replicas":    replicas,
			"interrupted": interrupted,
			"formats":     formats,
		},
	})
}

// startServer starts a server on the script's data directory and waits until it answers.
func startServer(ts *testscript.TestScript, neg bool, _ []string) {
	if neg {
		ts.Fatalf("server cannot be negated")
	}
	addr := ts.Getenv("LISTEN")
	if addr == "" {
		addr = freeAddress(ts)
		ts.Setenv("LISTEN", addr)
	}
	cmd := exec.Command("argosy", "server", "--data-dir", ts.MkAbs("server"), "--socket", ts.Getenv("SOCKET"),
		"--listen", addr, "--advertise", addr, "--liveness", "3s")
	cmd.Env = append(os.Environ(), "PATH="+ts.Getenv("PATH"))
	if trusted := ts.Getenv("SSL_CERT_FILE"); trusted != "" {
		cmd.Env = append(cmd.Env, "SSL_CERT_FILE="+trusted)
	}
	path, err := exec.LookPath("argosy")
	ts.Check(err)
	cmd.Path = path
	log, err := os.OpenFile(ts.MkAbs("server.log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	ts.Check(err)
	cmd.Stderr = log
	ts.Check(cmd.Start())
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	kill := func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-done:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-done
		}
		_ = log.Close()
	}
	running.Store(ts.Getenv("SOCKET"), kill)
	ts.Defer(func() { stopServer(ts, false, nil) })
	if err := poll(15*time.Second*busy, func() error {
		select {
		case err := <-done:
			done <- err
			b, _ := os.ReadFile(ts.MkAbs("server.log"))
			return fatal{fmt.Errorf("the server ended: %w\n%s", err, b)}
		default:
		}
		return ts.Exec("argosy", "status")
	}); err != nil {
		ts.Fatalf("the server does not answer: %v", err)
	}
}

// joinDoubles has machines join that are played: double m1 m2. With `!` those of that name lose their network.
func joinDoubles(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		if neg {
			stop, ok := doubles.Load(ts.Getenv("SOCKET") + name)
			if !ok {
				ts.Fatalf("no machine %s is played", name)
			}
			stop.(func())()
			continue
		}
		n, err := strconv.Atoi(strings.TrimPrefix(name, "m"))
		ts.Check(err)
		ts.Check(ts.Exec("argosy", "token", "create", "-o", "json"))
		var res struct{ Token string }
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &res))
		stop, err := startDouble(context.Background(), res.Token, n, ts.MkAbs("double-"+name))
		ts.Check(err)
		stop = sync.OnceFunc(stop)
		doubles.Store(ts.Getenv("SOCKET")+name, stop)
		ts.Defer(stop)
	}
}

// doubles ends the machines that are played, by their script's socket and their name.
var doubles sync.Map

// interrupted runs a command against a server that accepts and says nothing, presses Ctrl-C, and wants exit code 130.
func interrupted(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: interrupted ARGUMENT...")
	}
	socket := ts.Getenv("SOCKET") + ".silent"
	l, err := net.Listen("unix", socket)
	ts.Check(err)
	defer l.Close()
	path, err := exec.LookPath("argosy")
	ts.Check(err)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, append([]string{"--server", "unix://" + socket}, args...)...)
	var said bytes.Buffer
	cmd.Stderr = &said
	ts.Check(cmd.Start())
	stop := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stop()
	conn, err := l.Accept()
	if err == nil {
		defer conn.Close()
		err = cmd.Process.Signal(os.Interrupt)
	}
	if waited := cmd.Wait(); err != nil || cmd.ProcessState.ExitCode() != 130 {
		ts.Fatalf("argosy %v: %v, %v: %s", args, err, waited, &said)
	}
}

// running holds, by socket, how to stop the servers of scripts, which run side by side.
var running sync.Map

func stopServer(ts *testscript.TestScript, _ bool, _ []string) {
	if stop, ok := running.LoadAndDelete(ts.Getenv("SOCKET")); ok {
		stop.(func())()
	}
}

func freeAddress(ts *testscript.TestScript) string {
	addr, err := freeport.Address()
	ts.Check(err)
	return addr
}

type fatal struct{ error }

func poll(limit time.Duration, f func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := f()
		if err == nil {
			return nil
		}
		if errors.As(err, &fatal{}) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// busy is how many times longer than a script says a host may take that has much else to do. Scripts say what people see; how quick
// things are is measured elsewhere.
const busy = 6

// within repeats a command until it succeeds (or, negated, fails): within 5s argosy ps.
func within(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: within DURATION COMMAND...")
	}
	limit, err := time.ParseDuration(args[0])
	ts.Check(err)
	err = poll(limit*busy, func() error {
		if args[1] == "replicas" {
			return haveReplicas(ts, args[2:])
		}
		err := ts.Exec(args[1], args[2:]...)
		if neg {
			if err == nil {
				return fmt.Errorf("it still succeeds")
			}
			return nil
		}
		return err
	})
	if err != nil {
		ts.Fatalf("%v: %v", args, err)
	}
}

// replicas asks whether an app has so many replicas: replicas shop 2.
func replicas(ts *testscript.TestScript, neg bool, args []string) {
	if err := haveReplicas(ts, args); (err == nil) == neg {
		ts.Fatalf("replicas %v: %v", args, err)
	}
}

func haveReplicas(ts *testscript.TestScript, args []string) error {
	if len(args) != 2 {
		ts.Fatalf("usage: replicas APP NUMBER")
	}
	if err := ts.Exec("argosy", "ps", args[0], "-o", "name"); err != nil {
		return err
	}
	if n := len(strings.Fields(ts.ReadFile("stdout"))); fmt.Sprint(n) != args[1] {
		return fmt.Errorf("app %s has %d replicas", args[0], n)
	}
	return nil
}

// archive writes a small image as `docker save` does: archive FILE NAME:TAG.
func archive(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: archive FILE NAME:TAG")
	}
	var layer bytes.Buffer
	ts.Check(writeTar(&layer, map[string][]byte{"hello": []byte("world")}))
	sum := sha256.Sum256(layer.Bytes())
	config, err := json.Marshal(map[string]any{"architecture": "amd64", "os": "linux",
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{fmt.Sprintf("sha256:%x", sum)}}})
	ts.Check(err)
	manifest, err := json.Marshal([]map[string]any{{"Config": "config.json", "RepoTags": []string{args[1]}, "Layers": []string{"layer.tar"}}})
	ts.Check(err)
	var out bytes.Buffer
	ts.Check(writeTar(&out, map[string][]byte{"config.json": config, "layer.tar": layer.Bytes(), "manifest.json": manifest}))
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), out.Bytes(), 0o600))
}

func writeTar(w io.Writer, files map[string][]byte) error {
	t := tar.NewWriter(w)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if err := t.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(files[name]))}); err != nil {
			return err
		}
		if _, err := t.Write(files[name]); err != nil {
			return err
		}
	}
	return t.Close()
}
