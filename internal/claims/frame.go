package claims

import (
	"bytes"
	"fmt"
	"hash/crc32"
	"strconv"
)

// Frame makes the bytes of a file of which every changed bit is noticed: a line that says what it is, how long and its
// checksum, and the text itself. What comes after it in a preallocated file does not matter.
func Frame(kind string, text []byte) []byte {
	head := fmt.Sprintf("argosy-%s %d %08x\n", kind, len(text), checksum(kind, text))
	return append([]byte(head), text...)
}

// MaxFrame bounds what Unframe reads.
const MaxFrame = 64 << 20

// Unframe returns the text of a frame, or why it is none.
func Unframe(kind string, file []byte) ([]byte, error) {
	line, rest, ok := bytes.Cut(file[:min(len(file), 128)], []byte("\n"))
	if !ok {
		return nil, fmt.Errorf("this is no file of argosy-%s: its first line is missing", kind)
	}
	words := bytes.Split(line, []byte(" "))
	if len(words) != 3 || string(words[0]) != "argosy-"+kind {
		return nil, fmt.Errorf("this is no file of argosy-%s: it begins with %.40q", kind, line)
	}
	n, err := strconv.ParseUint(string(words[1]), 10, 32)
	rest = file[len(file[:min(len(file), 128)])-len(rest):]
	if err != nil || n > MaxFrame || int(n) > len(rest) {
		return nil, fmt.Errorf("the file of argosy-%s is shorter than the %.20q bytes that it claims", kind, words[1])
	}
	text := rest[:n]
	if want := fmt.Sprintf("%08x", checksum(kind, text)); string(words[2]) != want {
		return nil, fmt.Errorf("the file of argosy-%s is damaged: checksum %.20q, and its text has %s", kind, words[2], want)
	}
	return text, nil
}

func checksum(kind string, text []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli)
	return crc32.Update(crc32.Checksum([]byte(kind+strconv.Itoa(len(text))), table), table, text)
}
