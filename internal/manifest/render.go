package manifest

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Render writes an app as one manifest that says everything itself: no variables, no anchors, no other files. Parsing it
// gives the same app again. What only the cluster knows of a revision, the digests of its images, stands in comments.
func Render(spec *argosyv1.AppSpec) ([]byte, error) {
	top := newTree()
	top.text("argosy", "v1")
	top.text("app", spec.GetName())
	containers := newTree()
	for _, c := range spec.GetContainers() {
		containers.tree(c.GetName(), renderContainer(c))
	}
	if !containers.empty() {
		top.tree("containers", containers)
	}
	units := newTree()
	for _, u := range spec.GetUnits() {
		if u.GetNotStarted() {
			units.tree(u.GetName(), newTree().verbatim("content", u.GetContent()).bool("start", false))
		} else {
			units.verbatim(u.GetName(), u.GetContent())
		}
	}
	if !units.empty() {
		top.tree("units", units)
	}
	stacks := newTree()
	for _, s := range spec.GetStacks() {
		stacks.tree(s.GetName(), renderStack(s))
	}
	top.tree("stacks", stacks)
	cluster := newTree()
	for _, e := range spec.GetCluster() {
		if e.GetEachMachine() {
			cluster.tree(e.GetStack(), newTree().text("on", "each-machine").flow())
		} else {
			cluster.number(e.GetStack(), int64(e.GetCount()))
		}
	}
	top.tree("cluster", cluster)
	if len(spec.GetConfigs()) > 0 {
		configs := newTree()
		for _, name := range sortedKeys(spec.GetConfigs()) {
			content := spec.GetConfigs()[name]
			if !utf8.Valid(content) {
				return nil, fmt.Errorf("config %s holds bytes that are no text, which a manifest can only name as a file; -o json has them", name)
			}
			configs.tree(name, newTree().block("content", string(content)))
		}
		top.tree("configs", configs)
	}
	return top.encode()
}

func renderContainer(c *argosyv1.ContainerSpec) *tree {
	t := newTree()
	t.text("image", c.GetImage())
	if d := c.GetImageDigest(); d != "" {
		t.comment(d)
	}
	t.choice("pull_policy", c.GetPullPolicy() != 0, showEnum(c.GetPullPolicy().Descriptor(), c.GetPullPolicy().Number()))
	t.text("platform", c.GetPlatform())
	t.command("entrypoint", c.GetEntrypoint())
	t.command("command", c.GetCommand())
	t.text("working_dir", c.GetWorkingDir())
	t.text("user", c.GetUser())
	t.texts("group_add", c.GetGroupAdd())
	t.yes("tty", c.GetTty())
	t.yes("stdin_open", c.GetStdinOpen())
	t.yes("init", c.GetInit())
	t.words("environment", c.GetEnvironment())
	t.words("labels", c.GetLabels())
	t.words("annotations", c.GetAnnotations())
	renderFiles(t, c)
	renderReach(t, c)
	renderLife(t, c)
	renderResources(t, c)
	t.yes("read_only", c.GetReadOnly())
	t.texts("cap_add", c.GetCapAdd())
	t.texts("cap_drop", c.GetCapDrop())
	t.texts("security_opt", c.GetSecurityOpt())
	t.words("sysctls", c.GetSysctls())
	return t
}

func renderFiles(t *tree, c *argosyv1.ContainerSpec) {
	refs := func(key, directory string, list []*argosyv1.FileRef) {
		out := newList()
		for _, f := range list {
			if f.GetTarget() == directory+f.GetSource() && f.GetUid() == "" && f.GetGid() == "" && f.GetMode() == 0 {
				out.addText(f.GetSource())
				continue
			}
			m := newTree().text("source", f.GetSource()).text("target", f.GetTarget()).text("uid", f.GetUid()).text("gid", f.GetGid())
			out.add(m.mode("mode", f.GetMode()).flow())
		}
		t.list(key, out)
	}
	refs("secrets", "/run/secrets/", c.GetSecrets())
	refs("configs", "/", c.GetConfigs())
	mounts := newList()
	for _, m := range c.GetMounts() {
		mounts.add(renderMount(m))
	}
	t.list("volumes", mounts)
}

