package core

import (
	"fmt"
	"time"
)

const (
	// Expected is how long an engine takes at most to notice that a container's process has ended, where nothing is wrong.
	Expected = time.Second
	// Overdue is how long it may take: one that looks after it sooner knows how it ended.
	Overdue = 5 * time.Second
)

// unknownExit is the exit code of a process of which nobody learned how it ended; Docker says the same when it finds that out.
const unknownExit = 255

// Believe is what is believed of a container as an engine shows it, when the machine's kernel has shown since gone that its process is not
// there. It does not serve, and later it has ended, though the engine may never hear of it. A zero gone says nothing.
func Believe(now time.Time, c Container, gone time.Time) Container {
	if gone.IsZero() || now.Sub(gone) < Expected || !c.hasProcess() {
		return c
	}
	c.Vanished, c.Health, c.HealthOutput = c.PID, Unhealthy, ""
	if now.Sub(gone) >= Overdue {
		c.State, c.ExitCode, c.FinishedAt, c.Health = Exited, unknownExit, gone, NoCheck
	}
	return c
}

// vanished says in words that the engine calls the container running though its process is gone.
func (c *Container) vanished() string {
	return fmt.Sprintf("its process %d is gone, though the Docker Engine calls the container running", c.Vanished)
}

// hasProcess says whether, for the engine, a process of the container is there that can be looked for.
func (c Container) hasProcess() bool {
	return c.PID > 0 && c.Unit == nil && (c.State == Running || c.State == Paused)
}
