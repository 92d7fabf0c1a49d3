package orchestrator

import (
	"fmt"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Beats is what is known of a machine's sign of life.
type Beats struct {
	ID string
	// Recorded is the condition in the machine's record: LOST stays until the machine is heard of again.
	Recorded argosyv1.MachineCondition
	// Draining: it shall have nothing to run.
	Draining bool
	// Last is when it was last heard of by this leader, zero for never.
	Last time.Time
	// Since is when this leader learned of the machine: silence is not counted from before.
	Since time.Time
}

// Timing is when silence means what.
type Timing struct {
	Unreachable time.Duration
	Liveness    time.Duration
}

// Verdict is a machine's condition.
type Verdict struct {
	ID        string
	Condition argosyv1.MachineCondition
	// Message is a plain sentence when there is something to say.
	Message string
}

// Verdicts is the outcome of Conditions.
type Verdicts struct {
	Machines []Verdict
	// Paused says why silent machines are not declared lost, empty when they are.
	Paused string
	// Next is when a condition may change by silence alone; zero when none can.
	Next time.Time
}

// Conditions judges machines by their silence. One that this leader has not heard of at all is UNSPECIFIED until the time
// for unreachable has passed since it began to listen.
func Conditions(now time.Time, t Timing, machines []Beats) Verdicts {
	silent, counted := 0, 0
	for _, m := range machines {
		if m.lost(now, t) {
			continue
		}
		counted++
		if m.silence(now) >= t.Unreachable {
			silent++
		}
	}
	var out Verdicts
	out.Paused = Paused(silent, counted)
	for _, m := range machines {
		v, next := m.judge(now, t, out.Paused)
		out.Machines = append(out.Machines, v)
		if !next.IsZero() && (out.Next.IsZero() || next.Before(out.Next)) {
			out.Next = next
		}
	}
	return out
}

// Paused says why nobody is declared lost while so many of the machines that count are silent, empty when they may be.
func Paused(silent, counted int) string {
	if 2*silent <= counted {
		return ""
	}
	return fmt.Sprintf("%d of %d machines are silent at once, so the fault is probably not theirs: nothing is moved until enough of them are heard of again, are declared lost (argosy machines lost) or are removed", silent, counted)
}

// lost reports whether the machine was declared lost before and has not come back.
func (m Beats) lost(now time.Time, t Timing) bool {
	return m.Recorded == argosyv1.MachineCondition_MACHINE_CONDITION_LOST &&
		(m.Last.IsZero() || m.silence(now) >= t.Unreachable)
}

func (m Beats) silence(now time.Time) time.Duration {
	from := m.Last
	if from.Before(m.Since) {
		from = m.Since
	}
	return now.Sub(from)
}

func (m Beats) judge(now time.Time, t Timing, paused string) (Verdict, time.Time) {
	v := Verdict{ID: m.ID}
	quiet := m.silence(now)
	since := now.Add(-quiet)
	round := quiet.Round(100 * time.Millisecond)
	switch {
	case m.lost(now, t):
		v.Condition = argosyv1.MachineCondition_MACHINE_CONDITION_LOST
		v.Message = "lost: not heard of for longer than the liveness time"
		return v, time.Time{}
	case quiet >= t.Liveness && paused == "":
		v.Condition = argosyv1.MachineCondition_MACHINE_CONDITION_LOST
		v.Message = fmt.Sprintf("no beat for %s", round)
		return v, time.Time{}
	case quiet >= t.Liveness:
		v.Condition = argosyv1.MachineCondition_MACHINE_CONDITION_UNREACHABLE
		v.Message = fmt.Sprintf("no beat for %s; not declared lost: %s", round, paused)
		return v, time.Time{}
	case quiet >= t.Unreachable:
		v.Condition = argosyv1.MachineCondition_MACHINE_CONDITION_UNREACHABLE
		v.Message = fmt.Sprintf("no beat for %s; lost after %s", round, t.Liveness)
		return v, since.Add(t.Liveness)
	case m.Last.IsZero():
		v.Message = "not heard of since this server began to lead"
		return v, since.Add(t.Unreachable)
	case m.Draining:
		v.Condition = argosyv1.MachineCondition_MACHINE_CONDITION_DRAINING
		return v, since.Add(t.Unreachable)
	}
	v.Condition = argosyv1.MachineCondition_MACHINE_CONDITION_READY
	return v, since.Add(t.Unreachable)
}
