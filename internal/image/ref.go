package image

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	"github.com/argosy-cluster/argosy/internal/pattern"
	"github.com/argosy-cluster/argosy/internal/reference"
)

// Ref is what a person calls an image, taken apart.
type Ref struct {
	// Repository is the full name with its registry's host: docker.io/library/mariadb. It is what a remote registry
	// is asked for.
	Repository string
	// Name is the name under which the cluster's own store keeps such an image: Repository without docker.io and
	// library, and with the colon of a port written as two underscores. It is a valid repository of the OCI protocol.
	Name string
	// Tag is "latest" when a person gave neither tag nor digest, and may be empty when there is a digest.
	Tag string
	// Digest is empty unless given.
	Digest Digest
}

const (
	maxRef  = 512
	maxName = 200 // so that a name is also a file name
)

var (
	tenantForm = pattern.New(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
	nameForm   = pattern.New(`^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*$`)
	tagForm    = pattern.New(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)
	portForm   = pattern.New(`^[^/]*__[0-9]+/`)
)

// ParseRef reads a reference as Docker does: a missing host is docker.io, a missing tag is latest.
func ParseRef(s string) (Ref, error) {
	if len(s) > maxRef {
		return Ref{}, fmt.Errorf("an image reference of %d bytes is too long: %d are allowed", len(s), maxRef)
	}
	named, err := reference.Parse(s)
	if err != nil {
		return Ref{}, fmt.Errorf("%s is not an image reference: %w", clip(s), err)
	}
	r := Ref{Repository: named.Name(), Name: named.Familiar(), Tag: named.Tag}
	if portForm.MatchString(r.Name) {
		return Ref{}, fmt.Errorf("%s is not usable: the first part of a name must not end in two underscores and a number", clip(s))
	}
	if host, port, err := net.SplitHostPort(named.Domain); err == nil {
		r.Name = strings.ToLower(host) + "__" + port + "/" + named.Path
	}
	if err := ValidName(r.Name); err != nil {
		return Ref{}, fmt.Errorf("%s is not usable: %w", clip(s), err)
	}
	if named.Digest != "" {
		if r.Digest, err = ParseDigest(named.Digest); err != nil {
			return Ref{}, fmt.Errorf("%s is not an image reference: %w", clip(s), err)
		}
	} else if r.Tag == "" {
		r.Tag = "latest"
	}
	return r, nil
}

// String returns the reference in full, as a remote registry or Docker understands it.
func (r Ref) String() string {
	s := r.Repository
	if r.Tag != "" {
		s += ":" + r.Tag
	}
	if r.Digest != "" {
		s += "@" + string(r.Digest)
	}
	return s
}

// Familiar returns the shortest text that means the same to Docker: mariadb:10.11.
func (r Ref) Familiar() string {
	s := strings.TrimPrefix(r.Repository, "docker.io/")
	if s != r.Repository {
		s = strings.TrimPrefix(s, "library/")
	}
	return s + strings.TrimPrefix(r.String(), r.Repository)
}

// Host returns the host of the image's registry, with its port if it has one: docker.io.
func (r Ref) Host() string {
	host, _, _ := strings.Cut(r.Repository, "/")
	return host
}

// Pin returns the reference for a remote registry that can no longer change its meaning.
func (r Ref) Pin(d Digest) string { return r.Repository + "@" + string(d) }

// Local returns the reference by which Docker on a machine pulls an image of the cluster's store through the machine's
// relay on port. Docker keeps it as the image's repository digest, so the same text also inspects and runs the image.
func Local(port int, tenant, name string, d Digest) string {
	return "127.0.0.1:" + strconv.Itoa(port) + "/" + tenant + "/" + name + "@" + string(d)
}

// ValidTenant refuses what is not a DNS label that starts with a letter.
func ValidTenant(s string) error {
	if !tenantForm.MatchString(s) {
		return fmt.Errorf("%s is not a tenant: a tenant is a DNS label of at most 63 of a-z, 0-9 and -, starting with a letter", clip(s))
	}
	return nil
}

// ValidName refuses what is not a repository of the OCI protocol, or too long to be kept as a file.
func ValidName(s string) error {
	if len(s) > maxName {
		return fmt.Errorf("an image name of %d bytes is too long: %d are allowed", len(s), maxName)
	}
	if !nameForm.MatchString(s) {
		return fmt.Errorf("%s is not an image name: it may have a-z, 0-9 and, between those, . _ - and /", clip(s))
	}
	return nil
}

// ValidTag refuses what is not a tag of the OCI protocol.
func ValidTag(s string) error {
	if !tagForm.MatchString(s) {
		return fmt.Errorf("%s is not a tag: it may have at most 128 of A-Z, a-z, 0-9, _ . and -, not starting with . or -", clip(s))
	}
	return nil
}
