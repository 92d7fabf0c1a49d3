package core_test

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/unitfile"
)

// TestTranscripts plays conversations between a leader, an agent's core and a model engine. Commands:
//
//	assign [inc=N] [rev=N] [restart=N] [goal=remove] [volumes] stack.N   and a line for each member:
//	    name [image=X] [env=X] [check] [after=OTHER[:healthy|completed][:restart][:optional]] [policy=no|on-failure:N|always] [secret=NAME] [grace=D]
//	    name.TYPE [text=X] [after=OTHER] [policy=no|always] [start=no]   for a unit
//	    data=VOLUME mounts a shared volume; assign … grant=VOLUME:TOKEN gives the right to write it, refuse=VOLUME:REASON says why not
//	guard stack.N VOLUME TOKEN PHASE [MESSAGE]   so the guard says; guard lost MESSAGE; guard back
//	claims                  what the guard would be told
//	unassign stack.N        the leader speaks of it no more
//	secrets stack.N NAME…   these exist
//	run                     steps until only waiting is left
//	decide                  what would be done
//	observe                 what would be reported
//	tick D                  time passes
//	ghost stack.N/member D  its process is gone since D, and the engine goes on calling it running
//	exit stack.N/member CODE; health stack.N/member STATE; vanish stack.N/member
//	becomes stack.N/member activating|active|deactivating|auto-restart|forgotten|unmet   as systemd says of a unit
//	hangs stack.N/member    its start is under way and does not end; breaks: it is broken off, if nobody wants it;
//	                        ends: it does what it should
//	fail KIND MEMBER MESSAGE  steps of a kind fail for a member from now on (kind none: no more)
//	network lost MESSAGE; network back   containers cannot be connected, and can be again
//	engine lost|back; systemd lost|back; complete yes|no; agent restarts
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata/transcripts", func(t *testing.T, path string) {
		p := &player{model: newModel(), failing: map[string]error{}}
		p.model.fail = func(s core.Step) error { return p.failing[s.Kind.String()+" "+s.Member] }
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			out, err := p.play(d)
			if err != nil {
				d.Fatalf(t, "%v", err)
			}
			return out
		})
	})
}

type player struct {
	*model
	failing map[string]error
	hanging core.Step
}

func (p *player) play(d *datadriven.TestData) (string, error) {
	args := make([]string, 0, len(d.CmdArgs))
	for _, a := range d.CmdArgs {
		args = append(args, a.String())
	}
	switch d.Cmd {
	case "assign":
		return "", p.assign(args, d.Input)
	case "unassign":
		delete(p.wanted, keyOf(args[0]))
	case "secrets":
		a := proto.CloneOf(p.wanted[keyOf(args[0])])
		for i, name := range args[1:] {
			a.Secrets = append(a.Secrets, &argosyv1.SealedSecret{Name: name, Version: uint64(len(a.Secrets) + i + 1)})
		}
		p.wanted[keyOf(args[0])] = a
	case "run":
		return p.run(), nil
	case "decide":
		var out strings.Builder
		for _, s := range p.decide() {
			fmt.Fprintln(&out, p.waiting(s))
		}
		return out.String(), nil
	case "claims":
		var out strings.Builder
		for _, s := range core.Claims(p.list(), p.look(), p.memory) {
			fmt.Fprintln(&out, s)
		}
		return out.String(), nil
	case "guard":
		p.guard(args)
	case "observe":
		return show(p.observe(), p.now), nil
	case "tick":
		by, err := time.ParseDuration(args[0])
		p.now = p.now.Add(by)
		return "", err
	case "fail":
		key := args[0] + " " + args[1]
		delete(p.failing, key)
		if len(args) > 2 {
			p.failing[key] = faultOf(args[2:])
		}
	case "engine":
		p.seen.Known = args[0] == "back"
	case "network":
		p.seen.Unconnected = strings.Join(args[1:], " ")
	case "systemd":
		p.seen.UnitsUnknown = args[0] != "back"
	case "hangs":
		for _, s := range p.decide() {
			if s.Kind == core.Start && fmt.Sprintf("%s.%d/%s", s.Stack, s.Number, s.Member) == args[0] {
				p.hanging = s
				p.memory.Begin(p.now, s)
				if s.Unit != nil {
					becomes(p.containers[s.ContainerID], "activating", p.now)
				}
				return "", nil
			}
		}
		return "it is not to be started\n", nil
	case "breaks":
		if !core.Obsolete(p.hanging, p.list()) {
			return "it goes on\n", nil
		}
		c := p.containers[p.hanging.ContainerID]
		p.memory.Break(p.hanging, c != nil && c.Alive())
		return "broken off\n", nil
	case "ends":
		p.memory.Done(p.now, p.hanging, p.act(p.hanging))
	case "complete":
		p.memory.Complete = args[0] == "yes"
	case "agent":
		members := p.memory.Members
		p.memory.Members = map[core.MemberID]*core.MemberMemory{}
		for id, m := range members {
			kept := *m
			kept.Doing, kept.Image, kept.Prepared, kept.Cleaned = 0, "", "", false
			p.memory.Members[id] = &kept
		}
	default:
		return p.touch(d.Cmd, args)
	}
	return "", nil
}

