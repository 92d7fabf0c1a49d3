package definition_test

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/definition"
)

func container() *argosyv1.ContainerSpec {
	return &argosyv1.ContainerSpec{
		Name: "web", Image: "httpd:2.4", ImageDigest: "sha256:1", ImageOrigin: argosyv1.ImageOrigin_IMAGE_ORIGIN_CLUSTER,
		Environment:     map[string]string{"A": "1", "B": "2", "C": "3"},
		Secrets:         []*argosyv1.FileRef{{Source: "db", Target: "/run/secrets/db"}},
		Configs:         []*argosyv1.FileRef{{Source: "conf", Target: "/conf"}},
		Mounts:          []*argosyv1.Mount{{Source: "data", Target: "/data"}},
		Healthcheck:     &argosyv1.Healthcheck{Test: []string{"CMD", "true"}, Interval: durationpb.New(1e9)},
		Resources:       &argosyv1.Resources{LimitMemory: 1 << 28, ReserveMemory: 1 << 28, ReserveCpuMilli: 100, DefaultCpu: true},
		DependsOn:       []*argosyv1.Dependency{{Container: "db", Condition: argosyv1.Condition_CONDITION_HEALTHY}},
		Ports:           []*argosyv1.PublishedPort{{Published: 80, Target: 80, Name: "http"}},
		Expose:          []*argosyv1.Port{{Port: 80}},
		Restart:         &argosyv1.RestartPolicy{Mode: argosyv1.RestartMode_RESTART_MODE_ALWAYS},
		StopGracePeriod: durationpb.New(1e9),
	}
}

// TestOfIsStable: the hash of a definition never changes, or every container of every cluster is made anew.
func TestOfIsStable(t *testing.T) {
	const want = "71d947a72f0aab6de13a2af02d77e334"
	configs := map[string][]byte{"conf": []byte("a"), "other": []byte("b")}
	for range 100 {
		if got := definition.Of(container(), configs); got != want {
			t.Fatalf("the definition is %s, it was %s", got, want)
		}
	}
	if got := definition.Of(&argosyv1.ContainerSpec{}, nil); got != definition.Of(nil, nil) {
		t.Errorf("nothing is not the same as empty: %s", got)
	}
}

func TestWhatCounts(t *testing.T) {
	configs := map[string][]byte{"conf": []byte("a")}
	before := definition.Of(container(), configs)
	for name, c := range map[string]struct {
		change func(*argosyv1.ContainerSpec)
		counts bool
	}{
		"digest":          {func(c *argosyv1.ContainerSpec) { c.ImageDigest = "sha256:2" }, true},
		"tag, pinned":     {func(c *argosyv1.ContainerSpec) { c.Image = "httpd:latest" }, false},
		"origin":          {func(c *argosyv1.ContainerSpec) { c.ImageOrigin = argosyv1.ImageOrigin_IMAGE_ORIGIN_REGISTRY }, false},
		"pull policy":     {func(c *argosyv1.ContainerSpec) { c.PullPolicy = argosyv1.PullPolicy_PULL_POLICY_ALWAYS }, false},
		"environment":     {func(c *argosyv1.ContainerSpec) { c.Environment["A"] = "2" }, true},
		"moved value":     {func(c *argosyv1.ContainerSpec) { c.Environment = map[string]string{"A": "1B", "B": "2", "C": "3"} }, true},
		"secret's place":  {func(c *argosyv1.ContainerSpec) { c.Secrets[0].Target = "/x" }, true},
		"mount":           {func(c *argosyv1.ContainerSpec) { c.Mounts[0].ReadOnly = true }, true},
		"health interval": {func(c *argosyv1.ContainerSpec) { c.Healthcheck.Interval = durationpb.New(2e9) }, true},
		"limit":           {func(c *argosyv1.ContainerSpec) { c.Resources.LimitMemory++ }, true},
		"reservation": {func(c *argosyv1.ContainerSpec) {
			c.Resources.ReserveMemory, c.Resources.ReserveCpuMilli, c.Resources.DefaultMemory = 1, 2, true
		}, false},
		"depends_on":   {func(c *argosyv1.ContainerSpec) { c.DependsOn = nil }, false},
		"port":         {func(c *argosyv1.ContainerSpec) { c.Ports[0].Published = 81 }, true},
		"port's name":  {func(c *argosyv1.ContainerSpec) { c.Ports[0].Name = "web" }, false},
		"expose":       {func(c *argosyv1.ContainerSpec) { c.Expose = nil }, false},
		"restart":      {func(c *argosyv1.ContainerSpec) { c.Restart = nil }, false},
		"grace period": {func(c *argosyv1.ContainerSpec) { c.StopGracePeriod = nil }, false},
		"command":      {func(c *argosyv1.ContainerSpec) { c.Command = &argosyv1.Command{} }, true},
		"tty":          {func(c *argosyv1.ContainerSpec) { c.Tty = true }, true},
	} {
		spec := container()
		c.change(spec)
		kept := proto.CloneOf(spec)
		if got := definition.Of(spec, configs) != before; got != c.counts {
			t.Errorf("%s: counts %t", name, got)
		}
		if !proto.Equal(spec, kept) {
			t.Errorf("%s: the container was changed by looking at it", name)
		}
	}
	if definition.Of(container(), map[string][]byte{"conf": []byte("b")}) == before {
		t.Error("the contents of a config do not count")
	}
	if definition.Of(container(), map[string][]byte{"conf": []byte("a"), "x": nil}) != before {
		t.Error("a config that the container does not use counts")
	}
	unpinned := container()
	unpinned.ImageDigest = ""
	other := proto.CloneOf(unpinned)
	other.Image = "httpd:2.5"
	if definition.Of(unpinned, configs) == definition.Of(other, configs) {
		t.Error("the tag of an image that is not pinned does not count")
	}
}

