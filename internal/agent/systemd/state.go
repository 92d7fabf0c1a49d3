package systemd

import (
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// Properties are what systemd shows of a unit: those of its type beside those of all.
type Properties map[string]any

func (p Properties) text(name string) string {
	s, _ := p[name].(string)
	return s
}

func (p Properties) yes(name string) bool {
	b, _ := p[name].(bool)
	return b
}

func (p Properties) list(name string) []string {
	l, _ := p[name].([]string)
	return l
}

func (p Properties) number(name string) int64 {
	switch n := p[name].(type) {
	case int32:
		return int64(n)
	case uint32:
		return int64(n)
	case uint64:
		return int64(n)
	case int64:
		return n
	}
	return 0
}

// at is a time that systemd has in microseconds; zero when it never was.
func (p Properties) at(name string) time.Time {
	n := p.number(name)
	if n <= 0 {
		return time.Time{}
	}
	return time.UnixMicro(n)
}

// failed says whether systemd calls it failed, or is about to start it again after it did.
func (p Properties) failed() bool {
	return p.text("ActiveState") == "failed" || p.text("SubState") == "auto-restart"
}

// loadError is systemd's own sentence on why a file cannot be loaded.
func (p Properties) loadError() string {
	pair, _ := p["LoadError"].([]any)
	if len(pair) != 2 {
		return ""
	}
	s, _ := pair[1].(string)
	return s
}

// stateOf is what a unit's active state is as a container's.
func stateOf(active string, ran bool) (core.ContainerState, core.Health) {
	switch active {
	case "active", "reloading", "refreshing", "maintenance":
		return core.Running, core.Healthy
	case "activating", "deactivating":
		return core.Running, core.CheckStarting
	case "failed":
		return core.Exited, core.NoCheck
	}
	if ran {
		return core.Exited, core.NoCheck
	}
	return core.Created, core.NoCheck
}

// container is what a unit looks like whose file has this mark; sibling finds the member of the same replica that a unit is.
func container(m mark, p Properties, sibling func(name string) string) core.Container {
	const most = 400 // characters of a sentence of systemd's
	c := core.Container{
		ContainerID: m.ID, Owner: m.owner(), Member: m.Member, Definition: m.Definition, Revision: m.Revision, Restart: m.Restart,
		CreatedAt: m.At, StartedAt: p.at("InactiveExitTimestamp"), PID: int(p.number("MainPID")),
		Unit: &core.Unit{
			Name: nameOf(m.ID), Load: p.text("LoadState"), Active: p.text("ActiveState"), Sub: p.text("SubState"), Result: p.text("Result"),
			Restarts: uint32(p.number("NRestarts")),
			Unmet:    p.number("ConditionTimestamp") > 0 && !p.yes("ConditionResult"),
		},
	}
	if id, ok := p["InvocationID"].([]byte); ok {
		c.Unit.Invocation = hex.EncodeToString(id)
	}
	c.State, c.Health = stateOf(c.Unit.Active, !c.StartedAt.IsZero())
	if c.State == core.Exited {
		c.FinishedAt = p.at("InactiveEnterTimestamp")
		if c.FinishedAt.Before(c.StartedAt) {
			c.FinishedAt = c.StartedAt
		}
	}
	if p.failed() {
		c.ExitCode, c.Error = exit(p)
	}
	if len(c.Error) > most {
		c.Error = c.Error[:most]
	}
	for _, name := range p.list("After") {
		if s := sibling(name); s != "" {
			c.After = append(c.After, s)
		}
	}
	return c
}

// exit says how a unit failed: a code that is never 0, and a sentence.
func exit(p Properties) (int, string) {
	status, result := int(p.number("ExecMainStatus")), p.text("Result")
	switch p.number("ExecMainCode") {
	case 1: // exited
		if result == "exit-code" {
			return max(status, 1), fmt.Sprintf("exited with code %d", status)
		}
	case 2, 3: // killed, dumped
		if result == "signal" || result == "core-dump" {
			return 128 + status, fmt.Sprintf("was ended by signal %d", status)
		}
	}
	words := map[string]string{
		"timeout": "took longer than it may, so systemd ended it", "oom-kill": "was killed because memory ran out", "watchdog": "did not show its watchdog that it lives",
		"start-limit-hit": "failed too often in a short time, as systemd counts", "resources": "systemd has not what it needs to run it",
		"protocol": "did not do what its type promises", "exec-condition": "its ExecCondition does not hold",
	}
	if w := words[result]; w != "" {
		return 1, w
	}
	return max(status, 1), strings.TrimSpace("failed: " + result)
}
