package core

import (
	"fmt"
	"net/netip"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/definition"
	"github.com/argosy-cluster/argosy/internal/image"
	"github.com/argosy-cluster/argosy/internal/placement"
	"github.com/argosy-cluster/argosy/internal/scheduler"
	"github.com/argosy-cluster/argosy/internal/state"
)

// shape is what replicas of a stack at one revision ask of a machine. fault says why nobody can tell; nothing is placed
// then.
type shape struct {
	*scheduler.Shape
	// sign is equal for equal shapes.
	sign  string
	fault string
	// templates are units that each replica calls by its number, and numbered the shapes of those that were asked for; the
	// shape itself does not have them.
	templates []unitFile
	// storage are shared volumes, to whose storage a machine needs a way; it is each replica's own, too.
	storage  []*argosyv1.VolumeSpec
	numbered map[uint32]*scheduler.Shape
	// common is what all replicas ask for alike, where the stack has templates: of any number, so that no unit has a name.
	common *scheduler.Shape
}

// anyone is what any replica asks for, whatever its number.
func (sh shape) anyone() *scheduler.Shape {
	if sh.common != nil {
		return sh.common
	}
	return sh.Shape
}

// derived is what follows from the revisions of one app.
type derived struct {
	shapes      map[stackRevision]shape
	definitions map[stackRevision]string
}

type stackRevision struct {
	stack  string
	number uint64
}

func (c *Core) derivedOf(k state.AppKey) *derived {
	d := c.derived[k]
	if d == nil {
		d = &derived{shapes: map[stackRevision]shape{}, definitions: map[stackRevision]string{}}
		c.derived[k] = d
	}
	return d
}

// shapeAt is the shape of a stack at a revision, empty when the store does not have it.
func (c *Core) shapeAt(k state.StackKey, revision uint64) shape {
	at := stackRevision{k.Stack, revision}
	if d := c.derived[k.AppKey()]; d != nil {
		if sh, ok := d.shapes[at]; ok {
			return sh
		}
	}
	rev := c.st.AppRevision(k.Tenant, k.App, revision)
	spec, containers := c.st.StackOf(k, revision)
	if rev == nil || spec == nil {
		return shape{fault: fmt.Sprintf("revision %d of %s is not in the store", revision, k)}
	}
	sh := shapeOf(k, spec, containers, c.st.UnitsOf(k, revision), state.Entry(rev.GetSpec(), k.Stack))
	c.derivedOf(k.AppKey()).shapes[at] = sh
	return sh
}

// shapeOf translates a stack for the scheduler.
func shapeOf(k state.StackKey, spec *argosyv1.StackSpec, containers []*argosyv1.ContainerSpec, units []*argosyv1.Unit, entry *argosyv1.ClusterEntry) shape {
	out := &scheduler.Shape{}
	for _, u := range units {
		out.Need.CPU += u.GetResources().GetReserveCpuMilli()
		out.Need.Memory += u.GetResources().GetReserveMemory()
	}
	for _, ct := range containers {
		out.Need.CPU += ct.GetResources().GetReserveCpuMilli()
		out.Need.Memory += ct.GetResources().GetReserveMemory()
		for _, p := range ct.GetPorts() {
			if p.GetPublished() == 0 || p.GetPublished() > 65535 {
				continue
			}
			port := scheduler.Port{Port: uint16(p.GetPublished()), Protocol: "tcp"}
			if p.GetProtocol() == argosyv1.Protocol_PROTOCOL_UDP {
				port.Protocol = "udp"
			}
			if ip, err := netip.ParseAddr(p.GetHostIp()); err == nil && !ip.IsUnspecified() {
				port.IP = ip
			}
			out.Ports = append(out.Ports, port)
		}
	}
	if len(units) > 0 {
		out.Require = append(out.Require, placement.RunsUnits())
	}
	pl := spec.GetPlacement()
	for _, text := range pl.GetRequire() {
		e, err := placement.Parse(text)
		if err != nil {
			return shape{fault: fmt.Sprintf("its placement cannot be read: require %q: %v", text, err)}
		}
		out.Require = append(out.Require, e)
	}
	for _, p := range pl.GetPrefer() {
		e, err := placement.Parse(p.GetExpression())
		if err != nil {
			return shape{fault: fmt.Sprintf("its placement cannot be read: prefer %q: %v", p.GetExpression(), err)}
		}
		out.Prefer = append(out.Prefer, scheduler.Preference{When: e, Weight: int(p.GetWeight())})
	}
	out.Spread = pl.GetSpread()
	for _, name := range pl.GetApartFrom() {
		out.Apart = append(out.Apart, stackNamed(k, name))
	}
	for _, name := range pl.GetTogetherWith() {
		out.Together = append(out.Together, stackNamed(k, name))
	}
	if entry.GetEachMachine() {
		out.Apart = append(out.Apart, schedulerStack(k))
	}
	read, fault := readUnits(units)
	if fault != "" {
		return shape{fault: fault}
	}
	sh := shape{Shape: out, sign: signOf(out) + rulesText(read)}
	for _, u := range read {
		if u.name.IsTemplate() {
			sh.templates = append(sh.templates, u)
		} else {
			u.ask(u.name, out)
		}
	}
	for _, v := range spec.GetVolumes() {
		if state.SharedSpec(v) {
			sh.storage = append(sh.storage, v)
			sh.sign += fmt.Sprintf(" reaches %q", reached(v, 0))
		}
	}
	if len(sh.templates)+len(sh.storage) > 0 {
		sh.numbered = map[uint32]*scheduler.Shape{}
		sh.common = sh.alike(k)
	}
	return sh
}

