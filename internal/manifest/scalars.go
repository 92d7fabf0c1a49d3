package manifest

import (
	"fmt"
	"math"
	"net/netip"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/argosy-cluster/argosy/internal/reference"
)

// checkName says what keeps s from being a name: names become DNS labels.
func checkName(s string) error {
	problem := ""
	switch {
	case s == "":
		return &betterError{message: "a name is empty"}
	case len(s) > 63:
		problem = fmt.Sprintf("has %d characters; 63 are allowed", len(s))
	case s[0] < 'a' || s[0] > 'z':
		problem = "does not begin with a small letter"
	case s[len(s)-1] == '-':
		problem = "ends with a hyphen"
	}
	if problem == "" {
		for _, c := range s {
			if (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
				problem = fmt.Sprintf("has the character %s in it", quoted(string(c)))
				break
			}
		}
	}
	if problem == "" {
		return nil
	}
	return &betterError{message: fmt.Sprintf("the name %s %s", quoted(s), problem), suggestion: nameLike(s),
		hint: "names are DNS labels: small letters, digits and hyphens, beginning with a letter"}
}

// nameLike is a good name that is like s, or "".
func nameLike(s string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(s[:min(len(s), 63)]) {
		switch {
		case c >= 'a' && c <= 'z', b.Len() > 0 && c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && (c == '_' || c == '.' || c == '-' || c == ' '):
			b.WriteByte('-')
		}
	}
	return strings.TrimRight(b.String(), "-")
}

// name is a name that Argosy gives meaning to: of an app, a container, a stack, a volume.
func name() shape[string] {
	return strict(parsed("name", variable(nameSchema()), func(s string) (string, error) { return s, checkName(s) }))
}

func nameSchema() jsonSchema {
	return jsonSchema{"type": "string", "pattern": "^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$",
		"patternErrorMessage": "names are DNS labels: small letters, digits and hyphens, beginning with a letter"}
}

// units of time, longest spelling first.
var timeUnits = []struct {
	word string
	unit time.Duration
}{
	{"us", time.Microsecond}, {"µs", time.Microsecond}, {"ms", time.Millisecond}, {"s", time.Second},
	{"m", time.Minute}, {"h", time.Hour}, {"d", 24 * time.Hour}, {"w", 7 * 24 * time.Hour},
}

// parseDuration reads Compose's durations: `1m30s`, `500ms`, `2.5s`.
func parseDuration(s string) (time.Duration, error) {
	bad := func() (time.Duration, error) {
		err := &betterError{message: fmt.Sprintf("%s is not a duration", quoted(s)), hint: "write a number and a unit: 500ms, 10s, 1m30s, 2h"}
		if _, e := strconv.ParseFloat(s, 64); e == nil {
			err.suggestion = s + "s"
		}
		return 0, err
	}
	if s == "0" {
		return 0, nil
	}
	rest, total := s, 0.0
	if rest == "" {
		return bad()
	}
	for rest != "" {
		digits := 0
		for digits < len(rest) && (rest[digits] >= '0' && rest[digits] <= '9' || rest[digits] == '.') {
			digits++
		}
		n, err := strconv.ParseFloat(rest[:digits], 64)
		if err != nil {
			return bad()
		}
		rest = rest[digits:]
		unit := time.Duration(0)
		for _, u := range timeUnits {
			if strings.HasPrefix(rest, u.word) {
				unit, rest = u.unit, rest[len(u.word):]
				break
			}
		}
		if unit == 0 {
			return bad()
		}
		total += n * float64(unit)
	}
	if total > float64(maxDuration) {
		return 0, fmt.Errorf("%s is longer than a year", quoted(s))
	}
	return time.Duration(math.Round(total)), nil
}

func duration() shape[time.Duration] {
	return parsed("duration such as `1m30s`",
		jsonSchema{"anyOf": []any{jsonSchema{"const": 0}, jsonSchema{"type": "string", "pattern": `^([0-9.]+(us|µs|ms|s|m|h|d|w))+$|^0$|\$`,
			"patternErrorMessage": "a duration is a number and a unit: 500ms, 10s, 1m30s, 2h"}}}, parseDuration)
}

// parseBytes reads Compose's sizes: `512`, `64k`, `256mb`, `1.5GiB`; k, m, g, t are powers of 1024.
func parseBytes(s string) (int64, error) {
	digits := 0
	for digits < len(s) && (s[digits] >= '0' && s[digits] <= '9' || s[digits] == '.') {
		digits++
	}
	n, err := strconv.ParseFloat(s[:digits], 64)
	shift, known := byteUnit(strings.TrimPrefix(s[digits:], " "))
	if err != nil || !known {
		return 0, &betterError{message: fmt.Sprintf("%s is not a size", quoted(s)),
			hint: "write a number of bytes, or with a unit: 64k, 256m, 1.5g, 1GiB"}
	}
	n *= float64(int64(1) << shift)
	if n > maxMemory {
		return 0, fmt.Errorf("%s is more than a pebibyte", quoted(s))
	}
	return int64(n), nil
}

// byteUnit is the power of two that a unit stands for: `m`, `MB` and `MiB` are 20.
func byteUnit(unit string) (shift uint, ok bool) {
	unit = strings.ToLower(unit)
	if unit == "" || unit == "b" {
		return 0, true
	}
	switch unit[1:] {
	case "", "b", "i", "ib":
	default:
		return 0, false
	}
	i := strings.IndexByte("kmgt", unit[0])
	return uint(i+1) * 10, i >= 0
}

func bytesSize() shape[int64] {
	return parsed("size such as `256m` or `1GiB`", sizeSchema(), parseBytes)
}

