package docker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"

	"github.com/moby/moby/client"
)

// LogOptions say which lines are wanted.
type LogOptions struct {
	Follow bool
	// Tail is how many of the last lines to begin with; negative means all.
	Tail int
	// Since, when not zero, leaves out what is older.
	Since time.Time
}

// LogLine is one line of a container, without its end. Text is valid until the next line.
type LogLine struct {
	At     time.Time // zero when the engine did not say
	Stderr bool
	Text   []byte
}

const (
	// MaxLine is the most of a line that is kept together; longer ones come in parts.
	MaxLine = 64 << 10
	// maxFrame bounds what the engine may claim a frame to hold.
	maxFrame = 1 << 20
)

// Logs calls each for every line in order, until there are no more (with Follow: until the container ends), ctx ends or
// each returns an error, which Logs returns.
func (e *Engine) Logs(ctx context.Context, containerID string, opts LogOptions, each func(LogLine) error) error {
	res, err := e.api.ContainerInspect(ctx, containerID, client.ContainerInspectOptions{})
	if err != nil {
		return fault("read logs", err)
	}
	o := client.ContainerLogsOptions{ShowStdout: true, ShowStderr: true, Timestamps: true, Follow: opts.Follow, Tail: "all"}
	if opts.Tail >= 0 {
		o.Tail = strconv.Itoa(opts.Tail)
	}
	if !opts.Since.IsZero() {
		o.Since = opts.Since.UTC().Format(time.RFC3339Nano)
	}
	body, err := e.api.ContainerLogs(ctx, containerID, o)
	if err != nil {
		return fault("read logs", err)
	}
	defer body.Close()
	d := demuxer{each: each}
	if res.Container.Config != nil && res.Container.Config.Tty {
		err = d.raw(body)
	} else {
		err = d.frames(body)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// demuxer puts the engine's stream back together into lines. It holds at most MaxLine of each of the two streams.
type demuxer struct {
	each func(LogLine) error
	part [2]LogLine
}

// frames reads the multiplexed form: eight bytes that say which stream and how long, then the text. Each frame is one
// message of the log, which begins with its time; a line that the engine split ends only in the last of its messages.
func (d *demuxer) frames(r io.Reader) error {
	br := bufio.NewReaderSize(r, 32<<10)
	var head [8]byte
	var buf bytes.Buffer
	for {
		if _, err := io.ReadFull(br, head[:]); err != nil {
			return d.end(err)
		}
		size := binary.BigEndian.Uint32(head[4:])
		if head[0] > 2 || size > maxFrame {
			return fmt.Errorf("the engine's log is not understood")
		}
		buf.Reset()
		if _, err := io.CopyN(&buf, br, int64(size)); err != nil {
			return d.end(err)
		}
		which := 0
		if head[0] == 2 {
			which = 1
		}
		if err := d.message(which, buf.Bytes()); err != nil {
			return err
		}
	}
}

// raw reads what a container with a terminal writes: one stream, lines that begin with their time.
func (d *demuxer) raw(r io.Reader) error {
	br := bufio.NewReaderSize(r, MaxLine)
	for {
		line, err := br.ReadSlice('\n')
		if len(line) > 0 {
			if merr := d.message(0, line); merr != nil {
				return merr
			}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return d.end(err)
		}
	}
}

func (d *demuxer) message(which int, text []byte) error {
	p := &d.part[which]
	at, text := splitTime(text)
	if len(p.Text) == 0 {
		p.At, p.Stderr = at, which == 1
	}
	done := bytes.HasSuffix(text, []byte("\n"))
	text = bytes.TrimSuffix(bytes.TrimSuffix(text, []byte("\n")), []byte("\r"))
	for len(p.Text)+len(text) > MaxLine {
		n := MaxLine - len(p.Text)
		p.Text = append(p.Text, text[:n]...)
		text = text[n:]
		if err := d.flush(p); err != nil {
			return err
		}
		p.At = at
	}
	p.Text = append(p.Text, text...)
	if !done {
		return nil
	}
	return d.flush(p)
}

func (d *demuxer) flush(p *LogLine) error {
	err := d.each(*p)
	p.Text = p.Text[:0]
	return err
}

// end hands over what never got its end of line.
func (d *demuxer) end(err error) error {
	for i := range d.part {
		if len(d.part[i].Text) > 0 {
			if ferr := d.flush(&d.part[i]); ferr != nil {
				return ferr
			}
		}
	}
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func splitTime(text []byte) (time.Time, []byte) {
	i := bytes.IndexByte(text[:min(len(text), 40)], ' ')
	if i < 20 {
		return time.Time{}, text
	}
	at, err := time.Parse(time.RFC3339Nano, string(text[:i]))
	if err != nil {
		return time.Time{}, text
	}
	return at, text[i+1:]
}
