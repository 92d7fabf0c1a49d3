package manifest

import (
	"fmt"
	"strings"
)

// splitWords splits a command line as a shell would, without being one: quotes and backslashes are understood, nothing is
// expanded. What only a shell gives meaning to is an error, at the byte offset told.
func splitWords(s string) (words []string, offset int, err error) {
	var word strings.Builder
	inWord := false
	quote, quoteAt := byte(0), 0
	for i := 0; i < len(s); i++ {
		c := s[i]
		switch {
		case c == '\\' && quote != '\'':
			if i+1 == len(s) {
				return nil, i, fmt.Errorf("a backslash stands before nothing")
			}
			i++
			// As in Compose, and unlike in a shell, this is so within double quotes too.
			word.WriteByte(s[i])
			inWord = true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteByte(c)
			}
		case c == '\'' || c == '"':
			quote, quoteAt, inWord = c, i, true
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			if inWord {
				if len(words) == maxWords {
					return nil, i, fmt.Errorf("a command has at most %d words", maxWords)
				}
				words = append(words, word.String())
				word.Reset()
				inWord = false
			}
		case strings.IndexByte(";&|<>()`", c) >= 0:
			return nil, i, &betterError{message: fmt.Sprintf("%s means something to a shell only, and no shell reads this", quoted(string(c))),
				hint: "quote it, or write the command as a list that names a shell: [sh, -c, \"…\"]"}
		default:
			word.WriteByte(c)
			inWord = true
		}
	}
	if quote != 0 {
		return nil, quoteAt, fmt.Errorf("the quote %c is not closed", quote)
	}
	if inWord {
		words = append(words, word.String())
	}
	return words, 0, nil
}
