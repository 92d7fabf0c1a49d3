package agent

import (
	"errors"
	"strings"
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"google.golang.org/protobuf/proto"
)

// TestNoNetworkSaysWhatToDo: the Engine's own words, and what a person does about them.
func TestNoNetworkSaysWhatToDo(t *testing.T) {
	for said, want := range map[string][]string{
		"make network argosy: existing interface argosy0 is not a bridge":                             {"existing interface", "ip -details link show argosy0", "rename or remove it"},
		"make network argosy: cannot create network 1 (argosy0): networks have same bridge name":      {"docker network ls"},
		"make network argosy: Pool overlaps with other one on this address space":                     {"docker network inspect"},
		"make network argosy: cannot create network 1 (argosy0): networks have overlapping IPv4":      {"docker network inspect"},
		"the Docker network argosy has another subnet than this machine's, and 2 containers use it":   {"2 containers use it"},
		"make network argosy: iptables failed: no chain/target/match by that name. exit status one\n": {"iptables failed"},
	} {
		got := unmadeText(errors.New(said))
		for _, w := range append(want, "none starts", "tried again") {
			if !strings.Contains(got, w) {
				t.Errorf("%q gives %q, without %q", said, got, w)
			}
		}
	}
	if unmadeText(nil) != "" || unkeptText(nil) != "" {
		t.Error("something is wrong without an error")
	}
	if got := unkeptText(errors.Join(errors.New("one"), errors.New("two"))); !strings.Contains(got, "one; two") {
		t.Errorf("%q", got)
	}
}

// TestASilentEngineExplainsTheRest: what its network is like nobody knows then.
func TestASilentEngineExplainsTheRest(t *testing.T) {
	for _, c := range []struct {
		of   *troubles
		want *argosyv1.EngineReport
	}{
		{&troubles{}, &argosyv1.EngineReport{}},
		{&troubles{network: "n", unconnected: true}, &argosyv1.EngineReport{Network: "n", Unconnected: true}},
		{&troubles{network: "n"}, &argosyv1.EngineReport{Network: "n"}},
		{&troubles{engine: "e", network: "n", unconnected: true}, &argosyv1.EngineReport{Trouble: "e"}},
	} {
		if got := c.of.proto(); !proto.Equal(got, c.want) {
			t.Errorf("%v, not %v", got, c.want)
		}
	}
}