func renderMount(m *argosyv1.Mount) *tree {
	if m.GetType() == argosyv1.MountType_MOUNT_TYPE_TMPFS {
		t := newTree().text("type", "tmpfs").text("target", m.GetTarget())
		if m.GetSize() != 0 || m.GetMode() != 0 {
			t.tree("tmpfs", newTree().size("size", m.GetSize()).mode("mode", m.GetMode()).flow())
		}
		return t.flow()
	}
	if !strings.ContainsAny(m.GetTarget()+m.GetSource(), ":") && !m.GetNoCopy() {
		s := m.GetSource() + ":" + m.GetTarget()
		if m.GetReadOnly() {
			s += ":ro"
		}
		return oneText(s)
	}
	kind := "volume"
	if m.GetType() == argosyv1.MountType_MOUNT_TYPE_BIND {
		kind = "bind"
	}
	t := newTree().text("type", kind).text("source", m.GetSource()).text("target", m.GetTarget()).yes("read_only", m.GetReadOnly())
	if m.GetNoCopy() && kind == "volume" {
		t.tree("volume", newTree().yes("nocopy", true).flow())
	}
	return t.flow()
}

func renderReach(t *tree, c *argosyv1.ContainerSpec) {
	ports := newList()
	for _, p := range c.GetPorts() {
		if p.GetName() == "" && p.GetHostIp() == "" {
			s := strconv.Itoa(int(p.GetTarget())) + suffix(p.GetProtocol())
			if p.GetPublished() != 0 {
				s = fmt.Sprintf("%d:%s", p.GetPublished(), s)
			}
			ports.addText(s)
			continue
		}
		m := newTree().number("target", int64(p.GetTarget()))
		if p.GetPublished() != 0 {
			m.number("published", int64(p.GetPublished()))
		}
		m.text("host_ip", p.GetHostIp()).choice("protocol", suffix(p.GetProtocol()) != "", "udp").text("name", p.GetName())
		ports.add(m.flow())
	}
	t.list("ports", ports)
	expose := newList()
	for _, p := range c.GetExpose() {
		expose.addText(strconv.Itoa(int(p.GetPort())) + suffix(p.GetProtocol()))
	}
	t.list("expose", expose)
	t.text("hostname", c.GetHostname())
	t.text("domainname", c.GetDomainname())
	t.texts("extra_hosts", c.GetExtraHosts())
	t.texts("dns", c.GetDns())
	t.texts("dns_search", c.GetDnsSearch())
	t.texts("dns_opt", c.GetDnsOpt())
}

func renderLife(t *tree, c *argosyv1.ContainerSpec) {
	if deps := c.GetDependsOn(); len(deps) > 0 {
		list, long, plain := newList(), newTree(), true
		for _, d := range deps {
			list.addText(d.GetContainer())
			word := map[argosyv1.Condition]string{argosyv1.Condition_CONDITION_HEALTHY: "service_healthy",
				argosyv1.Condition_CONDITION_COMPLETED: "service_completed_successfully"}[d.GetCondition()]
			if word == "" {
				word = "service_started"
			}
			m := newTree().text("condition", word).yes("restart", d.GetRestart())
			if !d.GetRequired() {
				m.bool("required", false)
			}
			plain = plain && word == "service_started" && d.GetRequired() && !d.GetRestart()
			long.tree(d.GetContainer(), m.flow())
		}
		if plain {
			t.list("depends_on", list)
		} else {
			t.tree("depends_on", long)
		}
	}
	if h := c.GetHealthcheck(); h != nil {
		m := newTree().texts("test", h.GetTest()).duration("interval", h.GetInterval()).duration("timeout", h.GetTimeout())
		m.duration("start_period", h.GetStartPeriod()).duration("start_interval", h.GetStartInterval())
		if h.GetRetries() != 0 {
			m.number("retries", int64(h.GetRetries()))
		}
		t.tree("healthcheck", m)
	}
	if r := c.GetRestart(); r != nil {
		word := showEnum(r.GetMode().Descriptor(), r.GetMode().Number())
		if r.GetMaxAttempts() > 0 {
			word += ":" + strconv.Itoa(int(r.GetMaxAttempts()))
		}
		t.choice("restart", r.GetMode() != 0, word)
	}
	t.text("stop_signal", c.GetStopSignal())
	t.duration("stop_grace_period", c.GetStopGracePeriod())
	if l := c.GetLogging(); l != nil {
		options := newTree().size("max-size", l.GetMaxSize())
		if l.GetMaxFiles() != 0 {
			options.number("max-file", int64(l.GetMaxFiles()))
		}
		t.tree("logging", newTree().tree("options", options.flow()))
	}
}

