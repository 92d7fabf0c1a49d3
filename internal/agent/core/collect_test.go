package core_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/argosy-cluster/argosy/internal/agent/core"
)

func TestDecideCollection(t *testing.T) {
	day := 24 * time.Hour
	image := func(name string, size int64, age time.Duration) core.Image {
		return core.Image{Reference: name, Size: size, UsedAt: epoch.Add(-age)}
	}
	images := []core.Image{image("new", 10, time.Minute), image("week", 10, 7*day), image("hour", 10, time.Hour), image("day", 10, day), image("needed", 10, 30*day)}
	needed := map[string]bool{"needed": true}
	for _, c := range []struct {
		what        string
		total, used int64
		want        string
	}{
		{"room enough", 100, 50, "[{week not needed for 7 days}]"},
		{"disk unknown", 0, 0, "[{week not needed for 7 days}]"},
		{"nearly full: the oldest is enough", 100, 85, "[{week not needed for 7 days}]"},
		{"full: least recently used first", 100, 95, "[{week not needed for 7 days} {day the disk is 95 % full and nothing needs it}]"},
		{"full to the brim: all that is not needed and not fresh", 100, 100, "[{week not needed for 7 days} {day the disk is 100 % full and nothing needs it} {hour the disk is 100 % full and nothing needs it}]"},
	} {
		got := fmt.Sprint(core.DecideCollection(epoch, core.Collection{Images: images, Needed: needed, DiskTotal: c.total, DiskUsed: c.used}))
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.what, got, c.want)
		}
	}
}
