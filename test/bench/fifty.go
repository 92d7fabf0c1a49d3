package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

const fifty = 50

// How often both are run: at least fewest times, and up to most times while it takes no longer than patience.
const (
	fewest, most = 3, 6
	patience     = 100 * time.Second
)

var fiftyContainers = measurement{
	name:    "fifty",
	machine: true,
	want: []figure{
		{name: "50 small containers, against a bare loop of parallel docker run -d", atMost: 1.25, unit: "×"},
		{name: "apply sent, until the server shows all 50 ready", unit: "s"},
		{name: "the bare loop", unit: "s"},
	},
	run: func(ctx context.Context, b *bench, want []figure) ([]figure, error) {
		image, err := b.m.localImage(ctx)
		if err != nil {
			return nil, err
		}
		var bare, ours, ratios []float64
		begun := time.Now()
		for i := 0; i < fewest || i < most && time.Since(begun) < patience; i++ {
			var one, other float64
			// Each goes first in turn, since an Engine gets slower as it goes.
			for _, first := range []bool{i%2 == 0, i%2 != 0} {
				if first {
					one, err = b.m.bareFifty(ctx, image)
				} else {
					other, err = b.m.applyFifty(ctx, fmt.Sprintf("fifty%d", i))
				}
				if err != nil {
					return nil, err
				}
			}
			bare, ours, ratios = append(bare, one), append(ours, other), append(ratios, other/one)
			b.say("  bare %.2f s, argosy %.2f s", one, other)
		}
		want[0].value, want[1].value, want[2].value = median(ours)/median(bare), median(ours), median(bare)
		want[0].note = fmt.Sprintf("of the medians of %d alternating runs; ratios of the pairs from %s", len(ratios), spread(ratios, "×"))
		want[1].note = "from " + spread(ours, "s")
		want[2].note = "until the last docker run has returned; from " + spread(bare, "s")
		return want, nil
	},
}

// localImage is the id of the test's image in the machine's Engine. One replica is run and removed to get it there.
func (m *machine) localImage(ctx context.Context) (string, error) {
	if _, _, err := m.apply(ctx, "fetch", 1); err != nil {
		return "", err
	}
	replicas, _, err := m.ready(ctx, "fetch", 1)
	if err != nil {
		return "", err
	}
	id, err := m.on(ctx, "docker", "inspect", "--format", "{{.Image}}", replicas[0].GetObservation().GetMembers()[0].GetContainerId())
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(id), m.remove(ctx, "fetch")
}

// bareFifty runs 50 docker run -d at the same time, and returns how many seconds passed until the last was done.
func (m *machine) bareFifty(ctx context.Context, image string) (float64, error) {
	const label = "argosy.bench"
	// Milliseconds, taken in the machine: entering it is not what is measured.
	script := fmt.Sprintf(`begun=$(date +%%s%%3N)
pids=
for i in $(seq %d); do docker run -d --label %s %s sleep infinity >/dev/null & pids="$pids $!"; done
for p in $pids; do wait $p || exit 1; done
echo $(($(date +%%s%%3N) - begun))`, fifty, label, image)
	out, err := m.on(ctx, "sh", "-c", script)
	if err != nil {
		return 0, fmt.Errorf("the bare loop: %w", err)
	}
	if _, err := m.on(ctx, "sh", "-c", fmt.Sprintf("docker ps -aq --filter label=%s | xargs -r docker rm -f >/dev/null", label)); err != nil {
		return 0, fmt.Errorf("remove the bare loop's containers: %w", err)
	}
	ms, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		return 0, fmt.Errorf("the bare loop told no time: %w", err)
	}
	return float64(ms) / 1000, nil
}

// applyFifty applies an app of 50 replicas and returns how many seconds passed until all were seen to be ready.
func (m *machine) applyFifty(ctx context.Context, app string) (float64, error) {
	sent, _, err := m.apply(ctx, app, fifty)
	if err != nil {
		return 0, err
	}
	_, at, err := m.ready(ctx, app, fifty)
	if err != nil {
		return 0, err
	}
	return at.Sub(sent).Seconds(), m.remove(ctx, app)
}

// settle lets what was just done come to rest.
func settle(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
