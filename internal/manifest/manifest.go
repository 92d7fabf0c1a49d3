package manifest

import (
	"fmt"
	"strings"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// File is one file of a manifest. Name is how faults call it, and where files that it names are looked for.
type File struct {
	Name string
	Data []byte
}

// Options are what a manifest may ask its surroundings. The zero Options know no variables, read no files and grant
// nothing.
type Options struct {
	// LookupEnv answers for variables; nil knows none.
	LookupEnv func(name string) (value string, ok bool)
	// ReadFile reads a file that the manifest of this name mentions, at most limit bytes of it: more is an error. path is
	// relative and never leaves the manifest's directory. Nil refuses every file. [FilesBelow] makes one.
	ReadFile func(manifest, path string, limit int) ([]byte, error)
	Grants   Grants
	// Set is what stands above the files, each PATH=VALUE such as `cluster.lamp=3`; set.go says how.
	Set []string
}

// Parse reads the files of one app. When nothing is wrong, faults is empty and spec is the app; otherwise spec is nil and
// faults is everything that is wrong, sorted by place. Source is never nil: it knows where things stand, and holds the
// notes. The same files and options give the same answer.
func Parse(files []File, opts Options) (spec *argosyv1.AppSpec, source *Source, faults Faults) {
	r := &reader{opts: opts}
	t := tables()
	d := &draft{}
	source = &Source{}
	if len(files) == 0 {
		r.faults.Add(Fault{Message: "no manifest was given"})
	}
	for i, in := range files {
		if i == MaxFiles {
			r.faults.Add(Fault{File: in.Name, Order: i, Message: fmt.Sprintf("too many files: one app may have %d", MaxFiles)})
			break
		}
		f, ok := r.open(i, in)
		if !ok {
			d.incomplete = true
			continue
		}
		source.files = append(source.files, f)
	}
	r.set(source.files, opts.Set, len(files))
	for _, f := range source.files {
		if r.stopped {
			break
		}
		before := len(r.faults.Kept())
		t.app.read(r, value{f: f, n: f.root}, "the manifest", d)
		d.explainCompose(r, f, before)
	}
	if !r.stopped {
		d.check(r)
	}
	source.notes = r.notes.Sorted()
	if len(r.faults.Kept()) == 0 {
		spec = d.build()
		if n := proto.Size(spec); n > MaxSpecSize {
			r.faults.Add(Fault{File: files[0].Name, Message: fmt.Sprintf("the app takes %s; %s are allowed", sizeText(int64(n)), sizeText(MaxSpecSize))}).
				Advise("split it into several apps, or put large contents into images and volumes")
		}
	}
	if faults = r.faults.Sorted(); len(faults) > 0 {
		return nil, source, faults
	}
	return spec, source, nil
}

// Source remembers where the parts of a manifest stand.
type Source struct {
	files []*file
	notes Faults
}

// Notes are what is right but worth knowing, such as a variable that is not set; sorted by place.
func (s *Source) Notes() Faults { return s.notes }

// Fault makes a fault about the part of the manifest at path (`"containers", "web", "image"`), or about its nearest
// parent that is written in the manifest.
func (s *Source) Fault(message string, path ...string) Fault {
	best, depth := Fault{Message: message}, -1
	for _, f := range s.files {
		v := value{f: f, n: f.root}
		if best.File == "" {
			best.File = f.name
		}
		for i, step := range path {
			next, ok := v.child(step)
			if !ok {
				break
			}
			if v = next; i > depth {
				depth = i
				best = v.name().fault(message)
			}
		}
	}
	return best
}

// child finds a key without reporting anything.
func (v value) child(name string) (value, bool) {
	if !v.isMap() {
		return value{}, false
	}
	for i := 0; i+1 < len(v.n.Content); i += 2 {
		if v.n.Content[i].Value == name {
			return v.follow(v.n.Content[i+1], v.n.Content[i]), true
		}
	}
	return value{}, false
}

// explainCompose adds a hint when a file is a Compose file from the start.
func (d *draft) explainCompose(r *reader, f *file, before int) {
	if d.version.at.f == f {
		return
	}
	for _, fault := range r.faults.Kept()[min(before, len(r.faults.Kept())):] {
		if strings.HasPrefix(fault.Message, `the manifest has no "argosy"`) {
			if _, ok := (value{f: f, n: f.root}).child("services"); ok {
				fault.Hint = "this looks like a Compose file: add `argosy: v1` and `app: NAME`, call services containers, and say below stacks and cluster what runs together and how often"
			}
		}
	}
}
