package manifest

import (
	"fmt"
	"slices"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/volumesource"
)

// The drivers of volumes.
const (
	driverLocal  = "local"
	driverDevice = "device"
	driverMount  = "mount"
)

// volume is a volume of a stack while it is read.
type volume struct {
	spec *argosyv1.VolumeSpec
	used bool

	driver  string
	said    map[string]value // keys that only one driver has, and where they are
	class   value            // where it is said to be local
	source  value            // of the device or what is mounted
	options []placed[string]
	device  argosyv1.DeviceSource
	mount   argosyv1.MountSource
}

// keysOf are the keys that belong to one driver.
var keysOf = map[string]string{"device": driverDevice, "filesystem": driverDevice, "create": driverDevice, "type": driverMount, "source": driverMount}

func volumeTable() *object[*volume] {
	only := func(name string, set func(*volume, string)) func(*reader, *volume, string, value) {
		return func(_ *reader, v *volume, s string, at value) { v.said[name] = at; set(v, s) }
	}
	text := variable(jsonSchema{"type": "string", "minLength": 1})
	return newObject("volume",
		field("size", bytesSize(), "How much room the data is expected to need. Nothing enforces it.", func(_ *reader, v *volume, n int64, _ value) { v.spec.Size = n }).ours().like("size: 1GiB"),
		field("driver", parsed("word", variable(jsonSchema{"enum": []string{driverDevice, driverLocal, driverMount}}), parseDriver),
			"`local`: on the machine, and the replica stays with it. `device`: a block device that several machines reach. `mount`: whatever mount(8) mounts from elsewhere. See [volumes.md](volumes.md).",
			func(_ *reader, v *volume, s string, _ value) { v.driver = s }).ours().like("driver: device").unsaid(driverLocal),
		field("device", parsed("device", text, func(s string) (string, error) {
			d, err := volumesource.ParseDevice(s)
			return d.String(), err
		}), "The device: `UUID=…`, `LABEL=…` or a path below /dev. `{replica}` in it is the number of the replica.",
			only("device", func(v *volume, s string) { v.device.Device = s })).ours().like("device: LABEL=shop-data-{replica}"),
		field("filesystem", choice("word", map[string]string{volumesource.Ext4: volumesource.Ext4}), "The file system of the device: `ext4`, which notices a second mount by itself (mmp).",
			only("filesystem", func(v *volume, s string) { v.device.Filesystem = s })).ours().like("filesystem: ext4").unsaid(volumesource.Ext4),
		field("create", choice("word", map[string]string{"never": "", "if-empty": "if-empty"}), "Whether a device gets its file system on first use: `never`, or `if-empty`. One that holds anything is never touched.",
			only("create", func(v *volume, s string) { v.device.CreateIfEmpty = s != "" })).ours().like("create: if-empty").unsaid("never"),
		field("type", parsed("type of mount(8)", text, checkedText(volumesource.MountType)), "What mount(8) calls it.",
			only("type", func(v *volume, s string) { v.mount.Type = s })).ours().like("type: nfs"),
		field("source", parsed("text", text, checkedText(volumesource.MountSource)), "What is mounted. `{replica}` in it is the number of the replica.",
			only("source", func(v *volume, s string) { v.mount.Source = s })).ours().like(`source: "storage:/exports/shop-{replica}"`),
		field("options", listOf(where(someOption())), "Options of the mount, each by itself.",
			func(_ *reader, v *volume, list []placed[string], at value) { v.options, v.said["options"] = list, at }).ours().like("options: [noatime]"),
		field("fence", name(),
			"The program of the servers that has the storage refuse a machine that is silent, before another one mounts. See [volumes.md](volumes.md#fenced).",
			only("fence", func(v *volume, s string) { v.spec.Fence = s })).ours().like("fence: san"),
		field("class", parsed("word", variable(jsonSchema{"enum": []string{"local"}}), func(s string) (bool, error) {
			switch s {
			case "local":
				return true, nil
			case "shared":
				return false, &betterError{message: "the class of a shared volume follows from where it is", hint: "say driver: device, or driver: mount"}
			}
			return false, &betterError{message: fmt.Sprintf("%s is not a class of volumes", quoted(s)), suggestion: "local"}
		}), "`local`: the data lives on one machine, and the replica stays with it. That of other drivers is not said but follows.",
			func(_ *reader, v *volume, _ bool, at value) { v.class = at }).ours().like("class: local"),
		refuse[*volume]("driver_opts", "what a driver is told has keys of its own", "for driver: device say device and options; for driver: mount type, source and options"),
		refuse[*volume]("external", "a volume belongs to the replicas of its stack", "leave it out"),
		refuse[*volume]("name", "a volume is called APP/STACK.NUMBER/NAME", "change the key"),
		refuse[*volume]("labels", "volumes are known by their replica and name", "leave them out"),
	)
}

