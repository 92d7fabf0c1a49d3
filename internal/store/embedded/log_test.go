package embedded

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"go.uber.org/zap"
)

// After a fatal message the goroutine ends, the process does not, and the server is told.
func TestFatal(t *testing.T) {
	var out strings.Builder
	failed := make(chan error, 1)
	lg := zapLogger(slog.New(slog.NewTextHandler(&out, nil)), func(err error) { failed <- err })
	ended, went := make(chan struct{}), false
	go func() {
		defer close(ended)
		lg.Fatal("failed to save the log", zap.Error(errors.New("no space left on device")))
		went = true
	}()
	<-ended
	if err := <-failed; went || !strings.Contains(err.Error(), "failed to save the log: no space left on device") {
		t.Errorf("%v; went on: %v", err, went)
	}
	if !strings.Contains(out.String(), "level=ERROR") || !strings.Contains(out.String(), "no space left") {
		t.Errorf("logged %q", out.String())
	}
}

func TestLevels(t *testing.T) {
	var out strings.Builder
	lg := zapLogger(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelInfo})), func(error) {}).
		With(zap.String("member", "s1"))
	lg.Info("news")
	lg.Warn("warning", zap.Int("n", 7))
	lg.Error("mishap")
	got := out.String()
	if strings.Contains(got, "news") || strings.Contains(got, "WARN") || !strings.Contains(got, "level=INFO msg=warning part=etcd member=s1 n=7") ||
		!strings.Contains(got, "level=ERROR msg=mishap") {
		t.Errorf("logged:\n%s", got)
	}
}

type counter struct {
	mu       sync.Mutex
	messages []string
}

func (c *counter) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelInfo }
func (c *counter) Handle(_ context.Context, r slog.Record) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.messages = append(c.messages, r.Level.String()+" "+r.Message)
	return nil
}
func (c *counter) WithAttrs([]slog.Attr) slog.Handler { return c }
func (c *counter) WithGroup(string) slog.Handler      { return c }

// When all is well there is nothing to read.
func TestQuietStart(t *testing.T) {
	c := &counter{}
	m, err := Start(t.Context(), Config{Dir: t.TempDir(), Name: "s1", Log: slog.New(c)})
	if err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	for _, m := range c.messages {
		t.Errorf("logged %s", m)
	}
	c.mu.Unlock()
	m.Stop()
}
