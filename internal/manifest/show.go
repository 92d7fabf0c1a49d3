package manifest

import (
	"fmt"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/durationpb"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// show is a value as a person would write it.
func show(f protoreflect.FieldDescriptor, v protoreflect.Value, set bool) string {
	if !set {
		return "(none)"
	}
	switch {
	case f.Message() != nil:
		return showMessage(v.Message().Interface())
	case f.Kind() == protoreflect.EnumKind:
		return showEnum(f.Enum(), v.Enum())
	case f.Kind() == protoreflect.StringKind:
		if s := v.String(); s == "" || strings.ContainsAny(s, " \t\r\n") || len(s) > 60 {
			return quoted(s)
		}
		return printable(v.String())
	}
	switch f.Name() {
	case "limit_cpu_milli", "reserve_cpu_milli":
		return cpuText(v.Int())
	case "limit_memory", "reserve_memory", "memory_swap", "shm_size", "size", "max_size":
		if v.Int() < 0 {
			return "unlimited"
		}
		return sizeText(v.Int())
	case "mode":
		return fmt.Sprintf("%#o", v.Uint())
	}
	return v.String()
}

// showEnum is the last words of an enum's name in small letters: `on-failure`.
func showEnum(e protoreflect.EnumDescriptor, n protoreflect.EnumNumber) string {
	v := e.Values().ByNumber(n)
	if v == nil {
		return fmt.Sprint(n)
	}
	prefix := strings.TrimSuffix(string(e.Values().ByNumber(0).Name()), "UNSPECIFIED")
	word := strings.ToLower(strings.TrimPrefix(string(v.Name()), prefix))
	return strings.ReplaceAll(word, "_", "-")
}

func showMessage(m proto.Message) string {
	switch m := m.(type) {
	case *durationpb.Duration:
		return m.AsDuration().Round(time.Microsecond).String()
	case *argosyv1.Command:
		words := make([]string, len(m.Args))
		for i, w := range m.Args {
			if words[i] = printable(w); w == "" || strings.ContainsAny(w, " \t\r\n\"',[]") {
				words[i] = quoted(w)
			}
		}
		return "[" + strings.Join(words, ", ") + "]"
	case *argosyv1.RestartPolicy:
		word := showEnum(m.Mode.Descriptor(), m.Mode.Number())
		if m.MaxAttempts > 0 {
			return fmt.Sprintf("%s:%d", word, m.MaxAttempts)
		}
		return word
	case *argosyv1.Mount:
		return showMount(m)
	case *argosyv1.FileRef:
		return m.Source + " at " + m.Target + showRest(m, "source", "target")
	case *argosyv1.PublishedPort:
		s := fmt.Sprintf("%d:%d", m.Published, m.Target)
		if m.Published == 0 {
			s = fmt.Sprint(m.Target)
		}
		if m.HostIp != "" {
			s = "[" + m.HostIp + "]:" + s
		}
		return s + suffix(m.Protocol) + showRest(m, "host_ip", "published", "target", "protocol")
	case *argosyv1.Port:
		return fmt.Sprint(m.Port) + suffix(m.Protocol)
	case *argosyv1.Dependency:
		return m.Container + " " + showEnum(m.Condition.Descriptor(), m.Condition.Number()) + showRest(m, "container", "condition", "required")
	case *argosyv1.VolumeSpec:
		return showVolume(m)
	}
	return "{" + strings.TrimSpace(showRest(m)) + "}"
}

func suffix(p argosyv1.Protocol) string {
	if p == argosyv1.Protocol_PROTOCOL_UDP {
		return "/udp"
	}
	return ""
}

func showMount(m *argosyv1.Mount) string {
	source := m.Source
	if m.Type == argosyv1.MountType_MOUNT_TYPE_TMPFS {
		source = "tmpfs"
	}
	readOnly := ""
	if m.ReadOnly {
		readOnly = ":ro"
	}
	return source + ":" + m.Target + readOnly + showRest(m, "type", "source", "target", "read_only")
}

// showRest is the fields that are set and not among those told: ` size=1 GiB`.
func showRest(m proto.Message, but ...string) string {
	var b strings.Builder
	fields := m.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if f.IsList() || f.IsMap() || contains(but, string(f.Name())) || !m.ProtoReflect().Has(f) {
			continue
		}
		fmt.Fprintf(&b, " %s=%s", f.Name(), show(f, m.ProtoReflect().Get(f), true))
	}
	return b.String()
}
