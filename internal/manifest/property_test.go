package manifest

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/definition"
)

// generated is a manifest whose sections and entries may come in any order.
type generated struct {
	containers, stacks, cluster, configs []string
}

// drawApp draws a correct manifest.
func drawApp(t *rapid.T) generated {
	var g generated
	n := rapid.IntRange(1, 6).Draw(t, "containers")
	member := make([][]string, rapid.IntRange(1, n).Draw(t, "stacks"))
	for i := range n {
		stack := i % len(member)
		keys := []string{
			fmt.Sprintf("image: i%d:%d", i, rapid.IntRange(1, 9).Draw(t, "tag")),
			fmt.Sprintf("mem_limit: %dm", rapid.IntRange(6, 4096).Draw(t, "memory")),
			fmt.Sprintf("cpus: %g", float64(rapid.IntRange(10, 4000).Draw(t, "cpu"))/1000),
			fmt.Sprintf("environment: {A: %q, B: %d}", rapid.StringMatching(`[a-z ]*`).Draw(t, "value"), i),
			fmt.Sprintf("ports: [\"%d:80\", 81]", 1000+i),
			"volumes: [\"data:/data\"]",
			"configs: [c]",
			fmt.Sprintf("stop_grace_period: %ds", rapid.IntRange(0, 100).Draw(t, "grace")),
		}
		if len(member[stack]) > 0 {
			keys = append(keys, "depends_on: ["+rapid.SampledFrom(member[stack]).Draw(t, "dependency")+"]")
		}
		name := fmt.Sprintf("c%d", i)
		member[stack] = append(member[stack], name)
		g.containers = append(g.containers, entryText(t, name, keys))
	}
	for i, m := range member {
		name := fmt.Sprintf("s%d", i)
		g.stacks = append(g.stacks, entryText(t, name, []string{"containers: [" + strings.Join(m, ", ") + "]", "volumes: {data: {size: 1g}}",
			"placement: {require: zone == edge, spread: [machine]}"}))
		g.cluster = append(g.cluster, fmt.Sprintf("  %s: %d\n", name, rapid.IntRange(0, 9).Draw(t, "count")))
	}
	g.configs = []string{"  c: {content: \"a\"}\n"}
	return g
}

// entryText is one entry of a map, with its keys in any order.
func entryText(t *rapid.T, name string, keys []string) string {
	return "  " + name + ":\n    " + strings.Join(rapid.Permutation(keys).Draw(t, "keys"), "\n    ") + "\n"
}

// text writes the manifest with its sections and their entries in any order.
func (g generated) text(t *rapid.T) string {
	shuffled := func(title string, entries []string) string {
		return title + ":\n" + strings.Join(rapid.Permutation(entries).Draw(t, title), "")
	}
	parts := []string{"argosy: v1\n", "app: shop\n", shuffled("containers", g.containers), shuffled("stacks", g.stacks),
		shuffled("cluster", g.cluster), shuffled("configs", g.configs)}
	return strings.Join(rapid.Permutation(parts).Draw(t, "parts"), "")
}

func mustParse(t *rapid.T, files ...File) *argosyv1.AppSpec {
	spec, _, faults := Parse(files, Options{})
	if err := faults.Err(); err != nil {
		t.Fatalf("%v\n%s", err, files[0].Data)
	}
	return spec
}

func sortSpec(s *argosyv1.AppSpec) {
	slices.SortFunc(s.Containers, func(a, b *argosyv1.ContainerSpec) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Stacks, func(a, b *argosyv1.StackSpec) int { return strings.Compare(a.Name, b.Name) })
	slices.SortFunc(s.Cluster, func(a, b *argosyv1.ClusterEntry) int { return strings.Compare(a.Stack, b.Stack) })
}

// TestOrderOfKeysMeansNothing: the same app with its keys in another order is the same app, but for the order of its
// lists; no container is made anew for it.
func TestOrderOfKeysMeansNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawApp(t)
		a := mustParse(t, File{Name: "a.yaml", Data: []byte(g.text(t))})
		b := mustParse(t, File{Name: "b.yaml", Data: []byte(g.text(t))})
		sortSpec(a)
		sortSpec(b)
		if !proto.Equal(a, b) {
			t.Fatalf("another order of keys is another app:\n%s", strings.Join(Diff(a, b), "\n"))
		}
		if lines := Diff(a, b); len(lines) > 0 {
			t.Fatalf("equal apps differ: %v", lines)
		}
		for i := range a.Containers {
			if definition.Of(a.Containers[i], a.Configs) != definition.Of(b.Containers[i], b.Configs) {
				t.Fatalf("container %s would be made anew", a.Containers[i].Name)
			}
		}
	})
}

// TestFilesAreAUnion: an app cut into files is the app in one file.
func TestFilesAreAUnion(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := drawApp(t)
		whole := mustParse(t, File{Name: "a.yaml", Data: []byte("argosy: v1\napp: shop\ncontainers:\n" + strings.Join(g.containers, "") +
			"stacks:\n" + strings.Join(g.stacks, "") + "cluster:\n" + strings.Join(g.cluster, "") + "configs:\n" + strings.Join(g.configs, ""))})
		cut := rapid.IntRange(0, len(g.containers)).Draw(t, "cut")
		files := []File{
			{Name: "1.yaml", Data: []byte("argosy: v1\napp: shop\nstacks:\n" + strings.Join(g.stacks, ""))},
			{Name: "2.yaml", Data: []byte("argosy: v1\ncluster:\n" + strings.Join(g.cluster, "") + "configs:\n" + strings.Join(g.configs, ""))},
		}
		for i, part := range [][]string{g.containers[:cut], g.containers[cut:]} {
			if len(part) > 0 {
				files = append(files, File{Name: fmt.Sprintf("c%d.yaml", i), Data: []byte("argosy: v1\ncontainers:\n" + strings.Join(part, ""))})
			}
		}
		parts := mustParse(t, rapid.Permutation(files).Draw(t, "files")...)
		sortSpec(whole)
		sortSpec(parts)
		if !proto.Equal(whole, parts) {
			t.Fatalf("the files together are another app:\n%s", strings.Join(Diff(whole, parts), "\n"))
		}
	})
}

// TestOneChangeIsSeen: a changed image is said by Diff and makes exactly that container anew.
func TestOneChangeIsSeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := mustParse(t, File{Name: "a.yaml", Data: []byte(drawApp(t).text(t))})
		b := proto.CloneOf(a)
		i := rapid.IntRange(0, len(b.Containers)-1).Draw(t, "which")
		b.Containers[i].Image += "x"
		want := fmt.Sprintf("%s: image %s → %s", a.Containers[i].Name, a.Containers[i].Image, b.Containers[i].Image)
		if lines := Diff(a, b); len(lines) != 1 || lines[0] != want {
			t.Fatalf("got %v, want %s", lines, want)
		}
		for j := range a.Containers {
			same := definition.Of(a.Containers[j], a.Configs) == definition.Of(b.Containers[j], b.Configs)
			if same == (i == j) {
				t.Fatalf("container %d: the definition is the same: %t", j, same)
			}
		}
	})
}
