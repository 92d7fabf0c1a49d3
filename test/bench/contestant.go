package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/argosy-cluster/argosy/test/bench/report"
)

// contestant is one way to have n containers, and to have them no more.
type contestant struct {
	report.Contestant
	argosy bool // its machine is a member of a cluster of its own
	// managers are the names of the processes that manage and stay, besides dockerd.
	managers []string
	// prepare makes a fresh machine ready; the image is in its Engine then.
	prepare  func(ctx context.Context, x *box, image string) error
	up, down func(image string, n int) job
}

// atOnce is how many docker run are under way at the same time: all of fifty, as with & behind each. endAtOnce is how many
// docker rm are, because Engine 20.10 can lock itself up when dozens of containers end at once.
const (
	atOnce    = 50
	endAtOnce = 8
)

// comparePackages are in the machine of every contestant, so that all have the same.
var comparePackages = []string{"docker-compose"}

const (
	compose1 = "/usr/bin/docker-compose"
	compose5 = "/usr/local/bin/docker-compose-5"
	workDir  = "/var/lib/bench"
	// workNetwork is a network of Docker's in the machines of docker run.
	workNetwork = "bench"
)

// contestants are listed in the order in which tables and plots show them.
func contestants() []contestant {
	return []contestant{
		{
			Contestant: report.Contestant{Key: "argosy", Title: "Argosy", About: "argosy apply of an app of N replicas, and argosy delete; server and agent on the machine; a bridge network of the cluster's own, with names"},
			argosy:     true, managers: []string{"argosyd", "argosy-guard", "argosy-witness"},
			prepare: func(ctx context.Context, x *box, image string) error {
				if err := loadImage(ctx, x, image); err != nil {
					return err
				}
				return x.sh(ctx, "argosy image load "+image)
			},
			up: func(image string, n int) job {
				return one("argosy", "apply", fmt.Sprintf("compare-%d.yaml", n))
			},
			down: func(_ string, n int) job { return one("argosy", "delete", appOf(n), "--yes") },
		},
		bareContestant("bare", "docker run", "Docker's default bridge, without names"),
		bareContestant("named", "docker run, names", "a bridge network made before, with names", "--network", workNetwork),
		composeContestant("compose5", "Compose 5", "docker compose up -d --scale, and down; version "+composeVersion+" from its Go module, outside the docker command; a bridge network of the project's own, with names", compose5),
		composeContestant("compose1", "Compose 1.29", "the same with Debian's docker-compose package, in Python", compose1),
		swarmContestant("swarm", "Swarm", "Docker's default bridge, without names"),
		swarmContestant("overlay", "Swarm, names", "an overlay network made before, with names", "--network", workNetwork),
	}
}

// bareContestant runs docker itself, with some options more.
func bareContestant(key, title, network string, options ...string) contestant {
	return contestant{
		Contestant: report.Contestant{Key: key, Title: title, About: fmt.Sprintf("docker run -d, %d at a time; docker rm -f, %d at a time; %s", atOnce, endAtOnce, network)},
		prepare: func(ctx context.Context, x *box, image string) error {
			if err := loadImage(ctx, x, image); err != nil {
				return err
			}
			return x.sh(ctx, "docker network create "+workNetwork)
		},
		up: func(image string, n int) job {
			j := job{Parallel: atOnce}
			for i := range n {
				argv := append([]string{"docker", "run", "-d", "--name", "small" + strconv.Itoa(i)}, options...)
				j.Commands = append(j.Commands, append(argv, image, "sleep", "infinity"))
			}
			return j
		},
		down: func(_ string, n int) job {
			j := job{Parallel: endAtOnce}
			for i := range min(n, endAtOnce) {
				argv := []string{"docker", "rm", "-f"}
				for k := i; k < n; k += endAtOnce {
					argv = append(argv, "small"+strconv.Itoa(k))
				}
				j.Commands = append(j.Commands, argv)
			}
			return j
		},
	}
}

// swarmContestant is a swarm of one node, with some options more.
func swarmContestant(key, title, network string, options ...string) contestant {
	return contestant{
		Contestant: report.Contestant{Key: key, Title: title, About: "docker service create --replicas, and service rm, on a swarm of one node; live-restore off, which Swarm demands; " + network},
		prepare: func(ctx context.Context, x *box, image string) error {
			if err := x.sh(ctx, `sed -i 's/"live-restore": true/"live-restore": false/' /etc/docker/daemon.json && systemctl restart docker && `+
				`docker swarm init --advertise-addr eth0 && docker network create --driver overlay `+workNetwork); err != nil {
				return err
			}
			return loadImage(ctx, x, image)
		},
		up: func(image string, n int) job {
			argv := append([]string{"docker", "service", "create", "-d", "--name", "small", "--replicas", strconv.Itoa(n),
				"--no-resolve-image", "--stop-grace-period", "0s"}, options...)
			return one(append(argv, image, "sleep", "infinity")...)
		},
		down: func(string, int) job { return one("docker", "service", "rm", "small") },
	}
}

func composeContestant(key, title, about, binary string) contestant {
	return contestant{
		Contestant: report.Contestant{Key: key, Title: title, About: about},
		prepare: func(ctx context.Context, x *box, image string) error {
			if err := x.write(workDir+"/docker-compose.yml", fmt.Sprintf(`version: "3.8"
services:
  small:
    image: %s
    command: [sleep, infinity]
    stop_grace_period: 0s
`, image)); err != nil {
				return err
			}
			return loadImage(ctx, x, image)
		},
		up: func(_ string, n int) job { return one(binary, "up", "-d", "--scale", "small="+strconv.Itoa(n)) },
		down: func(string, int) job {
			return one(binary, "down", "--timeout", "0")
		},
	}
}

// one is a job of one command.
func one(argv ...string) job {
	// A minute is what Compose 1 waits for an answer, and a busy Engine may take longer.
	return job{Commands: [][]string{argv}, Parallel: 1, Dir: workDir, Env: []string{"COMPOSE_HTTP_TIMEOUT=600"}}
}

func appOf(n int) string { return "compare" + strconv.Itoa(n) }

// limit is after how long a contestant is given up that has not got n containers to run, or to be gone.
func limit(n int) time.Duration { return 2*time.Minute + time.Duration(2*n)*time.Second }

// rounds is how often n containers are run when few are run all times: many a third as often, since they take so long.
func rounds(all, n int) int {
	if n > 100 {
		return max(1, all/3)
	}
	return all
}
