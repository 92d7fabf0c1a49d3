package docker

import (
	"fmt"
	"strconv"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// Labels that say whose a container is and what it was made for. They are how an agent that knows nothing finds its own.
const (
	labelCluster     = "argosy.cluster"
	labelTenant      = "argosy.tenant"
	labelApp         = "argosy.app"
	labelAppUID      = "argosy.app-uid"
	labelStack       = "argosy.stack"
	labelNumber      = "argosy.number"
	labelMember      = "argosy.member"
	labelIncarnation = "argosy.incarnation"
	labelRevision    = "argosy.revision"
	labelRestart     = "argosy.restart"
	labelDefinition  = "argosy.definition"
	labelAfter       = "argosy.after"
	labelVolume      = "argosy.volume"
	labelClaims      = "argosy.claims"

	labelPrefix = "argosy."
)

func (e *Engine) labels(a *argosyv1.Assignment, spec *argosyv1.ContainerSpec, definition string, lease *core.Claim) map[string]string {
	labels := map[string]string{}
	for k, v := range spec.GetLabels() {
		if !strings.HasPrefix(k, labelPrefix) {
			labels[k] = v
		}
	}
	for k, v := range e.replicaLabels(a) {
		labels[k] = v
	}
	labels[labelMember] = spec.GetName()
	labels[labelIncarnation] = strconv.FormatUint(a.GetIncarnation(), 10)
	labels[labelRevision] = strconv.FormatUint(a.GetRevision(), 10)
	labels[labelRestart] = strconv.FormatUint(a.GetRestart(), 10)
	labels[labelDefinition] = definition
	if lease != nil {
		labels[labelClaims] = lease.Label()
	}
	after := make([]string, len(spec.GetDependsOn()))
	for i, d := range spec.GetDependsOn() {
		after[i] = d.GetContainer()
	}
	if len(after) > 0 {
		labels[labelAfter] = strings.Join(after, ",")
	}
	return labels
}

func (e *Engine) replicaLabels(a *argosyv1.Assignment) map[string]string {
	k := core.KeyOf(a.GetKey())
	return map[string]string{
		labelCluster: e.cfg.ClusterID, labelTenant: k.Tenant, labelApp: k.App, labelAppUID: a.GetAppUid(),
		labelStack: k.Stack, labelNumber: strconv.FormatUint(uint64(k.Number), 10),
	}
}

// owner reads whose a container is. The error says which label is not understood.
func (e *Engine) owner(labels map[string]string) (core.ID, string, error) {
	if labels[labelCluster] != e.cfg.ClusterID {
		return core.ID{}, "", fmt.Errorf("it belongs to another cluster")
	}
	number, err := strconv.ParseUint(labels[labelNumber], 10, 32)
	if err != nil {
		return core.ID{}, "", fmt.Errorf("label %s is %s", labelNumber, plain(labels[labelNumber]))
	}
	incarnation, err := strconv.ParseUint(labels[labelIncarnation], 10, 64)
	if err != nil {
		return core.ID{}, "", fmt.Errorf("label %s is %s", labelIncarnation, plain(labels[labelIncarnation]))
	}
	for _, name := range []string{labelTenant, labelApp, labelStack, labelMember} {
		if v := labels[name]; v == "" || len(v) > maxLabelText || plain(v) != v {
			return core.ID{}, "", fmt.Errorf("label %s is not a name", name)
		}
	}
	return core.ID{
		Key:    core.Key{Tenant: labels[labelTenant], App: labels[labelApp], Stack: labels[labelStack], Number: uint32(number)},
		AppUID: clip(labels[labelAppUID], maxLabelText), Incarnation: incarnation,
	}, labels[labelMember], nil
}

const (
	maxLabelText = 128
	maxClaims    = 512
	maxAfter     = 64
)

// names of what is made on the machine. Parts are DNS labels, so a dot separates them without doubt.

func (e *Engine) place(k core.Key) string {
	parts := []string{e.cfg.Prefix}
	if k.Tenant != "" && k.Tenant != "default" {
		parts = append(parts, k.Tenant)
	}
	return strings.Join(append(parts, k.App, k.Stack, strconv.FormatUint(uint64(k.Number), 10)), ".")
}

func (e *Engine) containerName(a *argosyv1.Assignment, member, definition string) string {
	short := definition[:min(8, len(definition))]
	name := fmt.Sprintf("%s.%s.%d-%s", e.place(core.KeyOf(a.GetKey())), member, a.GetIncarnation(), short)
	if n := a.GetRestart(); n > 0 {
		name += "-r" + strconv.FormatUint(n, 10)
	}
	return name
}

// volumeName does not leave the default tenant out: a volume outlives whoever made it, and must be told from others' for
// ever.
func (e *Engine) volumeName(k core.Key, volume string) string {
	return strings.Join([]string{e.cfg.Prefix, k.Tenant, k.App, k.Stack, strconv.FormatUint(uint64(k.Number), 10), volume}, ".")
}
