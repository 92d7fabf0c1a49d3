package core

import (
	"errors"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Memory is what Decide must know and cannot see. Its maps may be nil until something is written; the zero Memory is that
// of a new agent. Only its own methods
// change it.
type Memory struct {
	// Complete: the assignments given as wanted are all there are, because a full snapshot came (now or before the
	// agent's last restart).
	Complete bool
	Members  map[MemberID]*MemberMemory
}

// MemberMemory is about one member; about the replica as a whole where MemberID.Member is empty.
type MemberMemory struct {
	// Doing is the step in flight, 0 when there is none. It is not kept over a restart of the agent.
	Doing    StepKind  `json:"-"`
	Since    time.Time `json:"-"`
	Progress string    `json:"-"` // what the step says of itself

	// Image and Prepared name what was made ready last.
	Image    string `json:"-"`
	Prepared string `json:"-"`
	Cleaned  bool   `json:"-"`

	// Failures of steps in a row for FaultOf (a definition), the last one's sentence, and when to try again.
	Failures int
	Fault    string
	FaultOf  string
	FaultAt  time.Time
	RetryAt  time.Time

	// Restarts in all and Attempt in a row, of ContainerID.
	ContainerID string
	Restarts    uint32
	Attempt     int
	// Broken is a container that the engine can never start again.
	Broken string
}

// Member returns what is remembered of a member, never nil; changing the result changes nothing when there was nothing.
func (m *Memory) Member(id MemberID) *MemberMemory {
	if mm := m.Members[id]; mm != nil {
		return mm
	}
	return &MemberMemory{}
}

func (m *Memory) own(id MemberID) *MemberMemory {
	mm := m.Members[id]
	if mm == nil {
		mm = &MemberMemory{}
		if m.Members == nil {
			m.Members = map[MemberID]*MemberMemory{}
		}
		m.Members[id] = mm
	}
	return mm
}

// Begin notes that a step is in flight.
func (m *Memory) Begin(now time.Time, s Step) {
	mm := m.own(s.MemberID)
	mm.Doing, mm.Since, mm.Progress = s.Kind, now, ""
}

// Note keeps what a step in flight says of its progress.
func (m *Memory) Note(id MemberID, progress string) {
	if mm := m.Members[id]; mm != nil && mm.Doing != 0 {
		mm.Progress = progress
	}
}

// Done notes how a step ended.
func (m *Memory) Done(now time.Time, s Step, err error) {
	mm := m.own(s.MemberID)
	mm.Doing, mm.Since, mm.Progress = 0, time.Time{}, ""
	var fault *Fault
	if errors.As(err, &fault) && fault.Kind == FaultGone && (s.Kind == Stop || s.Kind == Remove) {
		err = nil
	}
	if err != nil {
		mm.failed(now, s, err)
		return
	}
	mm.succeeded(s)
}

// Break notes that a step was broken off before it could end either way. lives says whether what it touched was seen to live
// after it: then a unit that was being started was started here.
func (m *Memory) Break(s Step, lives bool) {
	mm := m.own(s.MemberID)
	mm.Doing, mm.Since, mm.Progress = 0, time.Time{}, ""
	if s.Kind == Start && s.Unit != nil && lives {
		mm.succeeded(s)
	}
}

// rests reports whether it is too early to try again after a failure. One that is yet to come was written down by an earlier
// agent before the clock was set back: that is not waited for.
func (mm *MemberMemory) rests(now time.Time) bool {
	return mm.RetryAt.After(now) && !mm.FaultAt.After(now)
}

func (mm *MemberMemory) succeeded(s Step) {
	// A success ends a row of failures only when it is the kind of step that could have failed so: pulling well says
	// nothing about a start that fails each time.
	if s.Kind != Pull && s.Kind != Prepare {
		mm.Failures, mm.Fault, mm.FaultOf, mm.RetryAt, mm.FaultAt = 0, "", "", time.Time{}, time.Time{}
	}
	switch s.Kind {
	case Pull:
		mm.Image = imageKey(s.Spec)
	case Prepare:
		mm.Prepared = preparation(s.Assignment, s.Spec)
	case Create:
		mm.ContainerID, mm.Restarts, mm.Attempt, mm.Broken = "", 0, 0, ""
		if s.Spec.GetPullPolicy() == argosyv1.PullPolicy_PULL_POLICY_ALWAYS {
			mm.Image = ""
		}
	case Start:
		if mm.ContainerID != s.ContainerID {
			mm.ContainerID, mm.Restarts = s.ContainerID, 0
		}
		mm.Attempt = s.Attempt
		if s.Attempt > 0 {
			mm.Restarts++
		}
	case Stop:
		if s.Unit.GetNotStarted() {
			mm.ContainerID = "" // it is as if nobody had started it
		}
	case Clean:
		mm.Cleaned = true
	}
}

func (mm *MemberMemory) failed(now time.Time, s Step, err error) {
	kind, message := FaultOther, err.Error()
	var fault *Fault
	if errors.As(err, &fault) {
		kind, message = fault.Kind, fault.Message
	}
	if mm.FaultOf != s.Definition {
		mm.Failures = 0
	}
	mm.Failures++
	mm.Fault, mm.FaultOf, mm.FaultAt = message, s.Definition, now
	mm.RetryAt = now.Add(stepDelay(kind, mm.Failures))
	switch kind {
	case FaultNoImage:
		mm.Image = ""
	case FaultBroken:
		mm.Broken = s.ContainerID
	case FaultGone:
		mm.RetryAt = now
	}
}

// Forget drops what is remembered of incarnations for which keep says no, except of steps in flight. It says whether
// there was any.
func (m *Memory) Forget(keep func(ID) bool) bool {
	dropped := false
	for id, mm := range m.Members {
		if mm.Doing == 0 && !keep(id.ID) {
			delete(m.Members, id)
			dropped = true
		}
	}
	return dropped
}

// Delays between tries. A container that ran for steady starts a new row.
const (
	steady       = 10 * time.Second
	restartFirst = 200 * time.Millisecond
	restartMost  = time.Minute
	stepFirst    = 500 * time.Millisecond
	stepMost     = 30 * time.Second
	refusedFirst = 2 * time.Second
	refusedMost  = 2 * time.Minute
)

// restartDelay is how long a container that ended rests before its n-th start in a row, n from 1.
func restartDelay(n int) time.Duration { return double(restartFirst, restartMost, n) }

func stepDelay(kind FaultKind, n int) time.Duration {
	if kind == FaultRefused {
		return double(refusedFirst, refusedMost, n)
	}
	return double(stepFirst, stepMost, n)
}

func double(first, most time.Duration, n int) time.Duration {
	d := first
	for i := 1; i < n && d < most; i++ {
		d *= 2
	}
	return min(d, most)
}
