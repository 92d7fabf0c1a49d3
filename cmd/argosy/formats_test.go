package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"reflect"
	"slices"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
	"go.yaml.in/yaml/v4"
)

// formats runs a command with every output format:
//
//	formats [-before COMMAND] NAMES argosy COMMAND...
//
// -o json has to be JSON, -o yaml the same documents, -o name the names (with commas between; * are any, - is none), and -o wide what
// -o table is, with columns more. What the two readings of JSON before and after do not agree on, such as ages, YAML need
// not agree on either. Negated, the command has to end with exit code 2, otherwise with 0. COMMAND goes before each run,
// where one run takes away what the next needs: what such runs make is different each time, such as a backup's size, so that YAML
// has to have the same fields there, with values of the same kind.
func formats(ts *testscript.TestScript, neg bool, args []string) {
	var before []string
	if len(args) > 2 && args[0] == "-before" {
		before, args = strings.Fields(args[1]), args[2:]
	}
	if len(args) < 3 {
		ts.Fatalf("usage: formats [-before COMMAND] NAMES argosy COMMAND...")
	}
	names, command := args[0], args[1:]
	run := func(format string) string {
		if before != nil {
			ts.Check(ts.Exec(before[0], before[1:]...))
		}
		err := ts.Exec(command[0], append(slices.Clone(command[1:]), "-o", format)...)
		var exit *exec.ExitError
		if neg && (!errors.As(err, &exit) || exit.ExitCode() != 2) {
			ts.Fatalf("-o %s: %v, wanted exit code 2", format, err)
		}
		if !neg && err != nil {
			ts.Fatalf("-o %s: %v", format, err)
		}
		return ts.ReadFile("stdout")
	}
	table, wide := strings.Fields(firstLine(run("table"))), strings.Fields(firstLine(run("wide")))
	if isHeader(table) {
		for _, column := range table {
			if !slices.Contains(wide, column) {
				ts.Fatalf("-o wide lacks the column %s: %v", column, wide)
			}
		}
	}
	first, err := documentsOfJSON(run("json"))
	ts.Check(err)
	inYAML, err := documentsOfYAML(run("yaml"))
	ts.Check(err)
	second, err := documentsOfJSON(run("json"))
	ts.Check(err)
	if err := (agreement{kinds: before != nil}).agree("", first, inYAML, second); err != nil {
		ts.Fatalf("-o yaml is not what -o json is: %v", err)
	}
	got := strings.Fields(run("name"))
	have := strings.Join(got, ",")
	if have == "" {
		have = "-"
	}
	if names == "*" && have == "-" || names != "*" && have != names {
		ts.Fatalf("-o name prints %s, wanted %s", have, names)
	}
	if lines := strings.Count(ts.ReadFile("stdout"), "\n"); lines != len(got) {
		ts.Fatalf("-o name prints %d lines with %d names", lines, len(got))
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

func isHeader(words []string) bool {
	line := strings.Join(words, " ")
	return len(words) > 0 && strings.ToUpper(line) == line && strings.ToLower(line) != line
}

// documentsOfJSON reads all that was printed; nothing at all is a fault.
func documentsOfJSON(s string) ([]any, error) {
	var docs []any
	for d := json.NewDecoder(strings.NewReader(s)); ; {
		var doc any
		switch err := d.Decode(&doc); {
		case errors.Is(err, io.EOF) && len(docs) > 0:
			return docs, nil
		case err != nil:
			return nil, fmt.Errorf("-o json: %w in %q", err, s)
		case doc == nil:
			return nil, errors.New("-o json: null is no document")
		}
		docs = append(docs, doc)
	}
}

// documentsOfYAML reads documents as a program does that knows YAML and nothing of the protocol.
func documentsOfYAML(s string) ([]any, error) {
	var all bytes.Buffer
	for d := yaml.NewDecoder(strings.NewReader(s)); ; {
		var doc any
		switch err := d.Decode(&doc); {
		case errors.Is(err, io.EOF):
			return documentsOfJSON(all.String())
		case err != nil:
			return nil, fmt.Errorf("-o yaml: %w in %q", err, s)
		}
		if err := json.NewEncoder(&all).Encode(doc); err != nil {
			return nil, fmt.Errorf("-o yaml: %w", err)
		}
	}
}

// agreement is how closely documents are compared; with kinds, values are those that have the same kind.
type agreement struct{ kinds bool }

// agree says where y differs from what a and b have in common.
func (g agreement) agree(path string, a, y, b any) error {
	switch a := a.(type) {
	case map[string]any:
		b, ok := b.(map[string]any)
		if !ok {
			return nil
		}
		y, ok := y.(map[string]any)
		if !ok || len(y) != len(a) && len(a) == len(b) {
			return fmt.Errorf("%s: %v and %v", path, a, y)
		}
		for key, value := range a {
			if other, both := b[key]; both {
				if err := g.agree(path+"."+key, value, y[key], other); err != nil {
					return err
				}
			}
		}
		return nil
	case []any:
		b, ok := b.([]any)
		if !ok || len(a) != len(b) {
			return nil
		}
		y, ok := y.([]any)
		if !ok || len(y) != len(a) {
			return fmt.Errorf("%s: %v and %v", path, a, y)
		}
		for i := range a {
			if err := g.agree(fmt.Sprintf("%s[%d]", path, i), a[i], y[i], b[i]); err != nil {
				return err
			}
		}
		return nil
	}
	if g.kinds && reflect.TypeOf(a) == reflect.TypeOf(y) {
		return nil
	}
	if reflect.DeepEqual(a, b) && !reflect.DeepEqual(a, y) {
		return fmt.Errorf("%s: %v and %v", path, a, y)
	}
	return nil
}
