package schedule

import (
	"slices"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

func at(minutes int) time.Time {
	return time.Date(2026, 11, 27, 0, 0, 0, 0, time.UTC).Add(time.Duration(minutes) * time.Minute)
}

func TestDue(t *testing.T) {
	every := func(d time.Duration) *argosyv1.BackupSchedule {
		return &argosyv1.BackupSchedule{Every: durationpb.New(d), SetAt: timestamppb.New(at(100))}
	}
	state := func(attempted, succeeded int, why string) *argosyv1.BackupState {
		return &argosyv1.BackupState{AttemptedAt: timestamppb.New(at(attempted)), SucceededAt: timestamppb.New(at(succeeded)), Error: why}
	}
	for _, c := range []struct {
		name string
		s    *argosyv1.BackupSchedule
		st   *argosyv1.BackupState
		next int // in minutes; -1 is never
	}{
		{"no schedule", nil, nil, -1},
		{"a new schedule", every(6 * time.Hour), nil, 100},
		{"a schedule that was changed", every(6 * time.Hour), state(90, 90, ""), 100},
		{"one was made", every(6 * time.Hour), state(120, 120, ""), 480},
		{"one failed", every(6 * time.Hour), state(480, 120, "no space"), 490},
		{"one failed, and they are frequent", every(5 * time.Minute), state(480, 475, "no space"), 485},
	} {
		for m := range 600 {
			if got, want := Due(at(m), c.s, c.st), c.next >= 0 && m >= c.next; got != want {
				t.Errorf("%s: at minute %d due is %t", c.name, m, got)
				break
			}
		}
	}
}

// TestSameSecond: a schedule that is set again right after a backup makes one with a name of its own.
func TestSameSecond(t *testing.T) {
	for _, begun := range []time.Duration{0, 100 * time.Millisecond, 999 * time.Millisecond} {
		st := &argosyv1.BackupState{AttemptedAt: timestamppb.New(at(1).Add(begun)), SucceededAt: timestamppb.New(at(1).Add(begun))}
		for _, set := range []time.Duration{time.Nanosecond, 800 * time.Millisecond, 3 * time.Second} {
			s := &argosyv1.BackupSchedule{Every: durationpb.New(time.Hour), SetAt: timestamppb.New(at(1).Add(begun + set))}
			next := Next(s, st)
			if Name("c", next) == Name("c", st.AttemptedAt.AsTime()) || next.Before(s.SetAt.AsTime()) || next.Sub(s.SetAt.AsTime()) > time.Second {
				t.Errorf("begun at %v, set %v later: next at %v", begun, set, next)
			}
		}
	}
}

func TestSurplus(t *testing.T) {
	const cluster, other = "1ca2a669bd173983954a989f6dcfb8dc", "ffa2a669bd173983954a989f6dcfb8dc"
	rapid.Check(t, func(t *rapid.T) {
		minutes := rapid.SliceOfNDistinct(rapid.IntRange(0, 100_000), 0, 20, rapid.ID[int]).Draw(t, "minutes")
		foreign := []string{Name(other, at(1)), "notes.txt", "argosy-1ca2a669bd17-.backup", Name(cluster, at(7)) + ".tmp", "../" + Name(cluster, at(8))}
		names := slices.Clone(foreign)
		for _, m := range minutes {
			names = append(names, Name(cluster, at(m)))
		}
		keep := rapid.IntRange(0, 12).Draw(t, "keep")
		gone := Surplus(cluster, names, keep)
		slices.Sort(minutes)
		want := 0
		if keep > 0 {
			want = max(len(minutes)-keep, 0)
		}
		if len(gone) != want {
			t.Fatalf("%d of %d go, with %d to keep", len(gone), len(minutes), keep)
		}
		for i, name := range gone {
			if begun, ok := Parse(cluster, name); !ok || !begun.Equal(at(minutes[i])) {
				t.Fatalf("%s goes, and the oldest is of %s", name, at(minutes[i]))
			}
		}
	})
}

func TestCheck(t *testing.T) {
	for every, ok := range map[time.Duration]bool{time.Minute: false, 5 * time.Minute: true, 24 * time.Hour: true, 40 * 24 * time.Hour: false, -time.Hour: false} {
		if err := Check(&argosyv1.BackupSchedule{Every: durationpb.New(every)}); (err == nil) != ok {
			t.Errorf("every %s: %v", every, err)
		}
	}
	if Check(&argosyv1.BackupSchedule{}) == nil {
		t.Error("a schedule without a time is accepted")
	}
}
