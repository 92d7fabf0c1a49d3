// Package reference takes the name of an image apart as Docker does.
//
//	r, err := reference.Parse("mariadb:10.11")   // docker.io, library/mariadb, 10.11
//
// The grammar is that of github.com/distribution/reference, with which tests compare every answer. That package compiles
// ten regular expressions as it is loaded, which every command waited for; this one compiles none.
package reference

import (
	"errors"
	"fmt"
	"strings"
)

// Reference is an image's name, taken apart and completed.
type Reference struct {
	// Domain is the registry's host, with its port if it has one; docker.io unless said otherwise. It is empty when what
	// stands there can be no host: Path then has it.
	Domain string
	// Path is the repository in the registry.
	Path string
	// Tag and Digest are empty unless given.
	Tag, Digest string
}

const (
	dockerHub  = "docker.io"
	legacyHub  = "index.docker.io"
	official   = "library/"
	longest    = 255 // bytes of a path
	longestTag = 128
)

// Parse reads a name: a missing host is docker.io, and a name there without a user is in library/.
func Parse(s string) (Reference, error) {
	if len(s) == 64 && isHex(s) {
		return Reference{}, errors.New("64 hexadecimal digits are an image's id, and no name")
	}
	domain, rest := split(s)
	r := Reference{Domain: domain}
	var ok bool
	if rest, r.Digest, ok = strings.Cut(rest, "@"); ok && !isDigest(r.Digest) {
		return Reference{}, errors.New("what follows the @ is no digest")
	}
	if r.Path, r.Tag, ok = strings.Cut(rest, ":"); ok && !isTag(r.Tag) {
		return Reference{}, errors.New("what follows the colon is no tag")
	}
	if !isPath(r.Path) {
		return Reference{}, errors.New("a name may have a-z, 0-9 and, between those, . _ - and /")
	}
	if !isDomain(domain) {
		if !isPath(domain) {
			return Reference{}, errors.New("what stands before the first / is no registry's host")
		}
		r.Domain, r.Path = "", domain+"/"+r.Path
	}
	if len(r.Path) > longest {
		return Reference{}, fmt.Errorf("the name has more than %d bytes", longest)
	}
	return r, nil
}

// Name is the full name without tag and digest: docker.io/library/mariadb.
func (r Reference) Name() string {
	if r.Domain == "" {
		return r.Path
	}
	return r.Domain + "/" + r.Path
}

// Familiar is the shortest name that means the same to Docker: mariadb.
func (r Reference) Familiar() string {
	if r.Domain != dockerHub {
		return r.Name()
	}
	if short, ok := strings.CutPrefix(r.Path, official); ok && !strings.Contains(short, "/") {
		return short
	}
	return r.Path
}

// split completes a name with what Docker understands by one without a host.
func split(s string) (domain, rest string) {
	domain, rest, ok := strings.Cut(s, "/")
	switch {
	case !ok:
		return dockerHub, official + s
	case domain == legacyHub:
		domain = dockerHub
	case domain == "localhost" || strings.ContainsAny(domain, ".:") || strings.ToLower(domain) != domain:
	default:
		domain, rest = dockerHub, s
	}
	if domain == dockerHub && !strings.Contains(rest, "/") {
		rest = official + rest
	}
	return domain, rest
}

const (
	digits       = "0123456789"
	lowerDigits  = "abcdefghijklmnopqrstuvwxyz" + digits
	letterDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZ" + lowerDigits
)

// only says whether s has characters, and none but these.
func only(s, these string) bool { return s != "" && strings.Trim(s, these) == "" }

// isPath knows parts with a / between them.
func isPath(s string) bool {
	for part := range strings.SplitSeq(s, "/") {
		if !isPart(part) {
			return false
		}
	}
	return true
}

// isPart knows words of a-z and 0-9 with one dot, one or two underscores or any dashes between them.
func isPart(s string) bool {
	for {
		rest := strings.TrimLeft(s, lowerDigits)
		if len(rest) == len(s) {
			return false
		}
		if rest == "" {
			return true
		}
		s = strings.TrimLeft(rest, "._-")
		if sep := rest[:len(rest)-len(s)]; sep != "." && sep != "_" && sep != "__" && !only(sep, "-") {
			return false
		}
	}
}

// isDomain knows a host, which may be an IPv6 address in brackets, with or without a port.
func isDomain(s string) bool {
	if in, ok := strings.CutPrefix(s, "["); ok {
		address, port, ok := strings.Cut(in, "]")
		return ok && only(address, "abcdefABCDEF:"+digits) && (port == "" || port[0] == ':' && only(port[1:], digits))
	}
	host, port, ok := strings.Cut(s, ":")
	if ok && !only(port, digits) {
		return false
	}
	for label := range strings.SplitSeq(host, ".") {
		if !only(label, letterDigits+"-") || label[0] == '-' || label[len(label)-1] == '-' {
			return false
		}
	}
	return true
}

func isTag(s string) bool {
	return len(s) <= longestTag && only(s, letterDigits+"_.-") && s[0] != '.' && s[0] != '-'
}

func isDigest(s string) bool {
	algorithm, sum, _ := strings.Cut(s, ":")
	return isHex(sum) && len(sum) == map[string]int{"sha256": 64, "sha384": 96, "sha512": 128}[algorithm]
}

func isHex(s string) bool { return only(s, "abcdef"+digits) }
