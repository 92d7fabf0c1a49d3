package unitfile

import "strings"

// A word of a value, without its quotes.
type word struct {
	text     string
	from, to int // bytes of the value, quotes included
}

// splitWords splits a value at blanks as systemd does for lists of units: quotes of both kinds keep blanks in a word, and
// backslashes stay, since they belong to units' names. When a quote is not closed, open is where it stands, and else -1.
func splitWords(value string) (words []word, open int) {
	var b strings.Builder
	for i := 0; i < len(value); {
		if strings.IndexByte(blanks, value[i]) >= 0 {
			i++
			continue
		}
		from, quote, quoteAt := i, byte(0), 0
		b.Reset()
		for ; i < len(value); i++ {
			switch c := value[i]; {
			case quote != 0 && c == quote:
				quote = 0
			case quote != 0:
				b.WriteByte(c)
			case c == '"' || c == '\'':
				quote, quoteAt = c, i
			case strings.IndexByte(blanks, c) >= 0:
				goto done
			default:
				b.WriteByte(c)
			}
		}
	done:
		if quote != 0 {
			return words, quoteAt
		}
		words = append(words, word{b.String(), from, i})
	}
	return words, -1
}

// parseBool reads a boolean as systemd does, and t and f as fleet does.
func parseBool(s string) (is, ok bool) {
	switch strings.ToLower(s) {
	case "1", "yes", "y", "true", "t", "on":
		return true, true
	case "0", "no", "n", "false", "f", "off":
		return false, true
	}
	return false, false
}
