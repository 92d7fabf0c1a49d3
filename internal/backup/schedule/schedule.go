package schedule

import (
	"fmt"
	"slices"
	"strings"
	"time"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Bounds of a schedule.
const (
	Shortest = 5 * time.Minute
	Longest  = 31 * 24 * time.Hour
	MostKept = 10_000
)

// retry is how soon a backup that failed is tried again, unless backups are more frequent than that.
const retry = 10 * time.Minute

// Next is when the next backup is due: at once after a schedule was set, then every so often after the beginning of the last
// that succeeded, and a while after one that failed. Never in the second in which the last was begun: the file's name says no
// more than that, and the new one would take the old one's place. The state may be nil.
func Next(s *argosyv1.BackupSchedule, st *argosyv1.BackupState) time.Time {
	every := s.GetEvery().AsDuration()
	begun, done := st.GetAttemptedAt().AsTime(), st.GetSucceededAt().AsTime()
	switch {
	case st.GetAttemptedAt() == nil:
		return s.GetSetAt().AsTime()
	case begun.Before(s.GetSetAt().AsTime()):
		if next := begun.Truncate(time.Second).Add(time.Second); next.After(s.GetSetAt().AsTime()) {
			return next
		}
		return s.GetSetAt().AsTime()
	case st.GetError() != "":
		return begun.Add(min(retry, every))
	}
	return done.Add(every)
}

// Due says whether a backup should be made now.
func Due(now time.Time, s *argosyv1.BackupSchedule, st *argosyv1.BackupState) bool {
	return s.GetEvery() != nil && !now.Before(Next(s, st))
}

const (
	suffix = ".backup"
	stamp  = "20060102T150405Z"
)

// Name is the file's name of a cluster's backup that was begun then. Names of one cluster sort by time.
func Name(cluster string, begun time.Time) string {
	return prefix(cluster) + begun.UTC().Format(stamp) + suffix
}

func prefix(cluster string) string { return "argosy-" + cluster[:min(len(cluster), 12)] + "-" }

// Parse says when a backup of the cluster was begun, by its file's name, and whether it is one.
func Parse(cluster, name string) (begun time.Time, ok bool) {
	rest, is := strings.CutPrefix(name, prefix(cluster))
	rest, is2 := strings.CutSuffix(rest, suffix)
	begun, err := time.Parse(stamp, rest)
	return begun, is && is2 && err == nil && Name(cluster, begun) == name
}

// Surplus lists the names of the cluster's backups beyond the newest keep, the oldest first. Of other names it says nothing,
// and when keep is 0 nothing is too much.
func Surplus(cluster string, names []string, keep int) []string {
	var own []string
	for _, n := range names {
		if _, ok := Parse(cluster, n); ok {
			own = append(own, n)
		}
	}
	slices.Sort(own)
	if keep <= 0 || len(own) <= keep {
		return nil
	}
	return own[:len(own)-keep]
}

// Check says what is wrong with a schedule that somebody asks for, its lock and its target excepted.
func Check(s *argosyv1.BackupSchedule) error {
	switch every := s.GetEvery(); {
	case every.CheckValid() != nil || every.AsDuration() < Shortest || every.AsDuration() > Longest:
		return fmt.Errorf("backups may be made every %s to every %s", Shortest, Longest)
	case s.GetKeep() > MostKept:
		return fmt.Errorf("at most %d backups are kept", MostKept)
	}
	return nil
}