func faultOf(words []string) error {
	kinds := map[string]core.FaultKind{"no-image": core.FaultNoImage, "broken": core.FaultBroken, "gone": core.FaultGone, "refused": core.FaultRefused}
	if k, ok := kinds[words[0]]; ok {
		return &core.Fault{Kind: k, Message: strings.Join(words[1:], " ")}
	}
	return errors.New(strings.Join(words, " "))
}

func (p *player) guard(args []string) {
	switch args[0] {
	case "lost":
		p.seen.Unguarded = strings.Join(args[1:], " ")
		return
	case "back":
		p.seen.Unguarded = ""
		return
	}
	token, err := claims.ParseStamp(args[2])
	if err != nil {
		panic(err)
	}
	c := core.Claim{Key: keyOf(args[0]), Volume: args[1], Token: token, Message: strings.Join(args[min(4, len(args)):], " "),
		Phase: argosyv1.ClaimPhase(argosyv1.ClaimPhase_value["CLAIM_PHASE_"+strings.ToUpper(args[3])])}
	if c.Phase == argosyv1.ClaimPhase_CLAIM_PHASE_ARMED {
		c.Path, c.Slice = "/volumes/"+args[2], "a-b-c.slice"
	}
	p.seen.Claims = slices.DeleteFunc(p.seen.Claims, func(o core.Claim) bool { return o.Key == c.Key && o.Volume == c.Volume && o.Token == c.Token })
	if c.Phase != argosyv1.ClaimPhase_CLAIM_PHASE_UNSPECIFIED {
		p.seen.Claims = append(p.seen.Claims, c)
	}
}

// touch is what happens to a container without the agent.
func (p *player) touch(cmd string, args []string) (string, error) {
	c := p.find(args[0])
	if c == nil {
		return "", fmt.Errorf("no container %s", args[0])
	}
	switch cmd {
	case "exit":
		code, err := strconv.Atoi(args[1])
		c.State, c.ExitCode, c.FinishedAt, c.Address = core.Exited, code, p.now, ""
		if c.Unit != nil {
			ended(c, code)
		}
		return "", err
	case "ghost":
		since, err := time.ParseDuration(args[1])
		c.PID = 4711
		*c = core.Believe(p.now, *c, p.now.Add(-since))
		return "", err
	case "becomes":
		becomes(c, args[1], p.now)
	case "health":
		c.Health = map[string]core.Health{"starting": core.CheckStarting, "healthy": core.Healthy, "unhealthy": core.Unhealthy}[args[1]]
	case "vanish":
		delete(p.containers, c.ContainerID)
	case "pause":
		c.State = core.Paused
	default:
		return "", fmt.Errorf("unknown command %s", cmd)
	}
	return "", nil
}

func keyOf(s string) core.Key {
	stack, n, _ := strings.Cut(s, ".")
	number, err := strconv.ParseUint(n, 10, 32)
	if err != nil {
		panic(err)
	}
	return core.Key{Tenant: "default", App: "shop", Stack: stack, Number: uint32(number)}
}

func (p *player) assign(args []string, input string) error {
	a := &argosyv1.Assignment{AppUid: "uid", Incarnation: 1, Revision: 1, Goal: argosyv1.ReplicaGoal_REPLICA_GOAL_RUN}
	for _, arg := range args {
		name, value, _ := strings.Cut(arg, "=")
		n, _ := strconv.ParseUint(value, 10, 64)
		switch name {
		case "inc":
			a.Incarnation = n
		case "rev":
			a.Revision = n
		case "restart":
			a.Restart = n
		case "goal":
			a.Goal = argosyv1.ReplicaGoal_REPLICA_GOAL_REMOVE
		case "volumes":
			a.RemoveVolumes = true
		case "grant", "refuse":
			v, what, _ := strings.Cut(value, ":")
			c := &argosyv1.VolumeClaim{Volume: v, Reason: what}
			if token, err := claims.ParseStamp(what); err == nil {
				c.Token, c.Reason = &argosyv1.FencingToken{Generation: token.Generation, Revision: token.Revision}, ""
			}
			a.Claims = append(a.Claims, c)
		default:
			a.Key = keyOf(arg).Proto()
		}
	}
	for line := range strings.Lines(input) {
		if words := strings.Fields(line); unitfile.IsName(words[0]) {
			a.Units = append(a.Units, unitOf(words))
			continue
		}
		c, err := memberOf(strings.Fields(line))
		if err != nil {
			return err
		}
		a.Containers = append(a.Containers, c)
		for _, m := range c.GetMounts() {
			a.Stack = shared(a.GetStack(), m.GetSource())
		}
	}
	p.wanted[core.KeyOf(a.GetKey())] = a
	return nil
}

