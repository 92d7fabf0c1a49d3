// Package mountinfo reads /proc/…/mountinfo (proc_pid_mountinfo(5)). It is pure; what it reads may have been arranged by
// anybody who may mount something, so that nothing in it is believed before it is bounded and parsed:
//
//	list, err := mountinfo.Parse(text)
//	at, ok := mountinfo.ByID(list, id)
package mountinfo

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// MaxSize is how much of a mountinfo is read. Whoever makes more mounts than fit is not answered with a part of them.
const MaxSize = 32 << 20

// Mount is one line.
type Mount struct {
	ID, Parent   uint64
	Major, Minor uint32
	// Root is the directory of the file system that is mounted: / for all of it.
	Root string
	// Point is where, as the process sees it.
	Point string
	// Options are of this mount, and Super of the file system.
	Options, Super []string
	Type, Source   string
}

// ErrTooLarge tells that there are more mounts than are read.
var ErrTooLarge = errors.New("there are too many mounts to be read")

// Parse reads all lines; one that is not as the kernel writes them is an error, since a mount that is not understood might
// be the one that matters.
func Parse(text []byte) ([]Mount, error) {
	if len(text) > MaxSize {
		return nil, ErrTooLarge
	}
	list := make([]Mount, 0, bytes.Count(text, []byte("\n")))
	for n := 1; len(text) > 0; n++ {
		line, rest, _ := bytes.Cut(text, []byte("\n"))
		text = rest
		if len(line) == 0 {
			continue
		}
		m, err := parseLine(string(line))
		if err != nil {
			return nil, fmt.Errorf("line %d of mountinfo: %w", n, err)
		}
		list = append(list, m)
	}
	return list, nil
}

func parseLine(line string) (Mount, error) {
	fields := strings.Split(line, " ")
	if len(fields) < 10 {
		return Mount{}, fmt.Errorf("%d fields are too few", len(fields))
	}
	// Optional fields go on until a hyphen by itself, and three fields follow it. None of those before can be one: spaces
	// in them are escaped.
	end := -1
	for i := 6; i < len(fields); i++ {
		if fields[i] == "-" {
			end = i
			break
		}
	}
	// An empty source leaves an empty field; what a file system adds to its options has no space in it.
	if end < 0 || len(fields) != end+4 {
		return Mount{}, errors.New("the hyphen is not four fields from the end")
	}
	var m Mount
	var err error
	if m.ID, err = strconv.ParseUint(fields[0], 10, 64); err != nil {
		return Mount{}, errors.New("the id is not a number")
	}
	if m.Parent, err = strconv.ParseUint(fields[1], 10, 64); err != nil {
		return Mount{}, errors.New("the parent is not a number")
	}
	major, minor, _ := strings.Cut(fields[2], ":")
	a, errA := strconv.ParseUint(major, 10, 32)
	b, errB := strconv.ParseUint(minor, 10, 32)
	if errA != nil || errB != nil {
		return Mount{}, errors.New("the device is not two numbers")
	}
	m.Major, m.Minor = uint32(a), uint32(b)
	m.Root, m.Point = unescape(fields[3]), unescape(fields[4])
	m.Options = strings.Split(fields[5], ",")
	m.Type, m.Source = unescape(fields[end+1]), unescape(fields[end+2])
	m.Super = strings.Split(fields[end+3], ",")
	return m, nil
}

// unescape undoes what the kernel does to spaces, tabs, line ends and backslashes: \040.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+3 < len(s) {
			if n, err := strconv.ParseUint(s[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// ByID is the mount of that id.
func ByID(list []Mount, id uint64) (Mount, bool) {
	for _, m := range list {
		if m.ID == id {
			return m, true
		}
	}
	return Mount{}, false
}

// Writable says whether neither the mount nor its file system is read-only.
func (m Mount) Writable() bool {
	for _, list := range [][]string{m.Options, m.Super} {
		for _, o := range list {
			if o == "ro" {
				return false
			}
		}
	}
	return true
}
