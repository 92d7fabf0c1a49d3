package fault

import (
	"strings"
	"unicode/utf8"
)

// Printable keeps a terminal from obeying what stands in a source. One character stays one character.
func Printable(s string) string {
	return strings.Map(func(c rune) rune {
		if (c < ' ' && c != '\t') || (c >= 0x7f && c < 0xa0) || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) {
			return '\ufffd'
		}
		return c
	}, s)
}

// RuneOffset is the byte at which character n of s begins, or len(s).
func RuneOffset(s string, n int) int {
	for i := range s {
		if n == 0 {
			return i
		}
		n--
	}
	return len(s)
}

// Quoted is a word of the source as it appears in a message: in quotes, made printable, and not too long.
func Quoted(s string) string {
	const most = 60
	if utf8.RuneCountInString(s) > most {
		s = s[:RuneOffset(s, most)] + "…"
	}
	if strings.ContainsAny(s, "\n\t\r") {
		s = strings.NewReplacer("\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(s)
	}
	return `"` + Printable(s) + `"`
}

// Clip makes a text that may have words of the source in it fit for people and terminals.
func Clip(s string) string {
	const most = 400 // characters
	if len(s) > most {
		if cut := RuneOffset(s, most); cut < len(s) {
			s = s[:cut] + "…"
		}
	}
	return Printable(s)
}
