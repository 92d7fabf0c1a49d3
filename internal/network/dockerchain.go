package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"slices"
	"strings"
)

// Docker's rules are read and changed with the iptables command that dockerd
// itself uses, so that both speak of the same tables whether they are the
// legacy ones or nft's.

// lookDockerChain finds where our two rules belong: in DOCKER-USER, or, on a
// machine without it whose FORWARD chain drops by default, in FORWARD. A
// machine without the iptables command needs none.
func lookDockerChain(ctx context.Context) (DockerChain, error) {
	chains, err := listChains(ctx)
	if errors.Is(err, exec.ErrNotFound) {
		return DockerChain{}, nil
	}
	if err != nil {
		return DockerChain{}, err
	}
	return placeOfAccepts(chains), nil
}

func placeOfAccepts(chains map[string]*iptablesChain) DockerChain {
	if c := chains["DOCKER-USER"]; c != nil {
		return DockerChain{Chain: "DOCKER-USER", Rules: c.rules}
	}
	if c := chains["FORWARD"]; c != nil && (c.policy != "ACCEPT" || slices.ContainsFunc(c.rules, isAccept)) {
		return DockerChain{Chain: "FORWARD", Rules: c.rules}
	}
	return DockerChain{}
}

// isAccept tells rules of ours, as `iptables -S` prints them, from others.
func isAccept(text string) bool { return strings.Contains(text, "--comment "+acceptMark+" ") }

type iptablesChain struct {
	policy string // of a built-in chain
	rules  []string
}

// listChains reads the whole filter table. Asking for one chain would be less
// to read, but what iptables says of a chain that is missing differs between
// its versions.
func listChains(ctx context.Context) (map[string]*iptablesChain, error) {
	out, err := iptables(ctx, "-S")
	if err != nil {
		return nil, err
	}
	return parseChains(out), nil
}

// parseChains reads what `iptables -S` prints. Lines that it does not know are
// passed over.
func parseChains(out []byte) map[string]*iptablesChain {
	chains := map[string]*iptablesChain{}
	chain := func(name string) *iptablesChain {
		if chains[name] == nil {
			chains[name] = &iptablesChain{}
		}
		return chains[name]
	}
	for line := range strings.Lines(string(out)) {
		line = strings.ReplaceAll(strings.TrimSpace(line), `"`, "")
		verb, rest, _ := strings.Cut(line, " ")
		name, rest, _ := strings.Cut(rest, " ")
		switch verb {
		case "-P":
			chain(name).policy = rest
		case "-N":
			chain(name)
		case "-A":
			c := chain(name)
			c.rules = append(c.rules, rest)
		}
	}
	return chains
}

func changeAccept(ctx context.Context, s Step) error {
	verb := "-I"
	if s.Op == OpDeleteAccept {
		verb = "-D"
	}
	_, err := iptables(ctx, append([]string{verb, s.Chain}, strings.Fields(s.Text)...)...)
	return err
}

// removeAccepts deletes our rules from wherever they may have been put.
func (v *VXLAN) removeAccepts(ctx context.Context) error {
	chains, err := listChains(ctx)
	if errors.Is(err, exec.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(chains)) {
		for _, text := range chains[name].rules {
			if isAccept(text) {
				s := Step{Op: OpDeleteAccept, Chain: name, Text: text}
				v.note(s)
				errs = append(errs, changeAccept(ctx, s))
			}
		}
	}
	return errors.Join(errs...)
}

func iptables(ctx context.Context, args ...string) ([]byte, error) {
	// Docker holds the lock while it works; five seconds are plenty.
	cmd := exec.CommandContext(ctx, "iptables", append([]string{"-w", "5"}, args...)...)
	cmd.Env = []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C"}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err == nil {
		return out, nil
	}
	return nil, fmt.Errorf("network: iptables %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(stderr.String()))
}