func sizeSchema() jsonSchema {
	return jsonSchema{"anyOf": []any{jsonSchema{"type": "integer", "minimum": 0},
		jsonSchema{"type": "string", "pattern": `^[0-9.]+ ?([kKmMgGtT]?[bB]?|[kKmMgGtT][iI][bB]?)$|\$`,
			"patternErrorMessage": "a size is a number of bytes, or one with a unit: 64k, 256m, 1.5g, 1GiB"}}}
}

// parseMemory is a size that the engine takes as a memory limit; 0 is none.
func parseMemory(s string) (int64, error) {
	n, err := parseBytes(s)
	if err == nil && n > 0 && n < minMemory {
		err := &betterError{message: fmt.Sprintf("%s is less than a container can live in", quoted(s)), hint: "the least is 6m"}
		if _, e := strconv.ParseFloat(s, 64); e == nil {
			err.suggestion = s + "m"
		}
		return 0, err
	}
	return n, err
}

func memory() shape[int64] {
	return parsed("size such as `256m` or `1GiB`", sizeSchema(), parseMemory)
}

// parseCPU reads a number of cpus into thousandths, rounded up; 0 is none.
func parseCPU(s string) (int64, error) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(n) || strings.ContainsAny(s, "xXpP_") {
		bad := &betterError{message: fmt.Sprintf("%s is not a number of cpus", quoted(s)), hint: "write 0.5 for half a cpu, 2 for two"}
		if m, e := strconv.ParseFloat(strings.TrimSuffix(s, "m"), 64); e == nil {
			bad.suggestion = strconv.FormatFloat(m/1000, 'g', 6, 64)
		}
		return 0, bad
	}
	if n == 0 {
		return 0, nil
	}
	if n < 0 || n*1000 < minCPUMilli || n*1000 > maxCPUMilli {
		return 0, fmt.Errorf("%s cpus is not between %g and %d", s, minCPUMilli/1000.0, maxCPUMilli/1000)
	}
	return int64(math.Ceil(n*1000 - 1e-6)), nil
}

func cpus() shape[int64] {
	return parsed("number of cpus such as `0.5`", jsonSchema{"anyOf": []any{jsonSchema{"type": "number", "minimum": 0},
		jsonSchema{"type": "string", "pattern": `^[0-9.]+$|\$`}}}, parseCPU)
}

// parseImage checks an image reference and gives it back as written.
func parseImage(s string) (string, error) {
	const longest = 1024
	if len(s) > longest {
		return "", fmt.Errorf("an image reference has at most %d bytes", longest)
	}
	if _, err := reference.Parse(s); err != nil {
		better := &betterError{message: fmt.Sprintf("%s is not an image reference", quoted(s)),
			hint: "write NAME:TAG, REGISTRY/NAME:TAG or NAME@sha256:DIGEST"}
		if lower := strings.ToLower(s); lower != s {
			if _, err := reference.Parse(lower); err == nil {
				better.suggestion = lower
			}
		}
		return "", better
	}
	return s, nil
}

// parsePath checks an absolute path within a container.
func parsePath(s string) (string, error) {
	clean := path.Clean(s)
	switch {
	case !strings.HasPrefix(s, "/"):
		return "", &betterError{message: fmt.Sprintf("%s is not an absolute path", quoted(s)), suggestion: path.Clean("/" + s)}
	case clean == "/":
		return "", fmt.Errorf("%s is the container's whole file system", quoted(s))
	}
	return clean, nil
}

func absolutePath() shape[string] {
	return parsed("absolute path", variable(jsonSchema{"type": "string", "pattern": "^/"}), parsePath)
}

// parseMode reads permission bits: 0440, or "0440", or 0o440.
func parseMode(s string) (uint32, error) {
	digits := strings.TrimPrefix(strings.TrimPrefix(s, "0o"), "0")
	if digits == "" {
		digits = "0"
	}
	n, err := strconv.ParseUint(digits, 8, 32)
	if err != nil || n > 0o7777 {
		return 0, &betterError{message: fmt.Sprintf("%s is not a file mode", quoted(s)), hint: "write it in octal: 0440"}
	}
	if s[0] != '0' && len(s) <= 3 {
		return 0, &betterError{message: fmt.Sprintf("the file mode %s is not written in octal", quoted(s)), suggestion: "0" + s}
	}
	return uint32(n), nil
}

func mode() shape[uint32] {
	return parsed("file mode such as `0440`", jsonSchema{"anyOf": []any{jsonSchema{"type": "integer", "minimum": 0, "maximum": 0o7777},
		jsonSchema{"type": "string", "pattern": `^0o?[0-7]+$|\$`}}}, parseMode)
}

// ipSchema knows an address from another word; which ones there are only the parser knows.
func ipSchema() jsonSchema {
	return variable(jsonSchema{"type": "string", "pattern": `^\[?[0-9A-Fa-f.:]+(%[^ ]+)?\]?$`, "patternErrorMessage": "this is not an IP address"})
}

func parseIP(s string) (string, error) {
	bare := strings.TrimSuffix(strings.TrimPrefix(s, "["), "]")
	a, err := netip.ParseAddr(bare)
	if err != nil {
		return "", fmt.Errorf("%s is not an IP address", quoted(s))
	}
	return a.String(), nil
}

// parseHost checks a host or domain name.
func parseHost(s string) (string, error) {
	bad := func() (string, error) { return "", fmt.Errorf("%s is not a host name", quoted(s)) }
	if s == "" || len(s) > 253 {
		return bad()
	}
	for _, label := range strings.Split(strings.TrimSuffix(s, "."), ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
			return bad()
		}
		for _, c := range label {
			if (c|0x20 < 'a' || c|0x20 > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' {
				return bad()
			}
		}
	}
	return s, nil
}

func host() shape[string] {
	return strict(parsed("host name", jsonSchema{"type": "string", "minLength": 1}, parseHost))
}
