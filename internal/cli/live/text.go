package live

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/charmbracelet/x/ansi"

	"github.com/argosy-cluster/argosy/internal/cli/words"
)

// cell is a piece of text with the style it has where colour is wanted.
type cell struct {
	text  string
	style words.Style
}

// maxText is how much of a text is looked at: no terminal shows more of it.
const maxText = 4096

// clean makes one line of text that came from elsewhere, with nothing in it that a terminal would obey.
func clean(s string) string {
	if len(s) > maxText {
		s = s[:maxText]
	}
	if isPlain(s) {
		return s
	}
	s = ansi.Strip(strings.ToValidUTF8(s, "\uFFFD"))
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || r == utf8.RuneError:
			return '\uFFFD'
		}
		return r
	}, s)
	return words.OneLine(s)
}

// isPlain reports whether a text is printable ASCII, where every byte is one column wide.
func isPlain(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}

// width is how many columns a clean text takes.
func width(s string) int {
	if isPlain(s) {
		return len(s)
	}
	return ansi.StringWidth(s)
}

// head is the beginning of a text, with … where it goes on.
func head(s string, n int) string {
	switch {
	case n <= 0:
		return ""
	case width(s) <= n:
		return s
	}
	return ansi.Truncate(s, n, "…")
}

// middle shortens a name in its middle: what tells names apart stands at both ends.
func middle(s string, n int) string {
	w := width(s)
	switch {
	case n <= 0:
		return ""
	case w <= n:
		return s
	case n < 4:
		return head(s, n)
	}
	left := (n - 1) / 2
	begin := ansi.Truncate(s, left, "") + "…"
	for cut := w - (n - 1 - left); ; cut++ { // a wide character is not cut in two
		if out := begin + ansi.TruncateLeft(s, cut, ""); width(out) <= n || cut >= w {
			return out
		}
	}
}

// pad fills a text up to n columns, on the left for numbers. A text that is wider is the caller's to shorten before.
func pad(s string, n int, right bool) string {
	room := n - width(s)
	switch {
	case room <= 0:
		return s
	case right:
		return strings.Repeat(" ", room) + s
	}
	return s + strings.Repeat(" ", room)
}

// bar draws how much of total is used and how much is reserved beyond that: ██▒▒······.
func bar(used, reserved, total int64, n int) string {
	if total <= 0 || n <= 0 {
		return ""
	}
	blocks := func(v int64) int {
		return min(max(int((float64(v)*float64(n)/float64(total))+0.5), 0), n)
	}
	u := blocks(used)
	r := max(blocks(reserved), u)
	return strings.Repeat("█", u) + strings.Repeat("▒", r-u) + strings.Repeat("·", n-r)
}

// natural makes a text whose plain order is how people count: m2 before m10.
func natural(s string) string {
	const digits = 10
	var b strings.Builder
	for i := 0; i < len(s); {
		j := i
		for j < len(s) && s[j] >= '0' && s[j] <= '9' {
			j++
		}
		if j == i {
			b.WriteByte(s[i])
			i++
			continue
		}
		number := strings.TrimLeft(s[i:j], "0")
		b.WriteString(strings.Repeat("0", max(digits-len(number), 0)))
		b.WriteString(number)
		i = j
	}
	return b.String()
}

func equalFold(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "/s"), strings.TrimSuffix(b, "/s"))
}
