package cli

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	textfault "github.com/argosy-cluster/argosy/internal/fault"
)

// unitLogTime is how long a status waits for what units wrote: a machine that does not answer holds nothing up for longer.
const unitLogTime = 3 * time.Second

// unitLog is what a unit wrote last, by the copy that did, and what could not be read of it.
type unitLog struct {
	lines map[uint32][]*argosyv1.LogLine
	notes []string
}

// unitLogs reads the last lines of units, of all at once and until ctx ends.
func (a *app) unitLogs(ctx context.Context, c *connection, units []*argosyv1.UnitStatus, lines uint32) []unitLog {
	logs := make([]unitLog, len(units))
	var all sync.WaitGroup
	for i, u := range units {
		if lines > 0 && len(u.Copies) > 0 {
			all.Go(func() {
				logs[i].read(ctx, c, &argosyv1.LogsRequest{Tenant: a.tenant, App: u.Name, Tail: lines, Timestamps: true})
			})
		}
	}
	all.Wait()
	return logs
}

func (l *unitLog) read(ctx context.Context, c *connection, r *argosyv1.LogsRequest) {
	l.lines = map[uint32][]*argosyv1.LogLine{}
	stream, err := c.streams().Logs(ctx, connect.NewRequest(r))
	if err == nil {
		defer stream.Close()
		for stream.Receive() {
			for _, line := range stream.Msg().Lines {
				n := line.GetKey().GetNumber()
				l.lines[n] = append(l.lines[n], line)
			}
			if w := stream.Msg().Warning; w != "" {
				l.notes = append(l.notes, w)
			}
		}
		err = stream.Err()
	}
	switch {
	case err == nil:
	case ctx.Err() != nil:
		l.notes = append(l.notes, fmt.Sprintf("what %s wrote did not come in time: a machine does not answer. Try 'argosy logs %s'", r.App, r.App))
	default:
		l.notes = append(l.notes, fmt.Sprintf("what %s wrote cannot be read: %s", r.App, message(err)))
	}
}

// tell shows what one copy wrote, as systemctl does below a unit's status.
func (l unitLog) tell(w io.Writer, copied uint32) {
	for _, line := range l.lines[copied] {
		text := textfault.Printable(strings.ToValidUTF8(string(line.Text), "\ufffd"))
		fmt.Fprintf(w, "    %s  %s\n", line.At.AsTime().Local().Format(time.DateTime), text)
	}
}
