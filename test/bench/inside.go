package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
)

// job is what a contestant types: commands that are run in its machine, at most Parallel at the same time.
type job struct {
	Commands [][]string    `json:"commands"`
	Parallel int           `json:"parallel"`
	Dir      string        `json:"dir"`
	Env      []string      `json:"env"`
	Limit    time.Duration `json:"limit"` // after it, what still runs is killed
}

// outcome is what became of a job.
type outcome struct {
	Begun  time.Time     `json:"begun"` // right before the first command
	Took   time.Duration `json:"took"`  // until the last command had ended
	CPU    time.Duration `json:"cpu"`   // of all commands
	Peak   int64         `json:"peak"`  // bytes resident of the largest command
	Failed string        `json:"failed"`
}

// inside is what this program does when it was copied into a machine: it runs the job that arg describes, and writes the
// outcome to standard output. Times are taken here so that entering the machine is not measured.
func inside(ctx context.Context, arg string) error {
	var j job
	if err := json.Unmarshal([]byte(arg), &j); err != nil {
		return fmt.Errorf("-inside: %w", err)
	}
	return json.NewEncoder(os.Stdout).Encode(j.run(ctx))
}

func (j job) run(ctx context.Context) outcome {
	ctx, cancel := context.WithTimeout(ctx, j.Limit)
	defer cancel()
	out := outcome{Begun: time.Now()}
	var mu sync.Mutex
	var g errgroup.Group
	g.SetLimit(j.Parallel)
	for _, argv := range j.Commands {
		g.Go(func() error {
			cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
			cmd.Dir, cmd.Env = j.Dir, append(os.Environ(), j.Env...)
			cmd.WaitDelay = time.Second
			var words bytes.Buffer
			cmd.Stderr = &words
			err := cmd.Run()
			if err != nil && ctx.Err() != nil {
				err = fmt.Errorf("killed after %.0f s", time.Since(out.Begun).Seconds())
			}
			mu.Lock()
			defer mu.Unlock()
			if err != nil && out.Failed == "" {
				out.Failed = fmt.Sprintf("%s: %v: %s", strings.Join(argv, " "), err, ending(words.String()))
			}
			if s := cmd.ProcessState; s != nil {
				out.CPU += s.UserTime() + s.SystemTime()
				if u, ok := s.SysUsage().(*syscall.Rusage); ok {
					out.Peak = max(out.Peak, u.Maxrss*1024)
				}
			}
			return nil
		})
	}
	_ = g.Wait() // what failed is in the outcome
	out.Took = time.Since(out.Begun)
	return out
}

// ending is the last of what a command wrote, in one line.
func ending(s string) string {
	const most = 300
	s = strings.Join(strings.Fields(strings.ToValidUTF8(s, "?")), " ")
	if len(s) > most {
		s = "…" + strings.ToValidUTF8(s[len(s)-most:], "")
	}
	return s
}
