//go:build e2e

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/join"
	"github.com/argosy-cluster/argosy/test/robustness"
)

// logIn makes a client for each server.
func (r *robust) logIn() {
	token, err := auth.ParseToken(strings.TrimSpace(argosy(r.t, "token", "create", "--user", "robust", "--role", "admin")), argosyv1.TokenPurpose_TOKEN_PURPOSE_USER)
	if err != nil {
		r.t.Fatal(err)
	}
	dir := r.t.TempDir()
	if _, err := join.User(r.t.Context(), token, dir); err != nil {
		r.t.Fatal(err)
	}
	cred, err := auth.Files{Dir: dir}.Load()
	if err != nil {
		r.t.Fatal(err)
	}
	verifier, err := cred.Verifier()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, m := range w.cluster.Machines {
		transport := join.NewTransport(auth.ClientTLS(auth.NewSource(cred), verifier))
		r.t.Cleanup(transport.CloseIdleConnections)
		r.clients = append(r.clients, argosyv1connect.NewAppServiceClient(&http.Client{Transport: transport}, "https://"+m.Address.String()+":7400"))
	}
}

func robustSpec(app string, count uint32) *argosyv1.AppSpec {
	return &argosyv1.AppSpec{Name: app,
		Containers: []*argosyv1.ContainerSpec{{Name: "web", Image: "argosy-example/apache:2.4",
			Entrypoint: &argosyv1.Command{Args: []string{"sleep", "infinity"}}, Init: true,
			Resources: &argosyv1.Resources{ReserveCpuMilli: 20, ReserveMemory: 16 << 20}}},
		Stacks:  []*argosyv1.StackSpec{{Name: "web", Containers: []string{"web"}}},
		Cluster: []*argosyv1.ClusterEntry{{Stack: "web", Count: count}},
	}
}

// client asks for something twice a second, again and again until it knows how that ended.
func (r *robust) client(ctx context.Context, n int, rng *rand.Rand) {
	for ctx.Err() == nil {
		r.quiet.RLock()
		r.one(ctx, n, rng)
		r.quiet.RUnlock()
		r.pause(ctx, time.Duration(300+rng.IntN(400))*time.Millisecond)
	}
}

// one asks for one thing.
func (r *robust) one(ctx context.Context, n int, rng *rand.Rand) {
	app := r.names[rng.IntN(len(r.names))]
	kind := robustness.Read
	switch p := rng.IntN(100); {
	case p < 25:
		kind = robustness.Scale
	case p < 45:
		kind = robustness.Apply
	case p < 47 && app == r.names[0]: // the others live long enough to be looked at
		kind = robustness.Delete
	}
	r.ask(ctx, n, app, kind, uint32(1+rng.IntN(mostReplicas)), fmt.Sprintf("robust-%d-%d-%d", r.begun, n, rng.Uint64()))
}

// ask has a client ask for one thing.
func (r *robust) ask(ctx context.Context, n int, app string, kind robustness.Kind, count uint32, key string) {
	c := robustness.Client{Number: n, Servers: r.clients, Spec: robustSpec, Stack: "web", Each: 8 * time.Second, All: 45 * time.Second}
	if err := c.Do(ctx, r.history, app, kind, count, key); err != nil {
		r.t.Error(err)
	}
}

// look asks a machine's own Engine what runs there, again and again.
func (r *robust) look(ctx context.Context, machine string) {
	for ctx.Err() == nil {
		one, cancel := context.WithTimeout(ctx, 5*time.Second)
		begin := time.Now()
		list, err := robustContainers(one, machine)
		cancel()
		if err == nil {
			running := map[string]bool{}
			for _, c := range list {
				running[c.replica] = true
			}
			r.observer.Saw(machine, robustness.Sample{Begin: begin, End: time.Now(), Running: running})
		}
		r.pause(ctx, time.Second)
	}
}

// container is one that runs.
type container struct{ replica, id string }

// robustContainers asks for each container by itself: what docker ps says is a copy, which the Engine does not renew when its disk
// became full while the container started. And it asks the kernel for its process, of which the Engine may know nothing.
func robustContainers(ctx context.Context, machine string) (list []container, err error) {
	out, err := w.local.Exec(ctx, machine, "sh", "-c", `ids=$(timeout 5 docker ps --all --quiet --no-trunc --filter label=argosy.app) || exit 1
		test -n "$ids" || exit 0
		said=$(timeout 5 docker inspect --format '{{.State.Running}} {{index .Config.Labels "argosy.app"}}/{{index .Config.Labels "argosy.stack"}}.{{index .Config.Labels "argosy.number"}} {{.Id}} {{.State.Pid}}' $ids 2>&1) ||
			test $? = 1 # one is gone meanwhile; anything else is seen by its text
		echo "$said" | while read -r running name id pid more; do
			test "$running" != true || test -e /proc/$pid || running=false
			echo "$running $name $id $pid $more"
		done`)
	if err != nil {
		return nil, err
	}
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 0 || strings.Contains(line, "No such object"):
		case len(fields) != 4 || fields[0] != "true" && fields[0] != "false":
			return nil, fmt.Errorf("docker inspect says: %s", line)
		case fields[0] == "true" && strings.HasPrefix(fields[1], "robust"):
			list = append(list, container{fields[1], fields[2]})
		}
	}
	return list, nil
}

// claims asks the servers, one after another, what they say of the replicas.
func (r *robust) claims(ctx context.Context) {
	for n := 0; ctx.Err() == nil; n++ {
		for _, app := range r.names {
			one, cancel := context.WithTimeout(ctx, 3*time.Second)
			asked := time.Now()
			res, err := r.clients[n%len(r.clients)].ListReplicas(one, connect.NewRequest(&argosyv1.ListReplicasRequest{App: app}))
			answered := time.Now()
			cancel()
			if err != nil {
				break // the next server is asked
			}
			r.observer.Answered(asked, answered)
			for _, s := range res.Msg.Replicas {
				k := s.GetReplica().GetKey()
				if s.State == argosyv1.ReplicaState_REPLICA_STATE_READY {
					r.observer.Claimed(robustness.Claim{Replica: fmt.Sprintf("%s/%s.%d", k.App, k.Stack, k.Number), Machine: s.MachineName,
						Asked: asked, Answered: answered, Age: s.GetAge().AsDuration()})
				}
			}
		}
		r.pause(ctx, 700*time.Millisecond)
	}
}
