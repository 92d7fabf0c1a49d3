package volume

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// On the file system of a volume are, in its root, the mark and the directory with the data. Containers see only the
// latter: neither the mark nor lost+found is in an application's way, nor within its reach.
const (
	MarkName = ".argosy-volume"
	DataName = "data"
)

// MaxMark bounds a mark, in bytes.
const MaxMark = 4096

// Mark says on the storage itself whose volume it is, and the highest token that wrote it.
type Mark struct {
	Volume string
	// UUID is that of the file system the mark was written for; a copy of the files elsewhere is not the volume.
	UUID  string
	Token Token
}

type markFile struct {
	Volume string `json:"volume"`
	UUID   string `json:"uuid,omitempty"`
	Token  string `json:"token,omitempty"`
}

// Encode is the mark as a file.
func (m Mark) Encode() []byte {
	b, err := json.MarshalIndent(markFile{m.Volume, m.UUID, m.Token.String()}, "", "  ")
	if err != nil {
		return nil // three strings are always JSON
	}
	return append(b, '\n')
}

// ParseMark reads a mark that anybody may have written. One by hand needs only the volume: it has no token yet.
func ParseMark(b []byte) (Mark, error) {
	if len(b) > MaxMark {
		return Mark{}, fmt.Errorf("it has more than %d bytes", MaxMark)
	}
	var f markFile
	if err := json.Unmarshal(b, &f); err != nil {
		return Mark{}, fmt.Errorf("it is not the JSON of a mark: %w", err)
	}
	m := Mark{Volume: f.Volume, UUID: f.UUID}
	if err := CheckName(f.Volume); err != nil {
		return Mark{}, err
	}
	if f.Token == "" {
		return m, nil
	}
	token, err := claims.ParseStamp(f.Token)
	if err := errors.Join(err, claims.CheckToken(token)); err != nil {
		return Mark{}, err
	}
	m.Token = token
	return m, nil
}

// CheckName refuses what is not TENANT/APP/STACK.NUMBER/VOLUME. It becomes part of a path.
func CheckName(name string) error {
	parts := strings.Split(name, "/")
	bad := len(name) > 400 || len(parts) != 4
	for _, p := range parts {
		bad = bad || p == "" || p == "." || p == ".." || strings.Trim(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_@:\\") != ""
	}
	if bad {
		return fmt.Errorf("%q is not the name of a volume, TENANT/APP/STACK.NUMBER/VOLUME", clip(name))
	}
	return nil
}

// Judge says whether a claim may write storage with this mark; nil is the mark of storage that has none. uuid is that of
// the storage. The mark of storage without an own UUID gives its.
func (c Claim) Judge(m *Mark, uuid string) error {
	v := c.Volume
	switch {
	case v.UUID != "" && uuid != "" && v.UUID != uuid:
		return Refuse(Foreign, "the file system there is %s, and volume %s is on %s; bring back the device that held it", uuid, v.Name, v.UUID)
	case m == nil && v.UUID != "":
		return Refuse(Foreign, "volume %s was used before, and the file system has no mark of it (%s); look at what is on it: it may be another one", v.Name, MarkName)
	case m == nil:
		return nil
	case m.Volume != v.Name:
		return Refuse(Foreign, "the file system is that of volume %s, not of %s; correct the manifest, or remove %s from it if that volume is given up", m.Volume, v.Name, MarkName)
	case m.UUID != "" && uuid != "" && m.UUID != uuid:
		return Refuse(Foreign, "the mark of volume %s was written for the file system %s, and this is %s: a copy; remove %s from the copy if it shall be the volume from now on", v.Name, m.UUID, uuid, MarkName)
	case c.Token.Less(m.Token):
		return Refuse(Overtaken, "token %s is over: %s has written volume %s since", c.Token, m.Token, v.Name)
	}
	return nil
}
