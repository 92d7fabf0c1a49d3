// Package node gives the commands the rooms that take long to load: server, agent, Compose, local clusters and whatever else
// needs a large library. Only argosyd is linked with it:
//
//	os.Exit(cli.Process(node.Rooms()))
package node

import (
	"context"
	"io"
	"log/slog"
	"time"

	"github.com/moby/moby/client"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/argosy-cluster/argosy/internal/agent"
	"github.com/argosy-cluster/argosy/internal/backup"
	"github.com/argosy-cluster/argosy/internal/cli"
	"github.com/argosy-cluster/argosy/internal/compose"
	"github.com/argosy-cluster/argosy/internal/image/load"
	"github.com/argosy-cluster/argosy/internal/image/registry"
	"github.com/argosy-cluster/argosy/internal/manifest"
	"github.com/argosy-cluster/argosy/internal/server"
	"github.com/argosy-cluster/argosy/internal/store/external"
)

// Rooms are all of them.
func Rooms() *cli.Rooms {
	return &cli.Rooms{Serve: serve, Recover: recoverServer, Restore: restoreServer, FetchBackup: fetchBackup,
		NewBackupKey: backup.NewKey, LockBackup: lockBackup, VerifyBackup: verifyBackup, Work: work, Routes: routes, CheckEngine: agent.CheckEngine,
		Import: importCompose, Load: loadImage,
		Local: openLocal, Locals: locals}
}

func serve(ctx context.Context, o cli.ServerOptions) error {
	settings := server.DefaultSettings()
	settings.NetworkRange = o.NetworkRange
	settings.Liveness = durationpb.New(o.Liveness)
	settings.LeaseProfile = o.LeaseProfile
	settings.UnreachableAfter = durationpb.New(min(o.Liveness/3, 5*time.Second))
	return server.Run(ctx, server.Config{DataDir: o.DataDir, Listen: o.Listen, Advertise: o.Advertise, PeerListen: o.PeerListen,
		PeerAdvertise: o.PeerAdvertise, WitnessSocket: o.WitnessSocket, WitnessAdvertise: o.WitnessAdvertise, FenceDir: o.FenceDir, StoreQuota: o.StoreQuota, External: externalStore(o.Store), Compaction: o.Compaction, HistoryAge: o.HistoryAge, Socket: o.Socket, FleetAPI: o.FleetAPI, Name: o.Name, Settings: settings, Log: o.Log})
}

func externalStore(o cli.StoreOptions) external.Config {
	return external.Config{Endpoints: o.Endpoints, CAFile: o.CAFile, CertFile: o.CertFile, KeyFile: o.KeyFile, User: o.User, PasswordFile: o.PasswordFile, Prefix: o.Prefix}
}

func recoverServer(ctx context.Context, dir string, log *slog.Logger) (*cli.Recovered, error) {
	r, err := server.Recover(ctx, dir, log)
	return recovered(r), err
}

func importCompose(files []manifest.File, o cli.ImportOptions) cli.Imported {
	return cli.Imported(compose.Import(files, compose.Options{App: o.App, Dir: o.Dir, Stacks: compose.Stacks(o.Stacks), Profiles: o.Profiles,
		EnvFiles: o.EnvFiles, BindsAsVolumes: o.BindsAsVolumes, Partial: o.Partial, LookupEnv: o.LookupEnv}))
}

func loadImage(ctx context.Context, name string, in io.Reader, o cli.LoadOptions) (*cli.Loaded, error) {
	opts := load.Options{Client: registry.NewClient(o.Server, o.HTTP), Tenant: o.Tenant, As: o.As}
	if o.Progress != nil {
		opts.Progress = func(p load.Progress) {
			if p.Stage != load.Done {
				o.Progress(p.Stage == load.Sending, p.Bytes, p.Total)
			}
		}
	}
	var res load.Result
	var err error
	if in != nil {
		res, err = load.Archive(ctx, in, "", opts)
	} else {
		res, err = loadLocal(ctx, name, opts)
	}
	if err != nil {
		return nil, err
	}
	return &cli.Loaded{Image: res.Ref.Familiar(), Unchanged: res.Unchanged, Layers: res.Layers, LayersSent: res.LayersSent, BytesSent: res.BytesSent}, nil
}

// loadLocal sends an image of this host's Engine.
func loadLocal(ctx context.Context, name string, opts load.Options) (load.Result, error) {
	docker, err := client.New(client.FromEnv)
	if err != nil {
		return load.Result{}, err
	}
	defer docker.Close()
	return load.Docker(ctx, docker, name, opts)
}
