package embedded

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// zapLogger hands what etcd logs to slog: its news as debug messages, its warnings as news. After a fatal message etcd
// expects the process to exit; here only the goroutine that wrote it ends, and fail is told, so that the server can end
// in order.
func zapLogger(log *slog.Logger, fail func(error)) *zap.Logger {
	core := &slogCore{handler: log.With("part", "etcd").Handler()}
	return zap.New(core, zap.WithFatalHook(fatalHook{fail}))
}

type fatalHook struct{ fail func(error) }

func (h fatalHook) OnWrite(e *zapcore.CheckedEntry, fields []zapcore.Field) {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	msg := "the store gave up: " + e.Message
	if cause, ok := enc.Fields["error"]; ok {
		msg += fmt.Sprintf(": %v", cause)
	}
	h.fail(errors.New(msg))
	zapcore.WriteThenGoexit.OnWrite(e, fields)
}

type slogCore struct {
	handler slog.Handler
}

// Messages that say nothing about this use of etcd, which has no client port to share and no users of its own.
var beside = []string{
	"simple token is not cryptographically signed",
	"Running http and grpc server on single port",
	// Said once by every new member, before it knows its cluster's version; it tries again by itself.
	"failed to update storage version",
}

func level(l zapcore.Level) slog.Level {
	switch {
	case l >= zapcore.ErrorLevel:
		return slog.LevelError
	case l == zapcore.WarnLevel:
		return slog.LevelInfo
	default:
		return slog.LevelDebug
	}
}

func (c *slogCore) Enabled(l zapcore.Level) bool {
	// Fatal and panic messages always pass: their hooks depend on being written.
	return l >= zapcore.DPanicLevel || c.handler.Enabled(context.Background(), level(l))
}

func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{handler: c.handler.WithAttrs(attrs(fields))}
}

func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	for _, b := range beside {
		if strings.HasPrefix(e.Message, b) {
			return nil
		}
	}
	r := slog.NewRecord(e.Time, level(e.Level), e.Message, 0)
	r.AddAttrs(attrs(fields)...)
	return c.handler.Handle(context.Background(), r)
}

func (c *slogCore) Sync() error { return nil }

func attrs(fields []zapcore.Field) []slog.Attr {
	enc := zapcore.NewMapObjectEncoder()
	out := make([]slog.Attr, 0, len(fields))
	for _, f := range fields {
		f.AddTo(enc)
		if v, ok := enc.Fields[f.Key]; ok {
			out = append(out, slog.Any(f.Key, v))
		}
	}
	return out
}
