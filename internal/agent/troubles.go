package agent

import (
	"strings"
	"sync"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/network"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// engineTrouble passes on that the Engine does not answer, or does again.
func (a *agent) engineTrouble(trouble string) {
	a.diary.engine(trouble)
	a.report(func(t *troubles) { t.engine = trouble })
}

// networkTrouble passes on why containers cannot be connected, or do not reach those of other machines, or that they can and do.
func (a *agent) networkTrouble(trouble string, unconnected bool) {
	was := a.report(func(t *troubles) { t.network, t.unconnected = trouble, unconnected })
	if !unconnected {
		trouble = ""
	}
	if unconnected != was {
		a.diary.network(trouble)
	}
	a.x.Connect(trouble)
}

// troubles are what the machine has.
type troubles struct {
	mu              sync.Mutex
	engine, network string
	unconnected     bool
}

// proto is what is to be told. Without an Engine nothing is known of the network.
func (t *troubles) proto() *argosyv1.EngineReport {
	if t.engine != "" {
		return &argosyv1.EngineReport{Trouble: t.engine}
	}
	return &argosyv1.EngineReport{Network: t.network, Unconnected: t.unconnected}
}

// report changes the machine's troubles, tells them if they are others, and returns whether no container could be connected before.
func (a *agent) report(change func(*troubles)) (unconnected bool) {
	t := &a.troubles
	t.mu.Lock()
	defer t.mu.Unlock()
	unconnected = t.unconnected
	before := t.proto()
	change(t)
	if now := t.proto(); !proto.Equal(before, now) {
		now.Since = timestamppb.Now()
		a.sess.Engine(now)
	}
	return unconnected
}

// unmadeText says why containers cannot be connected, and what to do; empty without an error.
func unmadeText(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	return "no container can be connected on this machine, so none starts: " + text + "; " + cure(text)
}

// unkeptText says why the containers of this machine and of others do not reach each other; empty without an error.
func unkeptText(err error) string {
	if err == nil {
		return ""
	}
	text := strings.ReplaceAll(err.Error(), "\n", "; ")
	return "containers of this machine and of others may not reach each other: " + text + "; it is tried again all the time"
}

// cure says what to do where Docker does not make the network.
func cure(text string) string {
	const bridge = network.DefaultBridgeName
	switch {
	case strings.Contains(text, "existing interface") && strings.Contains(text, "is not a bridge"):
		return "an interface of another program has the name " + bridge + ": look at it with: ip -details link show " + bridge +
			", and rename or remove it; it is tried again all the time"
	case strings.Contains(text, "networks have same bridge name"):
		return "another Docker network has the bridge " + bridge + ": find it with: docker network ls, and remove it; it is tried again all the time"
	case strings.Contains(text, "overlaps with other one"), strings.Contains(text, "networks have overlapping"):
		return "another Docker network has addresses of this machine's subnet: find it with: docker network inspect $(docker network ls -q), and " +
			"remove it; it is tried again all the time"
	}
	return "it is tried again all the time"
}
