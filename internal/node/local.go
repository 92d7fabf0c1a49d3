package node

import (
	"context"

	"github.com/argosy-cluster/argosy/internal/cli"
	"github.com/argosy-cluster/argosy/internal/localcluster"
)

// local is a local cluster as the commands see it.
type local struct{ *localcluster.Local }

func openLocal(o cli.LocalOptions) (cli.Local, error) {
	l, err := localcluster.New(localcluster.Options{Name: o.Name, Memory: o.Memory, Servers: o.Servers,
		Progress: func(e localcluster.Event) { o.Progress(cli.LocalEvent(e)) }})
	if err != nil {
		return nil, err
	}
	return local{l}, nil
}

func (l local) Up(ctx context.Context, machines int) (cli.LocalCluster, error) {
	c, err := l.Local.Up(ctx, machines)
	return seen(c), err
}

func (l local) Down(ctx context.Context, images bool) error {
	return l.Local.Down(ctx, localcluster.DownOptions{Images: images})
}

func locals(ctx context.Context) ([]cli.LocalCluster, error) {
	list, err := localcluster.List(ctx)
	if err != nil {
		return nil, err
	}
	out := make([]cli.LocalCluster, len(list))
	for i, c := range list {
		out[i] = seen(c)
	}
	return out, nil
}

func seen(c localcluster.Cluster) cli.LocalCluster {
	out := cli.LocalCluster{Name: c.Name, Server: c.Server, Machines: make([]cli.LocalMachine, len(c.Machines))}
	for i, m := range c.Machines {
		out.Machines[i] = cli.LocalMachine(m)
	}
	return out
}