func checkedText(check func(string) error) func(string) (string, error) {
	return func(s string) (string, error) { return s, check(s) }
}

func someOption() shape[string] {
	s := text()
	s.word = "option"
	return s
}

func parseDriver(s string) (string, error) {
	switch s {
	case driverLocal, driverDevice, driverMount:
		return s, nil
	case "nfs", "nfs4", "cifs", "smb", "ceph", "glusterfs":
		return "", &betterError{message: fmt.Sprintf("%s is not a driver of volumes", quoted(s)), suggestion: driverMount, hint: fmt.Sprintf("say driver: mount and type: %s", s)}
	}
	return "", &betterError{message: fmt.Sprintf("%s is not a driver of volumes", quoted(s)), suggestion: nearest(s, []string{driverLocal, driverDevice, driverMount}),
		hint: "it is local, device or mount"}
}

func (s *stack) readVolumes(r *reader, table *object[*volume], at value) {
	entries, _ := r.entries(at)
	for _, e := range entries {
		name := e.key.Value
		if err := checkName(name); err != nil {
			_, _ = parsedText(r, e.name(), name, func(string) (string, error) { return "", err })
		}
		v := &volume{spec: &argosyv1.VolumeSpec{Name: name}, driver: driverLocal, said: map[string]value{}}
		if e.isNull() || table.read(r, e.value, "volume "+name, v) {
			v.settle(r, e.name())
		}
		if s.volumes.add(r, "volume", name, e.name(), v) {
			s.spec.Volumes = append(s.spec.Volumes, v.spec)
		}
	}
}

// settle puts what was said together, once all of it was right by itself.
func (v *volume) settle(r *reader, at value) {
	v.spec.Class = argosyv1.VolumeClass_VOLUME_CLASS_LOCAL
	for _, k := range []string{"device", "filesystem", "create", "type", "source", "options", "fence"} {
		where, said := v.said[k]
		of := keysOf[k]
		switch {
		case !said || of == v.driver || of == "" && v.driver != driverLocal:
		case v.driver == driverLocal && k == "fence":
			r.fault(where.name(), "a fence is for volumes of driver device or mount, and volume %s is local: no other machine can have it", v.spec.Name).Advise("say driver: device or driver: mount, or leave it out")
		case v.driver == driverLocal && of == "":
			r.fault(where.name(), "options are for volumes of driver device or mount, and volume %s is local", v.spec.Name).Advise("say driver: device or driver: mount, or leave it out")
		default:
			r.fault(where.name(), "%s is for volumes of driver %s, and volume %s is of driver %s", k, of, v.spec.Name, v.driver).Advise("say driver: %s, or leave it out", of)
		}
	}
	if v.driver != driverLocal && v.class.n != nil {
		r.fault(v.class, "a volume of driver %s is not local", v.driver).Advise("leave it out: the class follows from where the volume is")
	}
	check := volumesource.DeviceOption
	switch v.driver {
	case driverDevice:
		v.settleDevice(r, at)
	case driverMount:
		v.settleMount(r, at)
		check = volumesource.MountOption
	default:
		return
	}
	if v.spec.Fence != "" {
		v.spec.Class = argosyv1.VolumeClass_VOLUME_CLASS_FENCED
	}
	if len(v.options) > volumesource.MaxOptions {
		r.fault(v.said["options"], "there are %d options; %d are allowed", len(v.options), volumesource.MaxOptions)
		return
	}
	for i, o := range v.options {
		if err := check(o.is); err != nil {
			r.fault(o.at, "%s", err)
		} else if twice(v.options[:i], o.is) {
			r.fault(o.at, "%s is here twice", quoted(o.is))
		}
	}
}

func twice(before []placed[string], o string) bool {
	for _, p := range before {
		if p.is == o {
			return true
		}
	}
	return false
}

