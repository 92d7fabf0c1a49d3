package main

import (
	"context"
	"fmt"
)

var restoring = measurement{
	name: "restore",
	want: []figure{{name: "from a backup with a store of 100 MB to a server that accepts an apply", atMost: 30, unit: "s"}},
	run: func(ctx context.Context, b *bench, want []figure) ([]figure, error) {
		const repeat = 3
		results, err := b.goBench(ctx, "./internal/server", "^BenchmarkRestore$", "-benchtime=1x", fmt.Sprintf("-count=%d", repeat))
		if err != nil {
			return nil, err
		}
		times, sizes := results["BenchmarkRestore"]["s/restore"], results["BenchmarkRestore"]["MB"]
		if len(times) != repeat || len(sizes) != repeat {
			return nil, fmt.Errorf("BenchmarkRestore told %d times instead of %d", len(times), repeat)
		}
		want[0].value = median(times)
		want[0].note = fmt.Sprintf("median of %d, from %s; %s of content, encrypted, of random records", repeat, spread(times, "s"), amount(median(sizes), "MB"))
		return want, nil
	},
}
