package main

import (
	"context"
	"fmt"
	"strings"
	"time"
)

var applying = measurement{
	name:    "apply",
	machine: true,
	want: []figure{
		{name: "apply acknowledged, until container-create is sent to Docker", atMost: 50, unit: "ms"},
		{name: "apply sent, until it is acknowledged", unit: "ms"},
		{name: "apply sent, until the server shows the replica ready", unit: "ms"},
	},
	run: func(ctx context.Context, b *bench, want []figure) ([]figure, error) {
		const repeat = 25
		m := b.m
		var create, acknowledge, ready []float64
		for i := range repeat + 1 {
			app := fmt.Sprintf("apply%d", i)
			sent, acknowledged, err := m.apply(ctx, app, 1)
			if err != nil {
				return nil, err
			}
			replicas, at, err := m.ready(ctx, app, 1)
			if err != nil {
				return nil, err
			}
			created, err := m.created(ctx, replicas[0].GetObservation().GetMembers()[0].GetContainerId())
			if err != nil {
				return nil, err
			}
			if err := m.remove(ctx, app); err != nil {
				return nil, err
			}
			if i == 0 {
				continue // the machine had to get the image first
			}
			create = append(create, milliseconds(created.Sub(acknowledged)))
			acknowledge = append(acknowledge, milliseconds(acknowledged.Sub(sent)))
			ready = append(ready, milliseconds(at.Sub(sent)))
		}
		want[0].value, want[1].value, want[2].value = median(create), median(acknowledge), median(ready)
		want[0].note = fmt.Sprintf("median of %d apps, from %s; Docker notes the time of creation once it has read the request", repeat, spread(create, "ms"))
		want[1].note = "from " + spread(acknowledge, "ms")
		want[2].note = "from " + spread(ready, "ms")
		return want, nil
	},
}

// created is when the Engine took up creating a container. Its clock is the host's.
func (m *machine) created(ctx context.Context, id string) (time.Time, error) {
	out, err := m.on(ctx, "docker", "inspect", "--format", "{{.Created}}", id)
	if err != nil {
		return time.Time{}, err
	}
	return time.Parse(time.RFC3339Nano, strings.TrimSpace(out))
}