func (v *volume) settleDevice(r *reader, at value) {
	v.spec.Class, v.spec.Device = argosyv1.VolumeClass_VOLUME_CLASS_TIMED_DETECTED, &v.device
	v.device.Filesystem, v.device.Options = volumesource.Ext4, optionTexts(v.options)
	v.source = v.said["device"]
	d, err := volumesource.ParseDevice(v.device.Device)
	switch {
	case v.source.n == nil:
		r.fault(at, "volume %s is of driver device and does not say which", v.spec.Name).Advise("add `device: LABEL=…`, `device: UUID=…` or `device: /dev/disk/by-id/…`")
	case err == nil && v.device.CreateIfEmpty && d.By != volumesource.ByPath:
		r.fault(v.said["create"].name(), "a device that is empty has no %s yet, so it cannot be found by it", map[volumesource.By]string{volumesource.ByUUID: "UUID", volumesource.ByLabel: "label"}[d.By]).
			Advise("name it by a path that stays, /dev/disk/by-id/…, or make the file system yourself")
	}
}

func (v *volume) settleMount(r *reader, at value) {
	v.spec.Class, v.spec.Mount = argosyv1.VolumeClass_VOLUME_CLASS_TIMED, &v.mount
	v.mount.Options = optionTexts(v.options)
	v.source = v.said["source"]
	for _, k := range []string{"type", "source"} {
		if v.said[k].n == nil {
			r.fault(at, "volume %s is of driver mount and has no %s", v.spec.Name, k).Advise("add `%s`", map[string]string{"type": "type: nfs", "source": "source: server:/export"}[k])
		}
	}
}

func optionTexts(list []placed[string]) []string {
	var out []string
	for _, p := range list {
		out = append(out, p.is)
	}
	return out
}

// sharedSource is where the data of a shared volume is, as written; empty for a local one.
func sharedSource(v *argosyv1.VolumeSpec) string {
	if v.GetDevice() != nil {
		return v.GetDevice().GetDevice()
	}
	return v.GetMount().GetSource()
}

// checkShared compares shared volumes with how many replicas there are, and with each other: storage that two replicas are
// told to use, one of them never gets.
func (d *draft) checkShared(r *reader) {
	type use struct {
		stack, name string
		line        int
	}
	taken := map[string]use{}
	for _, s := range d.stacks.list {
		e, counted := d.cluster.get(s.spec.Name)
		for _, v := range s.volumes.list {
			source := sharedSource(v.spec)
			if source == "" || v.source.n == nil {
				continue
			}
			switch {
			case counted && e.spec.EachMachine:
				r.fault(v.source, "volume %s is shared, and stack %s has one replica on each machine, which never moves", v.spec.Name, s.spec.Name).
					Advise("use a local volume, or say below cluster how many replicas there are")
			case counted && e.spec.Count > 1 && !volumesource.EachReplica(source):
				r.fault(v.source, "%d replicas of stack %s would have %s at once", e.spec.Count, s.spec.Name, quoted(source)).
					Advise("give each its own: put %s where their names differ, which becomes 1, 2, …", volumesource.Replica)
			}
			if other, there := taken[source]; there {
				r.fault(v.source, "%s is volume %s of stack %s already (line %d)", quoted(source), other.name, other.stack, other.line).Advise("each volume has storage of its own")
				continue
			}
			taken[source] = use{s.spec.Name, v.spec.Name, v.source.n.Line}
		}
	}
}

// verifyVolume checks a volume of a specification that anybody may have made.
func verifyVolume(v *argosyv1.VolumeSpec) error {
	if v.Size < 0 || v.Size > maxMemory {
		return fmt.Errorf("%d bytes cannot be had", v.Size)
	}
	options, check := v.GetDevice().GetOptions(), volumesource.DeviceOption
	var err error
	switch class := v.Class; {
	case v.Device == nil && v.Mount == nil:
		if class != argosyv1.VolumeClass_VOLUME_CLASS_LOCAL && class != argosyv1.VolumeClass_VOLUME_CLASS_UNSPECIFIED {
			return fmt.Errorf("it is shared and does not say where its data is")
		}
		if v.Fence != "" {
			return fmt.Errorf("it is local, and has a fence")
		}
		return nil
	case v.Device != nil && v.Mount != nil:
		return fmt.Errorf("it has two places for its data")
	case v.Device != nil:
		var d volumesource.Device
		d, err = volumesource.ParseDevice(v.Device.Device)
		switch {
		case err != nil:
		case v.Fence == "" && class != argosyv1.VolumeClass_VOLUME_CLASS_TIMED_DETECTED:
			return fmt.Errorf("a volume on a device is of class timed+detected")
		case v.Device.Filesystem != volumesource.Ext4:
			return fmt.Errorf("a device has the file system %s, not %s", volumesource.Ext4, quoted(v.Device.Filesystem))
		case d.String() != v.Device.Device:
			return fmt.Errorf("its device is to be written as %s", quoted(d.String()))
		case v.Device.CreateIfEmpty && d.By != volumesource.ByPath:
			return fmt.Errorf("only a device with a path can be empty")
		}
	default:
		options, check = v.Mount.Options, volumesource.MountOption
		if err = volumesource.MountType(v.Mount.Type); err == nil {
			err = volumesource.MountSource(v.Mount.Source)
		}
		if v.Fence == "" && class != argosyv1.VolumeClass_VOLUME_CLASS_TIMED {
			return fmt.Errorf("a volume that is mounted from elsewhere is of class timed")
		}
	}
	if err == nil && v.Fence != "" {
		if err = checkName(v.Fence); err == nil && v.Class != argosyv1.VolumeClass_VOLUME_CLASS_FENCED {
			err = fmt.Errorf("a volume with a fence is of class fenced")
		}
	}
	if err != nil {
		return err
	}
	if len(options) > volumesource.MaxOptions {
		return fmt.Errorf("it has %d options; %d are allowed", len(options), volumesource.MaxOptions)
	}
	seen := map[string]bool{}
	for _, o := range options {
		if err := check(o); err != nil {
			return err
		}
		if seen[o] {
			return fmt.Errorf("it has the option %s twice", quoted(o))
		}
		seen[o] = true
	}
	return nil
}

