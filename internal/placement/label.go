package placement

import (
	"fmt"
	"strings"
)

// maxLabel is how many characters a label's key and its value have at most.
const maxLabel = 63

// Labels: keys are names as in manifests, with dots and slashes for those that need a prefix; values are short and printable, so
// that they can stand in an expression.

// CheckKey says what keeps a text from being the key of a machine's label.
func CheckKey(key string) error {
	if !labelled(key, "_./-") || key == "" || !letter(key[0]) || key == Machine {
		return fmt.Errorf("%.80q cannot be a label's key: it starts with a letter, has letters, digits and _ . / - only, at most %d, and is not %q", key, maxLabel, Machine)
	}
	return nil
}

// CheckValue says what keeps a text from being the value of a machine's label.
func CheckValue(key, value string) error {
	if !labelled(value, "_.:/@-") {
		return fmt.Errorf("%.80q cannot be the value of label %s: letters, digits and _ . : / @ - only, at most %d", value, key, maxLabel)
	}
	return nil
}

func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

func labelled(s, also string) bool {
	for i := range len(s) {
		if !letter(s[i]) && (s[i] < '0' || s[i] > '9') && strings.IndexByte(also, s[i]) < 0 {
			return false
		}
	}
	return len(s) <= maxLabel
}

// OneOf is the expression that a label has one of some values. The key and the values are fit for labels.
func OneOf(key string, values []string) (Expr, error) {
	quoted := make([]string, len(values))
	for i, v := range values {
		if err := CheckValue(key, v); err != nil {
			return Expr{}, err
		}
		quoted[i] = `"` + v + `"`
	}
	if len(values) == 1 {
		return Parse(key + " == " + quoted[0])
	}
	return Parse(key + " in (" + strings.Join(quoted, ", ") + ")")
}