func signOf(s *scheduler.Shape) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %d %q %q %q %q", s.Need.CPU, s.Need.Memory, s.Ports, s.Spread, s.Apart, s.Together)
	for _, e := range s.Require {
		fmt.Fprintf(&b, " require %q", e)
	}
	for _, p := range s.Prefer {
		fmt.Fprintf(&b, " prefer %q %d", p.When, p.Weight)
	}
	return b.String()
}

// stackNamed resolves `stack` of the same app, or `app/stack` of the same tenant.
func stackNamed(k state.StackKey, name string) scheduler.Stack {
	if app, stack, ok := strings.Cut(name, "/"); ok {
		return scheduler.Stack{Tenant: k.Tenant, App: app, Name: stack}
	}
	return scheduler.Stack{Tenant: k.Tenant, App: k.App, Name: name}
}

// definition identifies what a stack's members are at a revision: equal definitions mean that none of them notices.
func (c *Core) definition(k state.StackKey, revision uint64) string {
	at := stackRevision{k.Stack, revision}
	if d := c.derived[k.AppKey()]; d != nil {
		if text, ok := d.definitions[at]; ok {
			return text
		}
	}
	rev := c.st.AppRevision(k.Tenant, k.App, revision)
	spec, containers := c.st.StackOf(k, revision)
	if rev == nil || spec == nil {
		return fmt.Sprintf("missing %d", revision)
	}
	text := definitionOf(containers, c.st.UnitsOf(k, revision), rev.GetSpec().GetConfigs())
	c.derivedOf(k.AppKey()).definitions[at] = text
	return text
}

func definitionOf(containers []*argosyv1.ContainerSpec, units []*argosyv1.Unit, configs map[string][]byte) string {
	var b strings.Builder
	for _, u := range units {
		fmt.Fprintf(&b, "%s %s\n", u.GetName(), definition.OfUnit(u))
	}
	for _, ct := range containers {
		b.WriteString(ct.GetName())
		b.WriteByte(' ')
		b.WriteString(definition.Of(ct, configs))
		b.WriteByte('\n')
	}
	return b.String()
}

// registryOf is the registry that a container's image comes from, empty when it comes from the cluster itself.
func registryOf(ct *argosyv1.ContainerSpec) string {
	if ct.GetImageOrigin() == argosyv1.ImageOrigin_IMAGE_ORIGIN_CLUSTER {
		return ""
	}
	ref, err := image.ParseRef(ct.GetImage())
	if err != nil {
		return ""
	}
	return ref.Host()
}

// pinOf ties a replica to the machine that holds a volume of it.
func (c *Core) pinOf(k state.Key) scheduler.Pin {
	machine, volume := c.st.HomeOf(k)
	if machine == "" || c.st.Machine(machine) == nil {
		return scheduler.Pin{}
	}
	return scheduler.Pin{Machine: machine, Why: fmt.Sprintf("volume %s is there", state.VolumeKey{Replica: k, Name: volume})}
}

// reasonOf puts a decision into a record.
func (c *Core) reasonOf(why string, d *scheduler.Decision) *argosyv1.Reason {
	r := &argosyv1.Reason{Summary: d.Reason.String()}
	if why != "" {
		r.Summary += " (" + why + ")"
	}
	if d.Placed() {
		r.Verdicts = append(r.Verdicts, &argosyv1.MachineVerdict{Machine: d.Reason.Machine, Fits: true, Detail: "chosen",
			Score: float64(1000-d.Reason.Load) / 1000})
	}
	if d.Reason.Rejected != nil {
		for _, m := range d.Reason.Rejected.Near {
			r.Verdicts = append(r.Verdicts, &argosyv1.MachineVerdict{Machine: m.Machine, Detail: m.Text()})
		}
	}
	return r
}
