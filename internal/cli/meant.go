package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/argosy-cluster/argosy/internal/manifest"
)

// meant is the command or flag that was probably meant by a mistyped one, as a line of its own; empty when none is near.
func meant(cmd *cobra.Command, err error) string {
	var flag *pflag.NotExistError
	var near, before string
	switch {
	case cmd == nil:
	case errors.As(err, &flag) && len(flag.GetSpecifiedName()) > 1:
		before, near = "--", manifest.Nearest(flag.GetSpecifiedName(), flagNames(cmd))
	case strings.HasPrefix(err.Error(), "unknown command") && cmd.Flags().NArg() > 0:
		near = manifest.Nearest(cmd.Flags().Arg(0), commandNames(cmd))
		before = cmd.CommandPath() + " "
	}
	if near == "" {
		return ""
	}
	return fmt.Sprintf("\nDid you mean '%s%s'?", before, near)
}

func flagNames(cmd *cobra.Command) []string {
	var out []string
	cmd.Flags().VisitAll(func(f *pflag.Flag) {
		if !f.Hidden {
			out = append(out, f.Name)
		}
	})
	return out
}

func commandNames(cmd *cobra.Command) []string {
	var out []string
	for _, c := range cmd.Commands() {
		if !c.Hidden {
			out = append(append(out, c.Name()), c.Aliases...)
		}
	}
	return out
}
