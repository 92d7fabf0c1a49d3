// Command prog is the only thing inside the test image. It behaves, on request, in each of the ways a container can
// behave that Argosy must cope with. What it does is chosen by its arguments:
//
//	sleep DURATION|infinity          wait, end with 0; SIGTERM ends it with 143
//	exit CODE [DURATION]             wait, end with CODE
//	stubborn [DURATION]              like sleep, but deaf to SIGTERM: only SIGKILL ends it early
//	serve [ADDR] [READY-AFTER]       HTTP: / hostname and environment, /health 503 until READY-AFTER has passed then
//	                                 200, /env/NAME one variable, /exit/CODE ends the process. ADDR is ":8080"
//	log RATE [COUNT]                 RATE numbered lines a second (0: as fast as it can), COUNT of them (0: no end)
//	alloc MIB                        take and touch that much memory, then wait
//	spin                             burn one core
//	check URL                        end with 0 if URL answers 2xx within 2 s, else 1
//	cat [PATH]                       copy PATH, or standard input, to standard output
//	write PATH TEXT                  write TEXT to PATH and flush it to disk
//	append PATH TEXT                 append TEXT and a newline to PATH and flush it
//	env                              print the environment
//	tty                              say whether standard input is a terminal, then echo each line of it
package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const exitUsage = 64

func main() {
	args := os.Args[1:]
	if len(args) == 0 {
		args = []string{"sleep", "infinity"}
	}
	code, err := run(args[0], args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "prog:", err)
	}
	os.Exit(code)
}

func run(verb string, args []string) (int, error) {
	verbs := map[string]func([]string) (int, error){
		"sleep": sleep, "exit": exit, "stubborn": stubborn, "serve": serve, "log": logLines, "alloc": alloc,
		"spin": spin, "check": check, "cat": cat, "write": write, "append": appendLine, "env": env, "tty": tty,
	}
	do, ok := verbs[verb]
	if !ok {
		return exitUsage, fmt.Errorf("unknown verb %q", verb)
	}
	return do(args)
}

// wait returns nil after d, or the signal that came first. A negative d has no end.
func wait(d time.Duration) os.Signal {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1, syscall.SIGQUIT)
	var end <-chan time.Time
	if d >= 0 {
		end = time.After(d)
	}
	select {
	case s := <-caught:
		fmt.Println("caught", s)
		return s
	case <-end:
		return nil
	}
}

func waitThen(d time.Duration, code int) (int, error) {
	if s, ok := wait(d).(syscall.Signal); ok {
		return 128 + int(s), nil
	}
	return code, nil
}

func duration(args []string, i int, otherwise time.Duration) (time.Duration, error) {
	if len(args) <= i {
		return otherwise, nil
	}
	if args[i] == "infinity" {
		return -1, nil
	}
	return time.ParseDuration(args[i])
}

func number(args []string, i, otherwise int) (int, error) {
	if len(args) <= i {
		return otherwise, nil
	}
	return strconv.Atoi(args[i])
}

func sleep(args []string) (int, error) {
	d, err := duration(args, 0, -1)
	if err != nil {
		return exitUsage, err
	}
	return waitThen(d, 0)
}

func exit(args []string) (int, error) {
	code, err := number(args, 0, 0)
	if err != nil {
		return exitUsage, err
	}
	d, err := duration(args, 1, 0)
	if err != nil {
		return exitUsage, err
	}
	return waitThen(d, code)
}

func stubborn(args []string) (int, error) {
	d, err := duration(args, 0, -1)
	if err != nil {
		return exitUsage, err
	}
	signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	fmt.Println("deaf")
	return waitThen(d, 0)
}

func serve(args []string) (int, error) {
	addr := ":8080"
	if len(args) > 0 {
		addr = args[0]
	}
	after, err := duration(args, 1, 0)
	if err != nil {
		return exitUsage, err
	}
	var ready atomic.Bool
	ready.Store(after == 0)
	if after > 0 {
		time.AfterFunc(after, func() { ready.Store(true) })
	}
	srv := &http.Server{Addr: addr, Handler: pages(&ready), ReadHeaderTimeout: 10 * time.Second}
	failed := make(chan error, 1)
	go func() { failed <- srv.ListenAndServe() }()
	ended := make(chan os.Signal, 1)
	go func() { ended <- wait(-1) }()
	fmt.Println("serving on", addr)
	select {
	case err := <-failed:
		return 1, err
	case <-ended:
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		return 0, srv.Shutdown(ctx)
	}
}

