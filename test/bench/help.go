package main

import (
	"bytes"
	"context"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

var helping = measurement{
	name: "help",
	want: []figure{{name: "any command's --help, from nothing to its last line", atMost: 30, unit: "ms"}},
	run: func(ctx context.Context, b *bench, want []figure) ([]figure, error) {
		const repeat = 20
		commands, err := b.commands(ctx, nil)
		if err != nil {
			return nil, err
		}
		var slowest, all []float64
		var which string
		for _, words := range commands {
			var times []float64
			for range repeat {
				begun := time.Now()
				if _, err := b.help(ctx, words); err != nil {
					return nil, err
				}
				times = append(times, milliseconds(time.Since(begun)))
			}
			all = append(all, times...)
			if m := median(times); len(slowest) == 0 || m > slices.Max(slowest) {
				which = strings.Join(words, " ")
			}
			slowest = append(slowest, median(times))
		}
		want[0].value = slices.Max(slowest)
		want[0].note = fmt.Sprintf("the slowest of %d commands (%s), each the median of %d runs; all runs: %s, median %s",
			len(commands), which, repeat, spread(all, "ms"), amount(median(all), "ms"))
		return want, nil
	},
}

func (b *bench) help(ctx context.Context, words []string) (string, error) {
	cmd := exec.CommandContext(ctx, b.binary, append(slices.Clone(words), "--help")...)
	var out, failed bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &failed
	if err := cmd.Run(); err != nil {
		return "", fmt.Errorf("argosy %s --help: %w\n%s", strings.Join(words, " "), err, failed.String())
	}
	return out.String(), nil
}

// commands are all that the binary has below one, itself included, as shell completion knows them.
func (b *bench) commands(ctx context.Context, below []string) ([][]string, error) {
	out, err := exec.CommandContext(ctx, b.binary, append(append([]string{"__complete"}, below...), "")...).Output()
	if err != nil {
		return nil, fmt.Errorf("asking for the commands below %q: %w", strings.Join(below, " "), err)
	}
	all := [][]string{below}
	for line := range strings.Lines(string(out)) {
		name, _, described := strings.Cut(strings.TrimSpace(line), "\t")
		if !described || name == "" || strings.HasPrefix(name, "-") || name == "help" {
			continue // no command: what is completed live has no description
		}
		help, err := b.help(ctx, append(slices.Clone(below), name))
		if err != nil {
			return nil, err
		}
		if !strings.Contains(help, strings.Join(append([]string{"argosy"}, append(below, name)...), " ")) {
			continue // an argument, not a command
		}
		more, err := b.commands(ctx, append(slices.Clone(below), name))
		if err != nil {
			return nil, err
		}
		all = append(all, more...)
	}
	return all, nil
}
