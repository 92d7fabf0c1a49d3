package compose

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

const (
	maxFiles  = 100    // Compose files, extended and included ones counted
	maxValues = 10_000 // of all files, aliases written out
	maxChain  = 64     // services that extend each other, and files that include each other
)

// source is one Compose file.
type source struct {
	name string // as faults call it
	abs  string // where it is; "" for standard input
	data []byte
	root manifest.Node
	base string // the directory that it resolves names of files in, absolute
	// includes are the files that it includes, in order.
	includes []*source
	services map[string]manifest.Node
	followed bool
}

// sources are all Compose files of a project.
type sources struct {
	trees  manifest.Trees
	top    []*source // as given; later ones win
	byAbs  map[string]*source
	files  []*source
	dir    string // of the project, as it was named
	abs    string // the same, absolute
	values int
	faults []manifest.Fault
	env    []string // files with variables beside included files
}

// gather opens the files and those that they extend and include. Nothing outside of the project's directory is opened.
func gather(files []manifest.File) (*sources, bool) {
	s := &sources{byAbs: map[string]*source{}, dir: "."}
	if len(files) == 0 {
		s.faults = append(s.faults, manifest.Fault{Message: "no Compose file was given"})
		return s, false
	}
	if files[0].Name != manifest.Stdin {
		s.dir = filepath.Dir(files[0].Name)
	}
	abs, err := filepath.Abs(s.dir)
	if err != nil {
		s.faults = append(s.faults, manifest.Fault{Message: err.Error()})
		return s, false
	}
	s.abs = abs
	for _, f := range files {
		where := ""
		if f.Name != manifest.Stdin {
			if where, err = filepath.Abs(f.Name); err != nil {
				s.faults = append(s.faults, manifest.Fault{File: f.Name, Message: err.Error()})
				continue
			}
		}
		if src := s.open(f.Name, where, abs, f.Data); src != nil {
			s.top = append(s.top, src)
			s.follow(src, 0)
		}
	}
	return s, len(s.faults) == 0 && len(s.trees.Faults()) == 0
}

// open reads a file as a tree.
func (s *sources) open(name, abs, base string, data []byte) *source {
	src := &source{name: name, abs: abs, base: base, data: data}
	root, ok := s.trees.Open(manifest.File{Name: name, Data: data})
	if !ok {
		return nil
	}
	src.root = root
	s.files = append(s.files, src)
	if abs != "" {
		s.byAbs[abs] = src
	}
	if !root.IsMap() {
		s.faults = append(s.faults, root.Fault("a Compose file is a map", ""))
		return nil
	}
	src.services = map[string]manifest.Node{}
	if services, ok := root.Child("services"); ok {
		for _, name := range services.Keys() {
			src.services[name], _ = services.Child(name)
		}
	}
	if s.values += root.Size(maxValues); s.values > maxValues {
		s.faults = append(s.faults, root.Fault(fmt.Sprintf("the files have more than %d values, aliases written out", maxValues), "import it in parts"))
		return nil
	}
	return src
}

// follow opens what a file extends and includes, once: compose-go finds circles.
func (s *sources) follow(src *source, depth int) {
	if src.followed {
		return
	}
	src.followed = true
	if depth > maxChain {
		s.faults = append(s.faults, src.root.Fault(fmt.Sprintf("files include each other more than %d deep", maxChain), ""))
		return
	}
	for _, name := range sorted(src.services) {
		ext, _ := src.services[name].Child("extends")
		if file, ok := ext.Child("file"); ok {
			if next := s.named(src, file); next != nil && next != src {
				s.follow(next, depth+1)
			}
		}
	}
	inc, _ := src.root.Child("include")
	for _, item := range inc.Items() {
		for _, path := range pathsOf(item) {
			if next := s.named(src, path); next != nil {
				src.includes = append(src.includes, next)
				s.follow(next, depth+1)
			}
		}
		env, _ := item.Child("env_file")
		files := append(env.Items(), env)
		for _, f := range files {
			if text, ok := f.Scalar(); ok && text != "/dev/null" {
				s.envFile(f, src, text)
			}
		}
		if dir, ok := item.Child("project_directory"); ok {
			if text, _ := dir.Scalar(); text != "" {
				s.inside(dir, filepath.Join(src.base, text))
			}
		}
	}
}