// shared adds a volume on a device to a stack.
func shared(s *argosyv1.StackSpec, name string) *argosyv1.StackSpec {
	if s == nil {
		s = &argosyv1.StackSpec{}
	}
	if core.Shared(s, name) == nil {
		s.Volumes = append(s.Volumes, &argosyv1.VolumeSpec{Name: name, Class: argosyv1.VolumeClass_VOLUME_CLASS_TIMED_DETECTED, Device: &argosyv1.DeviceSource{Device: "LABEL=" + name}})
	}
	return s
}

func memberOf(words []string) (*argosyv1.ContainerSpec, error) {
	c := &argosyv1.ContainerSpec{Name: words[0], Image: "img"}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		switch name {
		case "image":
			c.Image = value
		case "data":
			c.Mounts = append(c.Mounts, &argosyv1.Mount{Type: argosyv1.MountType_MOUNT_TYPE_VOLUME, Source: value, Target: "/" + value})
		case "env":
			c.Environment = map[string]string{"X": value}
		case "check":
			c.Healthcheck = &argosyv1.Healthcheck{Test: []string{"CMD", "true"}}
		case "secret":
			c.Secrets = append(c.Secrets, &argosyv1.FileRef{Source: value})
		case "grace":
			d, err := time.ParseDuration(value)
			if err != nil {
				return nil, err
			}
			c.StopGracePeriod = durationpb.New(d)
		case "after":
			d := &argosyv1.Dependency{Condition: argosyv1.Condition_CONDITION_STARTED, Required: true}
			for i, part := range strings.Split(value, ":") {
				switch {
				case i == 0:
					d.Container = part
				case part == "healthy":
					d.Condition = argosyv1.Condition_CONDITION_HEALTHY
				case part == "completed":
					d.Condition = argosyv1.Condition_CONDITION_COMPLETED
				case part == "restart":
					d.Restart = true
				case part == "optional":
					d.Required = false
				}
			}
			c.DependsOn = append(c.DependsOn, d)
		case "policy":
			mode, n, _ := strings.Cut(value, ":")
			c.Restart = &argosyv1.RestartPolicy{Mode: map[string]argosyv1.RestartMode{
				"no": argosyv1.RestartMode_RESTART_MODE_NO, "always": argosyv1.RestartMode_RESTART_MODE_ALWAYS, "on-failure": argosyv1.RestartMode_RESTART_MODE_ON_FAILURE,
			}[mode]}
			if n != "" {
				most, err := strconv.Atoi(n)
				if err != nil {
					return nil, err
				}
				c.Restart.MaxAttempts = uint32(most)
			}
		default:
			return nil, fmt.Errorf("unknown word %s", w)
		}
	}
	return c, nil
}

// unitOf makes a unit out of a line.
func unitOf(words []string) *argosyv1.Unit {
	u := &argosyv1.Unit{Name: words[0]}
	said := map[string]string{}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		said[name] = value
	}
	u.NotStarted = said["start"] == "no"
	u.Content = "[Unit]\nDescription=" + said["text"] + "\nAfter=" + said["after"] + "\n"
	if strings.HasSuffix(u.Name, ".service") {
		u.Content += "[Service]\nExecStart=/bin/true\nRestart=" + said["policy"] + "\n"
	}
	return u
}

func show(list []*argosyv1.ReplicaObservation, now time.Time) string {
	var out strings.Builder
	word := func(s string) string { return strings.ToLower(s[strings.LastIndex(s, "STATE_")+6:]) }
	for _, o := range list {
		fmt.Fprintf(&out, "%s inc=%d rev=%d restart=%d %s", core.KeyOf(o.GetKey()), o.GetIncarnation(), o.GetRevision(), o.GetRestart(), word(o.GetState().String()))
		if o.GetMessage() != "" {
			fmt.Fprintf(&out, ": %s", o.GetMessage())
		}
		fmt.Fprintln(&out)
		for _, m := range o.GetMembers() {
			fmt.Fprintf(&out, "  %s %s", m.GetName(), word(m.GetState().String()))
			if m.GetContainerId() != "" {
				fmt.Fprintf(&out, " %s", m.GetContainerId())
			}
			if m.GetRestarts() > 0 {
				fmt.Fprintf(&out, " restarts=%d", m.GetRestarts())
			}
			if m.GetRetryAt() != nil {
				fmt.Fprintf(&out, " retry=%s", m.GetRetryAt().AsTime().Sub(now))
			}
			if m.GetMessage() != "" {
				fmt.Fprintf(&out, ": %s", m.GetMessage())
			}
			fmt.Fprintln(&out)
		}
		for _, c := range o.GetClaims() {
			phase := strings.ToLower(strings.TrimPrefix(c.GetPhase().String(), "CLAIM_PHASE_"))
			fmt.Fprintf(&out, "  volume %s %v %s %s\n", c.GetVolume(), core.TokenOf(c.GetToken()), phase, c.GetMessage())
		}
	}
	return out.String()
}
