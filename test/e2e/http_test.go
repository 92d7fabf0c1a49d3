//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// visit is one answer of the example's page.
type visit struct {
	balancer string // as the balancer calls itself: shop/balancer.2
	replica  string // who served it: shop/lamp.3
	rows     int    // in that replica's database, this visit's included
}

var servedBy = regexp.MustCompile(`^served by (\S+), (\d+) rows\n$`)

// client opens a connection for each request, as different people would.
var client = &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// get visits the page through the balancer on a machine.
func get(ctx context.Context, machine netip.Addr) (visit, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+machine.String()+"/", nil)
	if err != nil {
		return visit{}, err
	}
	res, err := client.Do(req)
	if err != nil {
		return visit{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, 4<<10))
	if err != nil {
		return visit{}, err
	}
	m := servedBy.FindStringSubmatch(string(body))
	if res.StatusCode != http.StatusOK || m == nil {
		return visit{}, fmt.Errorf("%s answered %s: %s", machine, res.Status, body)
	}
	rows, err := strconv.Atoi(m[2])
	return visit{balancer: res.Header.Get("X-Balancer"), replica: m[1], rows: rows}, err
}

// reached visits often enough to meet every replica behind the balancer on a
// machine, and returns how many rows each had last. Rows of one replica must
// grow with every visit.
func reached(ctx context.Context, machine netip.Addr, visits int) (map[string]int, error) {
	rows := map[string]int{}
	for range visits {
		v, err := get(ctx, machine)
		if err != nil {
			return rows, err
		}
		if v.rows <= rows[v.replica] {
			return rows, fmt.Errorf("%s had %d rows and now has %d: a visit was lost", v.replica, rows[v.replica], v.rows)
		}
		rows[v.replica] = v.rows
	}
	return rows, nil
}

// serves is an error unless exactly these lamp replicas answer behind the
// balancer on a machine.
func serves(ctx context.Context, machine netip.Addr, numbers ...int) error {
	rows, err := reached(ctx, machine, 4*len(numbers))
	if err != nil {
		return err
	}
	var want, got []string
	for _, n := range numbers {
		want = append(want, fmt.Sprintf("shop/lamp.%d", n))
	}
	for replica := range rows {
		got = append(got, replica)
	}
	slices.Sort(want)
	slices.Sort(got)
	if !slices.Equal(got, want) {
		return fmt.Errorf("behind %s answer %v, want %v", machine, got, want)
	}
	return nil
}

// traffic visits through a balancer all the time until stop is called, which
// returns how many visits there were and those that failed.
type traffic struct {
	cancel context.CancelFunc
	done   sync.WaitGroup
	total  int
	failed []error
}

func startTraffic(t *testing.T, machine netip.Addr) *traffic {
	ctx, cancel := context.WithCancel(t.Context())
	tr := &traffic{cancel: cancel}
	tr.done.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			_, err := get(context.WithoutCancel(ctx), machine)
			tr.total++
			if err != nil {
				tr.failed = append(tr.failed, fmt.Errorf("%s: %w", time.Now().Format("15:04:05.000"), err))
			}
		}
	})
	return tr
}

// stop ends the visits; a failed one fails the test.
func (tr *traffic) stop(t *testing.T) {
	t.Helper()
	tr.cancel()
	tr.done.Wait()
	if tr.total == 0 {
		t.Error("not one visit was made meanwhile")
	}
	if n := len(tr.failed); n > 0 {
		t.Errorf("%d of %d visits failed meanwhile; the first: %v; the last: %v", n, tr.total, tr.failed[0], tr.failed[n-1])
	} else {
		t.Logf("%d visits meanwhile, none failed", tr.total)
	}
}
