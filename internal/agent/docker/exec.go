package docker

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"
	"time"

	"github.com/moby/moby/client"
)

// Exec is a command to be run in a running container.
type Exec struct {
	Command       []string
	TTY           bool
	Stdin         bool
	Rows, Columns uint32
	User          string
	WorkingDir    string
	Environment   map[string]string
}

// Process is a command that runs in a container. Read its output to the end, then ask for its exit code.
type Process struct {
	e    *Engine
	id   string
	tty  bool
	conn client.HijackedResponse
}

const maxTerminal = 4096

// Exec starts a command.
func (e *Engine) Exec(ctx context.Context, containerID string, x Exec) (*Process, error) {
	if len(x.Command) == 0 {
		return nil, errors.New("no command was given")
	}
	env := make([]string, 0, len(x.Environment))
	for k, v := range x.Environment {
		env = append(env, k+"="+v)
	}
	sort.Strings(env)
	made, err := e.api.ExecCreate(ctx, containerID, client.ExecCreateOptions{
		User: x.User, TTY: x.TTY, AttachStdin: x.Stdin, AttachStdout: true, AttachStderr: true, Env: env, WorkingDir: x.WorkingDir, Cmd: x.Command,
	})
	if err != nil {
		return nil, fault("run the command", err)
	}
	res, err := e.api.ExecAttach(ctx, made.ID, client.ExecAttachOptions{TTY: x.TTY})
	if err != nil {
		return nil, fault("run the command", err)
	}
	p := &Process{e: e, id: made.ID, tty: x.TTY, conn: res.HijackedResponse}
	if x.TTY && x.Rows > 0 && x.Columns > 0 {
		// The engine starts the command before it knows of the terminal's size; one that is gone already needs none.
		_ = p.Resize(ctx, x.Rows, x.Columns)
	}
	return p, nil
}

// Write sends to the command's standard input.
func (p *Process) Write(b []byte) (int, error) { return p.conn.Conn.Write(b) }

// CloseInput ends the command's standard input.
func (p *Process) CloseInput() error { return p.conn.CloseWrite() }

// Close lets go of the command; one that reads or writes finds its streams closed.
func (p *Process) Close() { p.conn.Close() }

// Resize tells a terminal's new size.
func (p *Process) Resize(ctx context.Context, rows, columns uint32) error {
	if rows == 0 || columns == 0 || rows > maxTerminal || columns > maxTerminal {
		return fmt.Errorf("a terminal of %d rows and %d columns is none", rows, columns)
	}
	_, err := p.e.api.ExecResize(ctx, p.id, client.ExecResizeOptions{Height: uint(rows), Width: uint(columns)})
	return fault("resize the terminal", err)
}

// Output calls out with pieces of what the command writes, at most 32 KiB each, until it ends.
func (p *Process) Output(out func(stderr bool, b []byte) error) error {
	if p.tty {
		return pieces(p.conn.Reader, func(b []byte) error { return out(false, b) })
	}
	br := bufio.NewReaderSize(p.conn.Reader, 32<<10)
	var head [8]byte
	for {
		if _, err := io.ReadFull(br, head[:]); err != nil {
			return endOf(err)
		}
		if head[0] > 2 {
			return errors.New("the engine's stream is not understood")
		}
		frame := io.LimitReader(br, int64(binary.BigEndian.Uint32(head[4:])))
		if err := pieces(frame, func(b []byte) error { return out(head[0] == 2, b) }); err != nil {
			return err
		}
	}
}

func pieces(r io.Reader, out func([]byte) error) error {
	buf := make([]byte, 32<<10)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if oerr := out(buf[:n]); oerr != nil {
				return oerr
			}
		}
		if err != nil {
			return endOf(err)
		}
	}
}

func endOf(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// ExitCode asks how the command ended, after its output did.
func (p *Process) ExitCode(ctx context.Context) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, callTime)
	defer cancel()
	for {
		res, err := p.e.api.ExecInspect(ctx, p.id, client.ExecInspectOptions{})
		if err != nil {
			return 0, fault("ask for the exit code", err)
		}
		if !res.Running {
			return res.ExitCode, nil
		}
		// Its streams are closed, so it is about to end, unless it closed them itself.
		select {
		case <-ctx.Done():
			return 0, errors.New("the command closed its output and goes on running")
		case <-time.After(20 * time.Millisecond):
		}
	}
}
