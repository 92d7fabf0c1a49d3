package manifest

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// SpecChange is one thing that is said differently by two states of an app.
type SpecChange struct {
	// Of is the part of the manifest: "containers.web", "units.web.service", "stacks.lamp", "cluster.lamp", "configs.motd".
	Of string `json:"of"`
	// What is the key in it, "environment.DEBUG"; empty for a line of a config or of a unit file.
	What string `json:"what,omitempty"`
	// From and To are what was said and is, as a manifest would; one is empty where it is only in the other.
	From string `json:"from,omitempty"`
	To   string `json:"to,omitempty"`
}

// Changes compares two states of an app key by key, in the order of the later one; what only the earlier one has comes
// last. Before may be nil. It never holds more than a manifest does: secrets are their names.
func Changes(before, after *argosyv1.AppSpec) []SpecChange {
	c := &comparer{}
	compareNamed(c, "containers.", before.GetContainers(), after.GetContainers(), renderContainer)
	c.digests(before, after)
	c.units(before.GetUnits(), after.GetUnits())
	compareNamed(c, "stacks.", before.GetStacks(), after.GetStacks(), renderStack)
	c.cluster(before.GetCluster(), after.GetCluster())
	names := sortedKeys(before.GetConfigs())
	for _, n := range sortedKeys(after.GetConfigs()) {
		if _, there := before.GetConfigs()[n]; !there {
			names = append(names, n)
		}
	}
	for _, n := range names {
		c.of = "configs." + n
		c.content(before.GetConfigs()[n], after.GetConfigs()[n])
	}
	return c.found
}

type comparer struct {
	of    string
	found []SpecChange
}

func (c *comparer) say(what, from, to string) {
	c.found = append(c.found, SpecChange{Of: c.of, What: what, From: from, To: to})
}

func compareNamed[T hasName](c *comparer, prefix string, before, after []T, render func(T) *tree) {
	old := map[string]T{}
	for _, t := range before {
		old[t.GetName()] = t
	}
	for _, t := range after {
		c.of = prefix + t.GetName()
		was := newTree()
		if o, there := old[t.GetName()]; there {
			was = render(o)
			delete(old, t.GetName())
		}
		c.maps("", was.n, render(t).n)
	}
	for _, t := range before {
		if _, left := old[t.GetName()]; left {
			c.of = prefix + t.GetName()
			c.maps("", render(t).n, newTree().n)
		}
	}
}

// digests tells images that kept their name and became others. Files know no digests.
func (c *comparer) digests(before, after *argosyv1.AppSpec) {
	old := map[string]*argosyv1.ContainerSpec{}
	for _, b := range before.GetContainers() {
		old[b.GetName()] = b
	}
	for _, a := range after.GetContainers() {
		b := old[a.GetName()]
		if b.GetImageDigest() != a.GetImageDigest() && b.GetImageDigest() != "" && a.GetImageDigest() != "" {
			c.of = "containers." + a.GetName()
			c.say("image's digest", printable(b.GetImageDigest()), printable(a.GetImageDigest()))
		}
	}
}

func (c *comparer) units(before, after []*argosyv1.Unit) {
	old := map[string]*argosyv1.Unit{}
	for _, b := range before {
		old[b.GetName()] = b
	}
	started := func(u *argosyv1.Unit) string { return strconv.FormatBool(!u.GetNotStarted()) }
	text := func(u *argosyv1.Unit) []byte {
		if u == nil {
			return nil
		}
		return []byte(u.GetContent())
	}
	compare := func(b, a *argosyv1.Unit) {
		if b.GetNotStarted() != a.GetNotStarted() {
			c.say("start", started(b), started(a))
		}
		c.content(text(b), text(a))
	}
	for _, a := range after {
		c.of = "units." + a.GetName()
		compare(old[a.GetName()], a)
		delete(old, a.GetName())
	}
	for _, b := range before {
		if old[b.GetName()] != nil {
			c.of = "units." + b.GetName()
			compare(b, nil)
		}
	}
}

func (c *comparer) cluster(before, after []*argosyv1.ClusterEntry) {
	many := func(e *argosyv1.ClusterEntry) string {
		if e.GetEachMachine() {
			return "{on: each-machine}"
		}
		return strconv.FormatUint(uint64(e.GetCount()), 10)
	}
	old := map[string]string{}
	for _, e := range before {
		old[e.GetStack()] = many(e)
	}
	for _, e := range after {
		if was := old[e.GetStack()]; was != many(e) {
			c.of = "cluster." + e.GetStack()
			c.say("replicas", was, many(e))
		}
		delete(old, e.GetStack())
	}
	for _, e := range before {
		if was, left := old[e.GetStack()]; left {
			c.of = "cluster." + e.GetStack()
			c.say("replicas", was, "")
		}
	}
}

