package cli

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
)

// What needs rooms is handed over whole once the command line is known to be right, before anything is read; all else is not.
func TestHandOver(t *testing.T) {
	for _, c := range []struct {
		line string
		code int
		over bool
	}{
		{"server --liveness 4s --listen :1", exitFailed, true},
		{"server --liveness 1s", exitUsage, false},
		{"server --log-level loud", exitUsage, false},
		{"server recover", exitFailed, true},
		{"server extra", exitUsage, false},
		{"import compose.yaml --app shop -o json", exitFailed, true},
		{"import -", exitFailed, true},
		{"import compose.yaml --stacks none", exitUsage, false},
		{"import compose.yaml --app Shop", exitUsage, false},
		{"import", exitUsage, false},
		{"image load web.tar --as shop/web:1", exitFailed, true},
		{"image load a b --as c", exitUsage, false},
		{"cluster up --machines 3", exitFailed, true},
		{"cluster up --machines 1 --servers 3", exitUsage, false},
		{"cluster up --memory much", exitUsage, false},
		{"cluster down", exitFailed, true},
		{"cluster list", exitFailed, true},
		{"cluster engine", exitFailed, true},
		{"cluster list --output odd", exitUsage, false},
		{"cluster up --help", exitOK, false},
		{"join --server --cpus 1", exitUsage, false},
		{"version --client", exitOK, false},
		{"schema", exitOK, false},
	} {
		var out, problems bytes.Buffer
		var over [][]string
		in := strings.NewReader("unread")
		args := strings.Fields(c.line)
		code := Main(t.Context(), args, IO{In: in, Out: &out, Err: &problems, LookupEnv: func(string) (string, bool) { return "", false },
			HandOver: func(args []string) error {
				over = append(over, args)
				return errors.New("argosyd is not here")
			}})
		if code != c.code || in.Len() != len("unread") {
			t.Errorf("%s: code %d, want %d, %d bytes unread: %s", c.line, code, c.code, in.Len(), &problems)
		}
		if c.over && (len(over) != 1 || !slices.Equal(over[0], args) || problems.String() != "argosy: argosyd is not here\n") || !c.over && len(over) > 0 {
			t.Errorf("%s: handed over %q: %s", c.line, over, &problems)
		}
	}
}
