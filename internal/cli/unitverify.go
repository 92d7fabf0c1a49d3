package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/argosy-cluster/argosy/internal/manifest"
	"github.com/argosy-cluster/argosy/internal/unitfile"
	"github.com/argosy-cluster/argosy/internal/unitverify"
)

func (a *app) unitVerifyCmd() *cobra.Command {
	var name string
	var ask bool
	cmd := &cobra.Command{
		Use: "verify FILE...", Short: "Check unit files and report every fault with its place",
		Long: `Check unit files and report every fault with its place. Nothing is sent anywhere.

Sections and options are compared with those that systemd knows, and the rules of [X-Fleet] with each other, specifiers
expanded. The systemd of this machine is asked too, where there is one; what it says of programs and other units that are not
here is left out. A unit is called as its file is; '-' is standard input, and needs --name.`,
		Example: `  argosy unit verify web.service db@.service
  argosy unit verify units/*
  generate | argosy unit verify - --name web@3.service`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if name != "" && len(args) > 1 {
				return usageError("--name is for one file")
			}
			if name == "" && slices.Contains(args, "-") {
				return usageError("standard input has no name: say with --name how the unit is called")
			}
			return a.verifyUnits(cmd, args, name, ask)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "how the unit is called (default: as its file)")
	cmd.Flags().BoolVar(&ask, "systemd", true, "ask the systemd of this machine too, where there is one")
	return cmd
}

// verified is what came of one unit file.
type verified struct {
	Name    string `json:"name"`
	File    string `json:"file"`
	Systemd bool   `json:"asked_systemd"`
}

func (a *app) verifyUnits(cmd *cobra.Command, paths []string, name string, ask bool) error {
	var all []manifest.Fault
	var units []verified
	for i, path := range paths {
		text, err := a.readUnit(path)
		if err != nil {
			return err
		}
		v := verified{Name: name, File: path}
		if name == "" {
			v.Name = filepath.Base(path)
		}
		file, faults := unitfile.Parse(path, text)
		_, faults = file.Unit(v.Name, faults)
		if unit, err := unitfile.ParseName(v.Name); ask && err == nil {
			said, err := unitverify.Systemd(cmd.Context(), unit, file)
			if err != nil && !errors.Is(err, unitverify.ErrAbsent) {
				return err
			}
			v.Systemd = err == nil
			faults = append(faults, beside(said, faults)...)
		}
		for _, f := range faults {
			f.Order = i
			all = append(all, f)
		}
		units = append(units, v)
	}
	return a.showVerified(units, manifest.Gather(all), paths)
}

func (a *app) showVerified(units []verified, faults manifest.Faults, paths []string) error {
	if len(faults) > 0 {
		if a.output == "json" {
			if err := a.writeJSON(map[string]any{"units": units, "faults": faults}); err != nil {
				return err
			}
			return &exitError{code: exitFailed}
		}
		if err := faults.Render(a.sys.Err, a.faultStyle()); err != nil {
			return err
		}
		return &exitError{code: exitFailed, msg: plural(uint32(len(faults)), "fault") + " in " + strings.Join(paths, ", ")}
	}
	names, asked := make([]string, len(units)), true
	for i, u := range units {
		names[i] = u.Name
		asked = asked && u.Systemd
	}
	what := "nothing is wrong with %s"
	if !asked {
		what += ", as far as can be told without systemd"
	}
	return a.told(map[string]any{"units": units, "faults": manifest.Faults{}}, names, what, strings.Join(names, ", "))
}

// beside leaves out what systemd says of lines in which a fault was found already.
func beside(said, found manifest.Faults) manifest.Faults {
	var out manifest.Faults
	for _, f := range said {
		if !slices.ContainsFunc(found, func(g manifest.Fault) bool { return g.Line == f.Line }) {
			out = append(out, f)
		}
	}
	return out
}

// readUnit reads a unit file, no more of it than one may have.
func (a *app) readUnit(path string) (string, error) {
	in := a.sys.In
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return "", err
		}
		defer f.Close() //nolint:errcheck // it was only read
		in = f
	}
	text, err := io.ReadAll(io.LimitReader(in, unitfile.MaxSize+1))
	if err != nil {
		return "", fmt.Errorf("read %s: %w", path, err)
	}
	return string(text), nil
}