// nodeText is a node in one line, "" where there is none.
func nodeText(n *yaml.Node) string {
	if n == nil {
		return ""
	}
	one := *n
	if one.Kind != yaml.ScalarNode {
		one.Style = yaml.FlowStyle
	} else if one.Style&yaml.LiteralStyle != 0 {
		one.Style = yaml.DoubleQuotedStyle
	}
	one.LineComment = ""
	b, err := (&tree{&one}).encode()
	if err != nil {
		return printable(n.Value)
	}
	return printable(strings.TrimSpace(strings.ReplaceAll(string(b), "\n", " ")))
}

func (c *comparer) maps(prefix string, before, after *yaml.Node) {
	for i := 0; i+1 < len(after.Content); i += 2 {
		key := after.Content[i].Value
		c.values(prefix+key, valueOf(before, key), after.Content[i+1])
	}
	for i := 0; i+1 < len(before.Content); i += 2 {
		if key := before.Content[i].Value; valueOf(after, key) == nil {
			c.values(prefix+key, before.Content[i+1], nil)
		}
	}
}

func valueOf(m *yaml.Node, key string) *yaml.Node {
	for i := 0; i+1 < len(m.Content); i += 2 {
		if m.Content[i].Value == key {
			return m.Content[i+1]
		}
	}
	return nil
}

// inOrder are lists whose elements mean nothing without each other.
var inOrder = []string{"command", "entrypoint", "healthcheck.test"}

func (c *comparer) values(path string, before, after *yaml.Node) {
	kind := func(k yaml.Kind) bool {
		return (before == nil || before.Kind == k) && (after == nil || after.Kind == k)
	}
	none := &yaml.Node{}
	switch {
	case kind(yaml.MappingNode) && (before != nil && len(before.Content) > 0 || after != nil && len(after.Content) > 0):
		if before == nil {
			before = none
		}
		if after == nil {
			after = none
		}
		c.maps(path+".", before, after)
		return
	case kind(yaml.SequenceNode) && !slices.Contains(inOrder, path):
		c.lists(path, before, after)
		return
	}
	from, to := nodeText(before), nodeText(after)
	if from != to {
		c.say(path, from, to)
	}
}

func (c *comparer) lists(path string, before, after *yaml.Node) {
	texts := func(n *yaml.Node) (out []string) {
		if n != nil {
			for _, e := range n.Content {
				out = append(out, nodeText(e))
			}
		}
		return out
	}
	a, b := texts(before), texts(after)
	if slices.Equal(a, b) {
		return
	}
	gone, fresh := minus(a, b), minus(b, a)
	if len(gone)+len(fresh) == 0 {
		c.say(path, nodeText(before), nodeText(after))
		return
	}
	for i := range max(len(gone), len(fresh)) {
		var from, to string
		if i < len(gone) {
			from = gone[i]
		}
		if i < len(fresh) {
			to = fresh[i]
		}
		c.say(path, from, to)
	}
}

// content compares the lines of a config.
func (c *comparer) content(before, after []byte) {
	switch {
	case bytes.Equal(before, after) && (before == nil) == (after == nil):
		return
	case !utf8.Valid(before) || !utf8.Valid(after):
		c.say("content", amountOf(before), amountOf(after))
		return
	}
	a, b := linesOf(before), linesOf(after)
	const most = 4_000_000 // pairs of lines looked at
	if len(a)*len(b) > most {
		c.say("content", amountOf(before), amountOf(after))
		return
	}
	had := len(c.found)
	c.lines(a, b)
	if len(c.found) == had {
		c.say("content", amountOf(before), amountOf(after))
	}
}

func amountOf(b []byte) string {
	if b == nil {
		return ""
	}
	return sizeText(int64(len(b)))
}

func linesOf(b []byte) []string {
	if len(b) == 0 {
		return nil
	}
	return strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
}

// lines says which lines are gone and which are new, by their longest common sequence.
func (c *comparer) lines(a, b []string) {
	length := make([][]int32, len(a)+1)
	for i := range length {
		length[i] = make([]int32, len(b)+1)
	}
	for i := len(a) - 1; i >= 0; i-- {
		for j := len(b) - 1; j >= 0; j-- {
			if a[i] == b[j] {
				length[i][j] = length[i+1][j+1] + 1
			} else {
				length[i][j] = max(length[i+1][j], length[i][j+1])
			}
		}
	}
	i, j := 0, 0
	for i < len(a) || j < len(b) {
		switch {
		case i < len(a) && j < len(b) && a[i] == b[j]:
			i, j = i+1, j+1
		case j == len(b) || i < len(a) && length[i+1][j] >= length[i][j+1]:
			c.say("", lineText(a[i]), "")
			i++
		default:
			c.say("", "", lineText(b[j]))
			j++
		}
	}
}

// lineText is a line as it is shown; an empty one must still be seen.
func lineText(s string) string {
	if s = clip(s); s == "" {
		return `""`
	}
	return s
}
