package systemd

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strconv"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/agent/docker"
)

// maxEntry bounds one entry of the journal.
const maxEntry = 1 << 20

// Logs calls each for the lines of a unit in the journal, those of this file's time only: a unit of the same name before it was
// another. Following goes on over restarts, until ctx ends.
func Logs(ctx context.Context, c core.Container, opts docker.LogOptions, each func(docker.LogLine) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	cmd := exec.CommandContext(ctx, "journalctl", journalArgs(c, opts)...)
	out, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	err = entries(out, each)
	cancel()
	ended := cmd.Wait()
	var exit *exec.ExitError
	if err == nil && ended != nil && !errors.As(ended, &exit) && !errors.Is(ended, context.Canceled) {
		err = fmt.Errorf("read the journal: %w", ended)
	}
	return err
}

func journalArgs(c core.Container, opts docker.LogOptions) []string {
	since := c.CreatedAt
	if opts.Since.After(since) {
		since = opts.Since
	}
	args := []string{"--output=json", "--output-fields=MESSAGE,PRIORITY,_TRANSPORT", "--no-pager", "--quiet", "--all", "--unit=" + c.Unit.Name,
		"--since=@" + strconv.FormatFloat(float64(since.UnixMicro())/1e6, 'f', 6, 64)}
	if opts.Tail >= 0 {
		args = append(args, "--lines="+strconv.Itoa(opts.Tail))
	} else {
		args = append(args, "--lines=all")
	}
	if opts.Follow {
		args = append(args, "--follow")
	}
	return args
}

// entry is what is read of an entry of the journal. A message that is no text comes as a list of bytes.
type entry struct {
	At       string          `json:"__REALTIME_TIMESTAMP"`
	Message  json.RawMessage `json:"MESSAGE"`
	Priority string          `json:"PRIORITY"`
}

func entries(r io.Reader, each func(docker.LogLine) error) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 64<<10), maxEntry)
	for lines.Scan() {
		line, ok := parseEntry(lines.Bytes())
		if !ok {
			continue
		}
		if err := each(line); err != nil {
			return err
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read the journal: %w", err)
	}
	return nil
}

func parseEntry(text []byte) (docker.LogLine, bool) {
	var e entry
	if json.Unmarshal(text, &e) != nil {
		return docker.LogLine{}, false
	}
	var s string
	var list []int
	switch {
	case json.Unmarshal(e.Message, &s) == nil:
	case json.Unmarshal(e.Message, &list) == nil:
		b := make([]byte, len(list))
		for i, n := range list {
			b[i] = byte(n)
		}
		s = string(b)
	default:
		return docker.LogLine{}, false
	}
	out := docker.LogLine{Text: []byte(s), Stderr: e.Priority != "" && e.Priority < "4"}
	if n, err := strconv.ParseInt(e.At, 10, 64); err == nil {
		out.At = time.UnixMicro(n)
	}
	return out, true
}
