package manifest

import (
	"fmt"
	"path"
	"strings"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Grants is what an administrator's policy allows beyond the ordinary. The zero Grants allow nothing.
type Grants struct {
	HostPaths     []string // binds of these paths of the machine and of what is below them
	DockerSocket  bool     // binds that make the engine's socket reachable
	Capabilities  []string // without CAP_; ALL is every one
	SecurityOpts  bool     // security_opt other than no-new-privileges
	OOMProtection bool     // oom_score_adj below 0
}

// Check says what of a container is not granted, or nil. [Parse] does the same and knows the place; this is for servers,
// which cannot trust whoever speaks the protocol to have asked Parse.
func (g Grants) Check(c *argosyv1.ContainerSpec) error {
	for _, m := range c.GetMounts() {
		if m.GetType() == argosyv1.MountType_MOUNT_TYPE_BIND {
			if err := g.hostPath(path.Clean("/" + m.GetSource())); err != nil {
				return err
			}
		}
	}
	for _, word := range c.GetCapAdd() {
		if err := g.capability(strings.TrimPrefix(strings.ToUpper(word), "CAP_")); err != nil {
			return err
		}
	}
	for _, o := range c.GetSecurityOpt() {
		if err := g.securityOpt(o); err != nil {
			return err
		}
	}
	for name := range c.GetSysctls() {
		if err := sysctl(name); err != nil {
			return err
		}
	}
	return g.oomScore(int64(c.GetOomScoreAdj()))
}

const askFor = "leave it out, or ask an administrator"

// capability takes any word that is not an ordinary capability for one that needs a grant.
func (g Grants) capability(word string) error {
	if contains(ordinary, word) || contains(g.Capabilities, word) || contains(g.Capabilities, "ALL") {
		return nil
	}
	return &betterError{message: fmt.Sprintf("the capability %s reaches beyond the container: no policy grants it", clip(word)), hint: askFor}
}

func (g Grants) securityOpt(option string) error {
	switch strings.Replace(option, ":", "=", 1) {
	case "no-new-privileges", "no-new-privileges=true", "no-new-privileges=false":
		return nil
	}
	if g.SecurityOpts {
		return nil
	}
	return &betterError{message: fmt.Sprintf("the security option %s weakens the container's walls: no policy grants it", quoted(option)),
		hint: askFor + "; no-new-privileges needs no grant"}
}

func (g Grants) oomScore(n int64) error {
	if n >= 0 || g.OOMProtection {
		return nil
	}
	return &betterError{message: "oom_score_adj below 0 protects the container at the cost of the machine: no policy grants it", hint: askFor}
}

// ownSysctls are the kernel parameters that a container has for itself, besides net.* and fs.mqueue.*.
var ownSysctls = []string{"kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem", "kernel.shmall", "kernel.shmmax", "kernel.shmmni",
	"kernel.shm_rmid_forced"}

// sysctl refuses those of the whole machine; nothing grants them, because the engine does not set them.
func sysctl(name string) error {
	dotted := strings.ReplaceAll(name, "/", ".")
	odd := strings.IndexFunc(dotted, func(c rune) bool {
		return (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && !strings.ContainsRune("._-", c)
	})
	if odd >= 0 || strings.Contains(dotted, "..") {
		return &betterError{message: fmt.Sprintf("%s is not the name of a sysctl", quoted(name)), hint: "write it like net.core.somaxconn"}
	}
	if strings.HasPrefix(dotted, "net.") || strings.HasPrefix(dotted, "fs.mqueue.") || contains(ownSysctls, dotted) {
		return nil
	}
	return &betterError{message: fmt.Sprintf("the sysctl %s belongs to the whole machine", quoted(name)),
		hint: "a container has its own net.*, fs.mqueue.*, kernel.msg*, kernel.sem and kernel.shm* only"}
}

// engineSockets are where engines listen on a machine.
var engineSockets = []string{"/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/var/run/containerd/containerd.sock"}

// hostPath checks a bind of a clean, absolute path of the machine.
func (g Grants) hostPath(source string) error {
	socket := false
	for _, s := range engineSockets {
		socket = socket || below(s, source)
	}
	allowed := false
	for _, p := range g.HostPaths {
		allowed = allowed || below(source, path.Clean(p))
	}
	switch {
	case socket && !g.DockerSocket:
		return &betterError{message: fmt.Sprintf("%s leads to the engine's socket, which is the whole machine: no policy grants it", quoted(source)), hint: askFor}
	case !allowed && !contains(engineSockets, source):
		return &betterError{message: fmt.Sprintf("%s is a path of the machine: no policy grants it", quoted(source)),
			hint: "for a file, use configs; for data, a volume of the stack; or ask an administrator"}
	}
	return nil
}

// below is true when p is dir or in it.
func below(p, dir string) bool {
	return p == dir || dir == "/" || strings.HasPrefix(p, dir+"/")
}
