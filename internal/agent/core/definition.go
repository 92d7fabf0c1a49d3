package core

import (
	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/definition"
)

// preparation names what Prepare makes for a member: it differs when a secret has a new version, a config another content
// or the member other files or volumes.
func preparation(a *argosyv1.Assignment, spec *argosyv1.ContainerSpec) string {
	versions := make(map[string]uint64, len(a.GetSecrets()))
	for _, s := range a.GetSecrets() {
		versions[s.GetName()] = s.GetVersion()
	}
	return definition.Files(spec, versions, a.GetConfigs())
}

// imageKey names what Pull makes present for a member.
func imageKey(spec *argosyv1.ContainerSpec) string {
	return spec.GetImage() + "@" + spec.GetImageDigest() + "/" + spec.GetPlatform()
}