// TestEveryFieldIsDecided: a field added to the protocol counts, unless it is left out on purpose.
func TestEveryFieldIsDecided(t *testing.T) {
	out := map[protoreflect.Name]bool{"image_origin": true, "pull_policy": true, "depends_on": true, "expose": true, "restart": true,
		"stop_grace_period": true}
	empty := definition.Of(&argosyv1.ContainerSpec{}, nil)
	fields := (&argosyv1.ContainerSpec{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		spec := &argosyv1.ContainerSpec{}
		m := spec.ProtoReflect()
		switch {
		case f.IsList():
			list := m.Mutable(f).List()
			list.Append(list.NewElement())
		case f.IsMap():
			m.Mutable(f).Map().Set(protoreflect.ValueOfString("k").MapKey(), protoreflect.ValueOfString("v"))
		case f.Message() != nil:
			m.Mutable(f)
		case f.Kind() == protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString("x"))
		case f.Kind() == protoreflect.BoolKind:
			m.Set(f, protoreflect.ValueOfBool(true))
		case f.Kind() == protoreflect.EnumKind:
			m.Set(f, protoreflect.ValueOfEnum(1))
		case f.Kind() == protoreflect.Int64Kind:
			m.Set(f, protoreflect.ValueOfInt64(1))
		default:
			m.Set(f, protoreflect.ValueOfInt32(1))
		}
		if counts := definition.Of(spec, nil) != empty; counts == out[f.Name()] {
			t.Errorf("%s: counts %t", f.Name(), counts)
		}
	}
}

// TestOfUnitIsStable: as for containers. Whether a unit is started does not count.
func TestOfUnitIsStable(t *testing.T) {
	u := &argosyv1.Unit{Name: "web.service", Content: "[Service]\n"}
	const want = "c9b73db23e24e748a71dda2df6af1729"
	if got := definition.OfUnit(u); got != want {
		t.Errorf("the definition is %s, it was %s", got, want)
	}
	for name, c := range map[string]struct {
		change func(*argosyv1.Unit)
		counts bool
	}{
		"name":        {func(u *argosyv1.Unit) { u.Name = "web.servic" }, true},
		"content":     {func(u *argosyv1.Unit) { u.Content += "#" }, true},
		"not started": {func(u *argosyv1.Unit) { u.NotStarted = true }, false},
		"reservation": {func(u *argosyv1.Unit) { u.Resources = &argosyv1.Resources{ReserveMemory: 1} }, false},
		"options":     {func(u *argosyv1.Unit) { u.Options = []*argosyv1.UnitOption{{Section: "Service"}} }, false}, // the content says it
	} {
		other := proto.CloneOf(u)
		c.change(other)
		if got := definition.OfUnit(other) != want; got != c.counts {
			t.Errorf("%s: counts %t", name, got)
		}
	}
	fields := u.ProtoReflect().Descriptor().Fields()
	if n := fields.Len(); n != 5 {
		t.Errorf("a unit has %d fields: say here whether the new one counts", n)
	}
}
