package compose

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

// Options say how to import.
type Options struct {
	// App is the app's name. Without it, it is the project's.
	App string
	// Profiles are switched on.
	Profiles []string
	// EnvFiles take the place of the file .env beside the first Compose file.
	EnvFiles []string
	// Dir is the directory that the manifest will be in; "" is that of the first Compose file. Files that the manifest names
	// must be below it.
	Dir string
	// Stacks says which services form a stack.
	Stacks Stacks
	// BindsAsVolumes makes volumes of directories of the host.
	BindsAsVolumes bool
	// Partial writes a manifest although something had to be left out of it that matters.
	Partial bool
	// LookupEnv answers for variables; nil knows none.
	LookupEnv func(name string) (value string, ok bool)
}

// Stacks says which services form a stack.
type Stacks string

// The ways to form stacks.
const (
	// StacksAuto puts everything into one, save services with several replicas and those on each machine.
	StacksAuto Stacks = "auto"
	// StacksEach gives each service a stack of its own.
	StacksEach Stacks = "each"
	// StacksOne puts everything into one, each service once.
	StacksOne Stacks = "one"
)

// Result is what became of the files.
type Result struct {
	// Manifest is nil when there are faults.
	Manifest []byte
	App      string
	// Notes are what was left out or changed, and what to do next. With Options.Partial also what was refused.
	Notes manifest.Faults
	// Faults are what the manifest cannot say.
	Faults manifest.Faults
}

// importer is one import.
type importer struct {
	opts   Options
	src    *sources
	vars   *variables
	model  map[string]any
	names  *names
	faults []manifest.Fault
	notes  []manifest.Fault

	app      string
	services []*service
	bySource map[string]*service
	said     []mention
	stacks   []*stack
	configs  *configs
	todo     []string // what to do before applying, as lines of the header
	seen     map[string]bool
}

// Import turns the files of one Compose project into a manifest. It reads the files that they name, and nothing else; it
// never asks the network.
func Import(files []manifest.File, opts Options) Result {
	im := &importer{opts: opts, seen: map[string]bool{}}
	if opts.Stacks == "" {
		im.opts.Stacks = StacksAuto
	}
	var ok bool
	if im.src, ok = gather(files); !ok {
		return Result{Faults: manifest.Gather(append(im.src.faults, im.src.trees.Faults()...))}
	}
	if faults := im.readVariables(); len(faults) > 0 {
		return Result{Faults: manifest.Gather(faults)}
	}
	if fault, over := im.tooManyPorts(); over {
		return Result{Faults: manifest.Gather([]manifest.Fault{fault})}
	}
	if fault, failed := im.load(); failed {
		return Result{Faults: manifest.Gather([]manifest.Fault{fault})}
	}
	root, ok := im.translate()
	if !ok {
		return Result{Faults: manifest.Gather(im.faults)}
	}
	text := im.settle(root)
	res := Result{Manifest: text, App: im.app, Notes: manifest.Gather(im.notes)}
	switch {
	case len(im.faults) > 0 && (!opts.Partial || text == nil):
		res.Manifest, res.Faults = nil, manifest.Gather(im.faults)
	case len(im.faults) > 0:
		res.Notes = manifest.Gather(append(im.notes, im.faults...))
	}
	return res
}

// outDir is the directory that the manifest will be in, absolute.
func (im *importer) outDir() string {
	if im.opts.Dir == "" {
		return im.src.abs
	}
	abs, err := filepath.Abs(im.opts.Dir)
	if err != nil {
		return im.src.abs
	}
	return abs
}

// below is a file of the host as a manifest in outDir names it, or false when it is not below that.
func (im *importer) below(path string) (string, bool) {
	rel, err := filepath.Rel(im.outDir(), path)
	if err != nil || rel == ".." || strings.HasPrefix(rel, ".."+string(filepath.Separator)) {
		return "", false
	}
	return filepath.ToSlash(rel), true
}

// note reports what is worth knowing, once.
func (im *importer) note(at manifest.Node, format string, args ...any) {
	f := at.Fault(fmt.Sprintf(format, args...), "")
	if key := f.String(); !im.seen[key] {
		im.seen[key] = true
		im.notes = append(im.notes, f)
	}
}

// refuse reports what cannot be carried over, with the nearest thing there is. The node then stands in the manifest as a
// comment.
func (im *importer) refuse(at manifest.Node, n *node, what, instead string) {
	im.faults = append(im.faults, at.Fault(what, instead))
	n.refused = what
	if instead != "" {
		n.refused += ": " + instead
	}
}

// before adds a line to what the header says is to be done before applying.
func (im *importer) before(line string) {
	for _, l := range im.todo {
		if l == line {
			return
		}
	}
	im.todo = append(im.todo, line)
}