func pages(ready *atomic.Bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) { describe(w) })
	mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			http.Error(w, "not ready", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "ok")
	})
	mux.HandleFunc("GET /env/{name}", func(w http.ResponseWriter, r *http.Request) {
		v, ok := os.LookupEnv(r.PathValue("name"))
		if !ok {
			http.NotFound(w, r)
			return
		}
		fmt.Fprintln(w, v)
	})
	mux.HandleFunc("/exit/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, err := strconv.Atoi(r.PathValue("code"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		os.Exit(code)
	})
	return mux
}

func describe(w io.Writer) {
	host, err := os.Hostname()
	if err != nil {
		host = err.Error()
	}
	vars := os.Environ()
	slices.Sort(vars)
	fmt.Fprintf(w, "hostname %s\n%s\n", host, strings.Join(vars, "\n"))
}

func logLines(args []string) (int, error) {
	rate, err := number(args, 0, 1)
	if err != nil {
		return exitUsage, err
	}
	count, err := number(args, 1, 0)
	if err != nil {
		return exitUsage, err
	}
	var tick <-chan time.Time
	if rate > 0 {
		tick = time.Tick(max(time.Second/time.Duration(rate), time.Microsecond))
	}
	for i := 1; count == 0 || i <= count; i++ {
		if tick != nil {
			<-tick
		}
		if _, err := fmt.Printf("line %d\n", i); err != nil {
			return 1, err
		}
	}
	return 0, nil
}

func alloc(args []string) (int, error) {
	mib, err := number(args, 0, 1)
	if err != nil {
		return exitUsage, err
	}
	if mib < 1 {
		return exitUsage, errors.New("alloc wants a number of MiB above 0")
	}
	var held [][]byte
	for range mib {
		b := make([]byte, 1<<20)
		for i := 0; i < len(b); i += 4096 {
			b[i] = 1
		}
		held = append(held, b)
	}
	fmt.Println("holding", len(held), "MiB")
	code, err := waitThen(-1, 0)
	if held[len(held)-1][0] != 1 {
		return 1, errors.New("memory changed")
	}
	return code, err
}

func spin([]string) (int, error) {
	caught := make(chan os.Signal, 1)
	signal.Notify(caught, syscall.SIGTERM, syscall.SIGINT)
	for {
		select {
		case s := <-caught:
			return 128 + int(s.(syscall.Signal)), nil
		default: //nolint:staticcheck // using a cpu up is what it is for
		}
	}
}

func check(args []string) (int, error) {
	if len(args) != 1 {
		return exitUsage, errors.New("check wants one URL")
	}
	client := &http.Client{Timeout: 2 * time.Second}
	resp, err := client.Get(args[0])
	if err != nil {
		return 1, err
	}
	defer resp.Body.Close()
	if resp.StatusCode < 200 || resp.StatusCode > 299 {
		return 1, fmt.Errorf("%s answered %s", args[0], resp.Status)
	}
	return 0, nil
}

func cat(args []string) (int, error) {
	in := io.Reader(os.Stdin)
	if len(args) > 0 {
		f, err := os.Open(args[0])
		if err != nil {
			return 1, err
		}
		defer f.Close()
		in = f
	}
	if _, err := io.Copy(os.Stdout, in); err != nil {
		return 1, err
	}
	return 0, nil
}

func write(args []string) (int, error) {
	if len(args) != 2 {
		return exitUsage, errors.New("write wants a path and a text")
	}
	return put(args[0], args[1], os.O_TRUNC)
}

func appendLine(args []string) (int, error) {
	if len(args) != 2 {
		return exitUsage, errors.New("append wants a path and a text")
	}
	return put(args[0], args[1]+"\n", os.O_APPEND)
}

func put(path, text string, how int) (int, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|how, 0o644)
	if err != nil {
		return 1, err
	}
	_, err = f.WriteString(text)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return 1, err
	}
	return 0, nil
}

func env([]string) (int, error) {
	describe(os.Stdout)
	return 0, nil
}

func tty([]string) (int, error) {
	info, err := os.Stdin.Stat()
	if err != nil {
		return 1, err
	}
	fmt.Println("terminal", info.Mode()&os.ModeCharDevice != 0)
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		fmt.Println("echo", lines.Text())
	}
	if err := lines.Err(); err != nil {
		return 1, err
	}
	return 0, nil
}
