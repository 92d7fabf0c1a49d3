package volume

import (
	"context"
	"maps"
	"path"
	"sync"
)

// Shelf is storage in memory that several [Fake] drivers reach, as several machines do. It is for tests of what uses drivers.
type Shelf struct {
	mu   sync.Mutex
	uuid int
	held map[string]*Stored // by source
}

// Stored is what is on a Shelf at one source. Fields may be changed by [Shelf.Change] only.
type Stored struct {
	UUID string // of its file system; none when it is empty
	Mark *Mark
	// Others: it holds files that no volume put there.
	Others bool
	// Twice: there is a second one that looks the same.
	Twice bool
	// Damaged: its file system cannot be repaired unasked.
	Damaged  bool
	ReadOnly bool
	// Mounted says on which fakes something is mounted, at which places.
	Mounted map[*Fake]map[string]bool
	Files   map[string]string
}

// NewShelf makes an empty shelf.
func NewShelf() *Shelf { return &Shelf{held: map[string]*Stored{}} }

// Change changes what is at a source, which is put there empty when nothing is. A nil f takes it away.
func (s *Shelf) Change(source string, f func(*Stored)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f == nil {
		delete(s.held, source)
		return
	}
	if s.held[source] == nil {
		s.held[source] = &Stored{Mounted: map[*Fake]map[string]bool{}, Files: map[string]string{}}
	}
	f(s.held[source])
}

// Fake is a driver of one machine, in memory, for volumes with a Device. It keeps the promises of [Driver], mmp included.
type Fake struct {
	shelf *Shelf
	// published are the paths that there are, by claim's place.
	published map[string]*Stored
}

var _ Driver = (*Fake)(nil)

// NewFake is the driver of one more machine that reaches a shelf.
func NewFake(s *Shelf) *Fake { return &Fake{shelf: s, published: map[string]*Stored{}} }

func placeOf(c Claim) string { return path.Join("/", c.Volume.Name, c.Token.String()) }

// look is what both Attach and Stage find; the shelf is locked.
func (f *Fake) look(v Volume) (*Stored, error) {
	if v.Device == nil {
		return nil, Refuse(Misdescribed, "volume %s names no device", v.Name)
	}
	st := f.shelf.held[v.Device.Source]
	switch {
	case st == nil:
		return nil, Refuse(Absent, "no device is %s", v.Device.Source)
	case st.Twice:
		return nil, Refuse(Ambiguous, "%s is there twice", v.Device.Source)
	case st.Others:
		return nil, Refuse(Foreign, "%s holds files that no volume put there", v.Device.Source)
	case st.UUID == "" && v.UUID != "":
		return nil, Refuse(Foreign, "%s is empty, and volume %s was used before", v.Device.Source, v.Name)
	case st.UUID == "" && !v.Device.Create:
		return nil, Refuse(Foreign, "%s is empty", v.Device.Source)
	case st.Mark != nil:
		return st, Claim{Volume: v, Token: st.Mark.Token}.Judge(st.Mark, st.UUID)
	}
	return st, nil
}

// Attach finds what is at the volume's source.
func (f *Fake) Attach(ctx context.Context, v Volume) (Attached, error) {
	f.shelf.mu.Lock()
	defer f.shelf.mu.Unlock()
	st, err := f.look(v)
	if err != nil {
		return Attached{}, err
	}
	return Attached{At: v.Device.Source, UUID: st.UUID, Blank: st.UUID == "", Detects: true}, ctx.Err()
}

// Stage mounts it, unless it is mounted anywhere.
func (f *Fake) Stage(ctx context.Context, c Claim) error {
	f.shelf.mu.Lock()
	defer f.shelf.mu.Unlock()
	st, err := f.look(c.Volume)
	if err != nil {
		return err
	}
	if st.Mounted[f][placeOf(c)] {
		return nil
	}
	for _, places := range st.Mounted {
		if len(places) > 0 {
			return Refuse(Busy, "%s is mounted", c.Volume.Device.Source)
		}
	}
	switch {
	case st.Damaged:
		return Refuse(Damaged, "%s is damaged", c.Volume.Device.Source)
	case ctx.Err() != nil:
		return ctx.Err()
	case st.UUID == "":
		f.shelf.uuid++
		st.UUID = "00000000-0000-4000-8000-" + Token{Revision: uint64(f.shelf.uuid)}.String()
	}
	st.Mounted[f] = map[string]bool{placeOf(c): true}
	return nil
}

// Publish verifies what is staged.
func (f *Fake) Publish(ctx context.Context, c Claim) (Published, error) {
	f.shelf.mu.Lock()
	defer f.shelf.mu.Unlock()
	st, err := f.look(c.Volume)
	if err != nil {
		return Published{}, err
	}
	switch {
	case !st.Mounted[f][placeOf(c)]:
		return Published{}, Refuse(Unverified, "nothing is mounted at %s", placeOf(c))
	case st.ReadOnly:
		return Published{}, Refuse(ReadOnly, "%s is read-only", c.Volume.Device.Source)
	case ctx.Err() != nil:
		return Published{}, ctx.Err()
	}
	if err := c.Judge(st.Mark, st.UUID); err != nil {
		return Published{}, err
	}
	st.Mark = &Mark{c.Volume.Name, st.UUID, c.Token}
	at := path.Join(placeOf(c), DataName)
	f.published[at] = st
	return Published{Path: at, UUID: st.UUID}, nil
}

// Unpublish takes the path away.
func (f *Fake) Unpublish(_ context.Context, c Claim) error {
	f.shelf.mu.Lock()
	defer f.shelf.mu.Unlock()
	delete(f.published, path.Join(placeOf(c), DataName))
	return nil
}

// Unstage unmounts.
func (f *Fake) Unstage(_ context.Context, c Claim) error {
	f.shelf.mu.Lock()
	defer f.shelf.mu.Unlock()
	if f.published[path.Join(placeOf(c), DataName)] != nil {
		return Refuse(Busy, "%s is published", placeOf(c))
	}
	for _, st := range f.shelf.held {
		delete(st.Mounted[f], placeOf(c))
	}
	return nil
}

// Quiet says whether this machine has it mounted.
func (f *Fake) Quiet(_ context.Context, v Volume) error {
	f.shelf.mu.Lock()
	defer f.shelf.mu.Unlock()
	if v.Device == nil || f.shelf.held[v.Device.Source] == nil {
		return Refuse(Absent, "whether %s is quiet cannot be told", v.Name)
	}
	if places := f.shelf.held[v.Device.Source].Mounted[f]; len(places) > 0 {
		for p := range maps.Keys(places) {
			return Refuse(Busy, "it is mounted at %s", p)
		}
	}
	return nil
}

// Write writes a file at a published path, as a container would.
func (f *Fake) Write(at, name, text string) error {
	f.shelf.mu.Lock()
	defer f.shelf.mu.Unlock()
	st := f.published[at]
	if st == nil {
		return Refuse(Absent, "there is no path %s", at)
	}
	st.Files[name] = text
	return nil
}

// Read reads one.
func (f *Fake) Read(at, name string) (string, error) {
	f.shelf.mu.Lock()
	defer f.shelf.mu.Unlock()
	st := f.published[at]
	if st == nil {
		return "", Refuse(Absent, "there is no path %s", at)
	}
	return st.Files[name], nil
}