// verifyShared is checkShared for a specification.
func verifyShared(app *argosyv1.AppSpec) error {
	entries := map[string]*argosyv1.ClusterEntry{}
	for _, e := range app.Cluster {
		entries[e.Stack] = e
	}
	taken := map[string]bool{}
	for _, s := range app.Stacks {
		e := entries[s.Name]
		for _, v := range s.Volumes {
			source := sharedSource(v)
			switch {
			case source == "":
				continue
			case e.GetEachMachine() || e.GetCount() > 1 && !volumesource.EachReplica(source):
				return fmt.Errorf("stack %s: several replicas would have %s at once, as volume %s", s.Name, quoted(source), v.Name)
			case taken[source]:
				return fmt.Errorf("stack %s: volume %s has %s, which another one has", s.Name, v.Name, quoted(source))
			}
			taken[source] = true
		}
		for _, c := range app.Containers {
			if slices.Contains(s.Containers, c.Name) {
				if err := oneShared(s, c); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// oneShared refuses a container that mounts several shared volumes: it is below one cgroup, which one lease thaws.
func oneShared(s *argosyv1.StackSpec, c *argosyv1.ContainerSpec) error {
	first := ""
	for _, m := range c.Mounts {
		at := slices.IndexFunc(s.Volumes, func(v *argosyv1.VolumeSpec) bool { return v.Name == m.Source })
		switch {
		case m.Type != argosyv1.MountType_MOUNT_TYPE_VOLUME || at < 0 || sharedSource(s.Volumes[at]) == "" || m.Source == first:
		case first != "":
			return fmt.Errorf("stack %s: container %s mounts shared volumes %s and %s, and can be held back for the lease of one only", s.Name, c.Name, first, m.Source)
		default:
			first = m.Source
		}
	}
	return nil
}

// renderVolume is a volume as a manifest says it.
func renderVolume(v *argosyv1.VolumeSpec) *tree {
	t := newTree().size("size", v.GetSize())
	if d := v.GetDevice(); d != nil {
		t.text("driver", driverDevice).text("device", d.GetDevice())
		if d.GetCreateIfEmpty() {
			t.text("create", "if-empty")
		}
		t.texts("options", d.GetOptions())
	}
	if m := v.GetMount(); m != nil {
		t.text("driver", driverMount).text("type", m.GetType()).text("source", m.GetSource()).texts("options", m.GetOptions())
	}
	return t.text("fence", v.GetFence()).flow()
}

// showVolume is a volume in one line of a plan.
func showVolume(v *argosyv1.VolumeSpec) string {
	s := v.Name + showRest(v, "name", "device", "mount", "fence")
	options := v.GetDevice().GetOptions()
	if d := v.Device; d != nil {
		s += " on " + printable(d.Device) + " (" + printable(d.Filesystem) + ")"
		if d.CreateIfEmpty {
			s += ", made if it is empty"
		}
	}
	if m := v.Mount; m != nil {
		s += " from " + printable(m.Source) + " (" + printable(m.Type) + ")"
		options = m.Options
	}
	if v.Fence != "" {
		s += ", fenced by " + printable(v.Fence)
	}
	for i, o := range options {
		s += map[bool]string{true: ", options ", false: ","}[i == 0] + printable(o)
	}
	return s
}