// pathsOf are the places where an entry of include names files.
func pathsOf(item manifest.Node) []manifest.Node {
	if item.IsMap() {
		item, _ = item.Child("path")
	}
	if item.IsList() {
		return item.Items()
	}
	if _, ok := item.Scalar(); ok {
		return []manifest.Node{item}
	}
	return nil
}

// inside is false, and a fault, when a path is not below the project's directory, symbolic links followed.
func (s *sources) inside(at manifest.Node, path string) bool {
	rel, err := filepath.Rel(s.abs, path)
	if err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return true
	}
	text, _ := at.Scalar()
	s.faults = append(s.faults, at.Fault(fmt.Sprintf("%q is not below the directory of the first Compose file, so it is not read", text),
		"run argosy import in the directory above both, and name this file on the command line"))
	return false
}

// remote is true for what Compose would fetch from elsewhere.
func remote(path string) bool {
	return strings.Contains(path, "://") || strings.HasPrefix(path, "git@") || strings.HasPrefix(path, "github.com/") || strings.HasPrefix(path, "oci:")
}

// read reads a file below the project's directory.
func (s *sources) read(at manifest.Node, abs string, limit int) ([]byte, bool) {
	if !s.inside(at, abs) {
		return nil, false
	}
	data, err := s.readFile(abs, limit)
	if err != nil {
		text, _ := at.Scalar()
		s.faults = append(s.faults, at.Fault(fmt.Sprintf("the file %q cannot be read: %v", text, err), ""))
		return nil, false
	}
	return data, true
}

// readFile reads a file below the project's directory: a regular one, and no link that leads out of it.
func (s *sources) readFile(abs string, limit int) ([]byte, error) {
	rel, err := filepath.Rel(s.abs, abs)
	if err != nil {
		return nil, err
	}
	return manifest.FilesBelow(filepath.Join(s.abs, "compose.yaml"), filepath.ToSlash(rel), limit)
}

// named opens a file that another one names, once; nil when that cannot be.
func (s *sources) named(from *source, at manifest.Node) *source {
	text, ok := at.Scalar()
	if !ok {
		return nil
	}
	switch {
	case remote(text):
		s.faults = append(s.faults, at.Fault(fmt.Sprintf("%q is elsewhere, and nothing is fetched from the network", text), "fetch it yourself and name the copy"))
		return nil
	case strings.Contains(text, "$"):
		s.faults = append(s.faults, at.Fault("the name of a Compose file has a variable in it", "write the name out"))
		return nil
	}
	abs := text
	if !filepath.IsAbs(abs) {
		abs = filepath.Join(from.base, text)
	}
	if src, open := s.byAbs[abs]; open {
		return src
	}
	if len(s.files) >= maxFiles {
		s.faults = append(s.faults, at.Fault(fmt.Sprintf("there are more than %d Compose files", maxFiles), "import it in parts"))
		return nil
	}
	data, ok := s.read(at, abs, manifest.MaxFileSize)
	if !ok {
		return nil
	}
	name := abs
	if rel, err := filepath.Rel(s.abs, abs); err == nil {
		name = filepath.Join(s.dir, rel)
	}
	src := s.open(name, abs, filepath.Dir(abs), data)
	if src != nil {
		s.envBeside(src)
	}
	return src
}

// envBeside remembers the file .env that Compose reads beside an included file.
func (s *sources) envBeside(src *source) {
	path := filepath.Join(filepath.Dir(src.abs), ".env")
	if info, err := os.Lstat(path); err == nil && !info.IsDir() && path != filepath.Join(s.abs, ".env") {
		s.envFile(src.root, src, path)
	}
}

func (s *sources) envFile(at manifest.Node, src *source, path string) {
	if !filepath.IsAbs(path) {
		path = filepath.Join(src.base, path)
	}
	if !slices.Contains(s.env, path) && s.inside(at, path) {
		if _, err := s.readFile(path, manifest.MaxReadSize); err != nil {
			s.faults = append(s.faults, at.Fault(fmt.Sprintf("the file %q cannot be read: %v", path, err), ""))
			return
		}
		s.env = append(s.env, path)
	}
}
