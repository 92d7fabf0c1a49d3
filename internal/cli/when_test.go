package cli

import (
	"testing"
	"time"
)

func TestInstant(t *testing.T) {
	zone := time.FixedZone("x", 3600)
	now := time.Date(2026, 11, 27, 9, 30, 0, 0, zone)
	for in, want := range map[string]string{
		"03:12":                "2026-11-27T03:12:00+01:00",
		"22:05:30":             "2026-11-26T22:05:30+01:00",
		"2h":                   "2026-11-27T07:30:00+01:00",
		"90m ago":              "2026-11-27T08:00:00+01:00",
		"2026-11-20T03:12":     "2026-11-20T03:12:00+01:00",
		"2026-11-20 03:12:09":  "2026-11-20T03:12:09+01:00",
		"2026-11-20":           "2026-11-20T00:00:00+01:00",
		"2026-11-27T03:12:00Z": "2026-11-27T03:12:00Z",
		"yesterday":            "",
		"-2h":                  "",
		"25:00":                "",
		"":                     "",
	} {
		got, err := instant(in, now)
		if err != nil {
			if want != "" {
				t.Errorf("%q: %v", in, err)
			}
			continue
		}
		if s := got.Format(time.RFC3339); s != want {
			t.Errorf("%q is %s, want %q", in, s, want)
		}
	}
}
