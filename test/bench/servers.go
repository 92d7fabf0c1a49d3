package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

var losingLeader = measurement{
	name: "leader",
	want: []figure{{name: "leader of three servers killed, to the next decision told to a machine", atMost: 3000, unit: "ms"}},
	run: func(ctx context.Context, b *bench, want []figure) ([]figure, error) {
		const repeat = 5
		results, err := b.goBench(ctx, "./internal/server", "^BenchmarkLeaderKilled$", "-benchtime=1x", "-count="+strconv.Itoa(repeat))
		if err != nil {
			return nil, err
		}
		took := results["BenchmarkLeaderKilled"]["ms/killed-to-told"]
		if len(took) != repeat {
			return nil, errors.New("BenchmarkLeaderKilled did not tell how long it took each time")
		}
		want[0].value = median(took)
		want[0].note = fmt.Sprintf("median of %d, from %s; three processes on this host, one machine on real sessions", repeat, spread(took, "ms"))
		return want, nil
	},
}
