// Package words says what a cluster is made of in few words: states, ages, amounts. Every view of the command line takes
// them from here, so that the same thing is called the same everywhere.
//
//	state, style := words.State(status.State)      // "ready", Green
//	words.Span(age)                                // "42s"
package words

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Style is how a terminal shows a word, as the sequence that begins it; Reset ends it.
type Style string

// The styles that views use. Nothing is said by colour alone.
const (
	Plain   Style = ""
	Bold    Style = "\x1b[1m"
	Dim     Style = "\x1b[2m"
	Reverse Style = "\x1b[7m"
	Red     Style = "\x1b[31m"
	Green   Style = "\x1b[32m"
	Yellow  Style = "\x1b[33m"
	Blue    Style = "\x1b[34m"
)

// Reset ends every style.
const Reset = "\x1b[0m"

// State is what may be said of a replica.
func State(s argosyv1.ReplicaState) (string, Style) {
	switch s {
	case argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED:
		return "unknown", Yellow
	case argosyv1.ReplicaState_REPLICA_STATE_PENDING:
		return "pending", Yellow
	case argosyv1.ReplicaState_REPLICA_STATE_STARTING:
		return "starting", Blue
	case argosyv1.ReplicaState_REPLICA_STATE_READY:
		return "ready", Green
	case argosyv1.ReplicaState_REPLICA_STATE_DEGRADED:
		return "degraded", Yellow
	case argosyv1.ReplicaState_REPLICA_STATE_FAILED:
		return "failed", Red
	case argosyv1.ReplicaState_REPLICA_STATE_STOPPING:
		return "stopping", Blue
	case argosyv1.ReplicaState_REPLICA_STATE_GONE:
		return "gone", Dim
	case argosyv1.ReplicaState_REPLICA_STATE_COMPLETED:
		return "completed", Green
	}
	return fmt.Sprintf("state %d", s), Yellow
}

// Member is the state of a member of a replica in that state: of a replica that nobody has seen lately, nothing is known of
// the members either.
func Member(m *argosyv1.MemberObservation, of argosyv1.ReplicaState) (string, Style) {
	if of == argosyv1.ReplicaState_REPLICA_STATE_UNSPECIFIED {
		return "unknown", Yellow
	}
	name := strings.ToLower(strings.TrimPrefix(m.GetState().String(), "MEMBER_STATE_"))
	switch m.GetState() {
	case argosyv1.MemberState_MEMBER_STATE_RUNNING, argosyv1.MemberState_MEMBER_STATE_COMPLETED:
		return name, Green
	case argosyv1.MemberState_MEMBER_STATE_FAILED, argosyv1.MemberState_MEMBER_STATE_BACKOFF, argosyv1.MemberState_MEMBER_STATE_UNHEALTHY:
		return name, Red
	}
	return name, Blue
}

// MemberMessage is what is wrong with a member, and how often it was restarted.
func MemberMessage(m *argosyv1.MemberObservation) string {
	if m.GetRestarts() == 0 {
		return m.GetMessage()
	}
	s := fmt.Sprintf("restarted %d times", m.GetRestarts())
	if m.GetRestarts() == 1 {
		s = "restarted once"
	}
	if m.GetMessage() != "" {
		s = m.GetMessage() + "; " + s
	}
	return s
}

// Condition is how a machine stands.
func Condition(c argosyv1.MachineCondition) (string, Style) {
	name := strings.ToLower(strings.TrimPrefix(c.String(), "MACHINE_CONDITION_"))
	switch c {
	case argosyv1.MachineCondition_MACHINE_CONDITION_READY:
		return name, Green
	case argosyv1.MachineCondition_MACHINE_CONDITION_LOST:
		return name, Red
	case argosyv1.MachineCondition_MACHINE_CONDITION_UNSPECIFIED:
		return "unknown", Yellow
	}
	return name, Yellow
}

// Wanted is the goal and, while a replica is not there yet, the revision it should be at.
func Wanted(r *argosyv1.Replica) string {
	if r.GetGoal() == argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE {
		return "removed"
	}
	return "run r" + strconv.FormatUint(r.GetRevision(), 10)
}

// Replica is how a replica is written: shop/lamp.3.
func Replica(k *argosyv1.ReplicaKey) string {
	return k.GetApp() + "/" + k.GetStack() + "." + strconv.FormatUint(uint64(k.GetNumber()), 10)
}

// Span is a duration as people say it: 42s, 3m, 5h, 12d.
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "0s"
	case d < time.Second:
		return strconv.FormatInt(d.Milliseconds(), 10) + "ms"
	case d < 2*time.Minute:
		return strconv.Itoa(int(d.Seconds())) + "s"
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", int(d.Hours()))
	}
	return fmt.Sprintf("%dd", int(d.Hours()/24))
}

// Seconds is a span without its fractions of a second, for times that stand one below another.
func Seconds(d time.Duration) string {
	if d < time.Second {
		return "0s"
	}
	return Span(d)
}

// OneLine makes one line of a text.
func OneLine(s string) string {
	if s == "" { // as most messages are
		return s
	}
	return strings.Join(strings.Fields(s), " ")
}

// OrDash is what stands where there is nothing to say.
func OrDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// Bytes is an amount of bytes in at most five characters, for narrow columns: 999, 1.2K, 34M.
func Bytes(n int64) string {
	if n < 0 {
		return "-"
	}
	const unit = 1024
	if n < unit {
		return fmt.Sprint(n)
	}
	v, i := float64(n)/unit, 0
	for v >= unit-0.5 && i < 5 {
		v /= unit
		i++
	}
	if v < 9.95 {
		return fmt.Sprintf("%.1f%c", v, "KMGTPE"[i])
	}
	return fmt.Sprintf("%.0f%c", v, "KMGTPE"[i])
}

// CPUs is thousandths of a cpu in at most five characters: 0.25, 12.5, 340.
func CPUs(milli int64) string {
	switch v := float64(milli) / 1000; {
	case v < 9.995:
		return fmt.Sprintf("%.2f", v)
	case v < 99.95:
		return fmt.Sprintf("%.1f", v)
	default:
		return fmt.Sprintf("%.0f", v)
	}
}
