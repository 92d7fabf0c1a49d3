package cli

import (
	"strings"
	"time"
)

// instant reads a time as people write it: 03:12 (the last there was), 2026-11-27T03:12, 2026-11-27 03:12:30, with or without
// a zone, or how long ago: 2h, "90m ago".
func instant(s string, now time.Time) (time.Time, error) {
	if d, err := time.ParseDuration(strings.TrimSpace(strings.TrimSuffix(s, "ago"))); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(layout, s, now.Location()); err == nil {
			return t, nil
		}
	}
	for _, layout := range []string{"15:04:05", "15:04"} {
		t, err := time.ParseInLocation(layout, s, now.Location())
		if err != nil {
			continue
		}
		t = time.Date(now.Year(), now.Month(), now.Day(), t.Hour(), t.Minute(), t.Second(), 0, now.Location())
		if t.After(now) {
			t = t.AddDate(0, 0, -1)
		}
		return t, nil
	}
	return time.Time{}, usageError("%q is no time: write 03:12, 2026-11-27T03:12 or how long ago, for example 2h", s)
}
