package archive

import (
	"fmt"
	"path"
	"strings"
)

// What is at a path.
type What int

// Kinds of What. Whatever is not a directory is a file here: a symbolic link too.
const (
	Nothing What = iota
	File
	Directory
)

// Place is where something is put: under a name in a directory that exists. The name "." means that the contents of a
// directory go into that directory.
type Place struct{ Dir, Name string }

// Path is the place as one path.
func (p Place) Path() string { return path.Join(p.Dir, p.Name) }

// Where decides where a copy of src goes when dst is asked for, as cp and docker cp do: into a directory that exists, under
// the name that dst gives otherwise. A src that ends in "/." means the contents of the directory.
func Where(src string, is What, dst string, there What) (Place, error) {
	name := path.Base(src)
	contents := is == Directory && (strings.HasSuffix(src, "/.") || src == "." || name == "/")
	asDirectory := strings.HasSuffix(dst, "/") || strings.HasSuffix(dst, "/.") || dst == "."
	switch {
	case there == Directory && contents:
		return Place{dst, "."}, nil
	case there == Directory && (name == "." || name == ".."):
		return Place{}, fmt.Errorf("%s has no name to copy it under: give one", src)
	case there == Directory:
		return Place{dst, name}, nil
	case there == File && is == Directory:
		return Place{}, fmt.Errorf("%s is no directory, and %s is one: it cannot be copied there", dst, src)
	case is == File && asDirectory && there == File:
		return Place{}, fmt.Errorf("%s is no directory", dst)
	case is == File && asDirectory:
		return Place{}, fmt.Errorf("there is no directory %s: make it first, or leave out the slash to copy under that name", dst)
	}
	clean := path.Clean(dst)
	p := Place{path.Dir(clean), path.Base(clean)}
	if p.Name == ".." || p.Name == "/" {
		return Place{}, fmt.Errorf("%s is no name to copy to", dst)
	}
	return p, nil
}
