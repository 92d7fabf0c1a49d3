package tool

import (
	"context"
	"errors"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	// Nothing that is handed over is looked at by a shell.
	said, err := Run(t.Context(), "printf", "%s|", "$(id)", "; id", "-x")
	if err != nil || said.Code != 0 || said.Out != "$(id)|; id|-x|" {
		t.Errorf("%+v, %v", said, err)
	}
	if said, err := Run(t.Context(), "sh", "-c", "echo one; echo two >&2; echo three >&2; exit 7"); err != nil || said.Code != 7 || said.First() != "two" || said.Last() != "three" {
		t.Errorf("%+v, %v", said, err)
	}
	if said, err := Run(t.Context(), "false"); err != nil || said.Last() != "it said nothing and ended with 1" {
		t.Errorf("%+v, %v", said, err)
	}
	if said, err := Run(t.Context(), "head", "-c", "1000000", "/dev/zero"); err != nil || !said.Cut || len(said.Out) != maxSaid {
		t.Errorf("%d bytes, %t, %v", len(said.Out), said.Cut, err)
	}
	if _, err := Run(t.Context(), "no-such-program"); !errors.Is(err, ErrAbsent) {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := Run(ctx, "sleep", "1000"); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if s := Plain("a\nb\x1b[2J\u00e9"); s != "a?b?[2J?" {
		t.Errorf("%q", s)
	}
}