func renderResources(t *tree, c *argosyv1.ContainerSpec) {
	r := c.GetResources()
	t.cpus("cpus", r.GetLimitCpuMilli())
	t.size("mem_limit", r.GetLimitMemory())
	if r.GetMemorySwap() < 0 {
		t.number("memswap_limit", -1)
	} else {
		t.size("memswap_limit", r.GetMemorySwap())
	}
	if r.GetLimitPids() != 0 {
		t.number("pids_limit", r.GetLimitPids())
	}
	if r.GetCpuShares() != 0 {
		t.number("cpu_shares", r.GetCpuShares())
	}
	reserve := newTree()
	if !r.GetDefaultCpu() && r.GetReserveCpuMilli() != r.GetLimitCpuMilli() {
		reserve.cpus("cpus", r.GetReserveCpuMilli())
	}
	if !r.GetDefaultMemory() && r.GetReserveMemory() != r.GetLimitMemory() {
		reserve.size("memory", r.GetReserveMemory())
	}
	if !reserve.empty() {
		t.tree("deploy", newTree().tree("resources", newTree().tree("reservations", reserve.flow())))
	}
	t.size("shm_size", c.GetShmSize())
	if len(c.GetUlimits()) > 0 {
		all := newTree()
		for _, u := range c.GetUlimits() {
			if u.GetSoft() == u.GetHard() {
				all.number(u.GetName(), u.GetSoft())
			} else {
				all.tree(u.GetName(), newTree().number("soft", u.GetSoft()).number("hard", u.GetHard()).flow())
			}
		}
		t.tree("ulimits", all)
	}
	if c.GetOomScoreAdj() != 0 {
		t.number("oom_score_adj", int64(c.GetOomScoreAdj()))
	}
}

func renderStack(s *argosyv1.StackSpec) *tree {
	t := newTree().texts("containers", s.GetContainers()).texts("units", s.GetUnits())
	if len(s.GetVolumes()) > 0 {
		volumes := newTree()
		for _, v := range s.GetVolumes() {
			volumes.tree(v.GetName(), renderVolume(v))
		}
		t.tree("volumes", volumes)
	}
	p := s.GetPlacement()
	place := newTree().texts("require", p.GetRequire())
	prefer := newList()
	for _, one := range p.GetPrefer() {
		if one.GetWeight() == defaultWeight {
			prefer.addText(one.GetExpression())
		} else {
			prefer.add(newTree().text("expression", one.GetExpression()).number("weight", int64(one.GetWeight())).flow())
		}
	}
	place.list("prefer", prefer).texts("spread", p.GetSpread()).texts("apart_from", p.GetApartFrom()).texts("together_with", p.GetTogetherWith())
	if p.GetMoveWhenUnmet() {
		place.text("when_unmet", "move")
	}
	if !place.empty() {
		t.tree("placement", place)
	}
	return t
}

// durationText is a duration as a manifest says it, exactly.
func durationText(d time.Duration) string {
	if d <= 0 {
		return "0s"
	}
	var b strings.Builder
	for _, u := range []struct {
		unit time.Duration
		word string
	}{{time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if n := d / u.unit; n > 0 {
			fmt.Fprintf(&b, "%d%s", n, u.word)
			d -= n * u.unit
		}
	}
	if d > 0 {
		b.WriteString(strconv.FormatFloat(float64(d)/1000, 'f', -1, 64) + "us")
	}
	return b.String()
}

func (t *tree) duration(key string, d *durationpb.Duration) *tree {
	if d == nil {
		return t
	}
	return t.text(key, durationText(d.AsDuration()))
}

// size writes an amount of bytes in the largest unit that is exact.
func (t *tree) size(key string, n int64) *tree {
	if n == 0 {
		return t
	}
	for _, u := range []struct {
		shift uint
		word  string
	}{{30, "GiB"}, {20, "MiB"}, {10, "KiB"}} {
		if n>>u.shift<<u.shift == n {
			return t.text(key, strconv.FormatInt(n>>u.shift, 10)+u.word)
		}
	}
	return t.number(key, n)
}

func (t *tree) cpus(key string, milli int64) *tree {
	if milli == 0 {
		return t
	}
	return t.bare(key, strconv.FormatFloat(float64(milli)/1000, 'f', -1, 64))
}

func (t *tree) mode(key string, m uint32) *tree {
	if m == 0 {
		return t
	}
	return t.bare(key, fmt.Sprintf("0%o", m))
}

func (t *tree) command(key string, c *argosyv1.Command) *tree {
	if c == nil {
		return t
	}
	words := newList()
	for _, w := range c.GetArgs() {
		words.addText(w)
	}
	return t.tree(key, words)
}
