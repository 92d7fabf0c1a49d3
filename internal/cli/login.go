package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/join"
)

// loginsDir is where logins are kept, a directory for each cluster, with the name of the one in use in the file current.
func (a *app) loginsDir() (string, error) {
	if dir := a.sys.Getenv("XDG_CONFIG_HOME"); dir != "" {
		return filepath.Join(dir, "argosy", "clusters"), nil
	}
	home := a.sys.Getenv("HOME")
	if home == "" {
		return "", errors.New("there is no home directory to keep logins in: set HOME or XDG_CONFIG_HOME")
	}
	return filepath.Join(home, ".config", "argosy", "clusters"), nil
}

func (a *app) loginCmd() *cobra.Command {
	var name, file string
	cmd := &cobra.Command{
		Use:   "login [TOKEN]",
		Short: "Log in to a cluster from anywhere, with a token from its administrator",
		Long: `Log in to a cluster from anywhere, with a token from its administrator ('argosy token create --user NAME').

The key is made here and never leaves this host; the token is spent for a certificate of 90 days, which renews itself when
used in its last 30, or after. It is kept below ~/.config/argosy (or XDG_CONFIG_HOME). Where a server runs on this very
host, its socket is used unless --server or ARGOSY_SERVER names a login.`,
		Example: `  argosy login argosy-login-…
  argosy login --name prod --token-file token
  argosy --server prod ps`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			text, err := a.tokenText(args, file)
			if err != nil {
				return err
			}
			token, err := auth.ParseToken(text, argosyv1.TokenPurpose_TOKEN_PURPOSE_USER)
			if err != nil {
				return err
			}
			logins, err := a.loginsDir()
			if err != nil {
				return err
			}
			if !validLogin(name) {
				return usageError("--name %q: use letters, digits, dots and dashes", name)
			}
			m, err := join.User(cmd.Context(), token, filepath.Join(logins, name))
			if err != nil {
				return err
			}
			if err := os.WriteFile(filepath.Join(logins, "current"), []byte(name+"\n"), 0o600); err != nil {
				return fmt.Errorf("remembering the login: %w", err)
			}
			return a.told(map[string]string{"login": name, "cluster": m.Cluster, "user": m.User, "role": m.Role}, []string{name},
				"logged in to cluster %s as %s (%s); it is called %q here", m.Cluster, m.User, m.Role, name)
		},
	}
	cmd.Flags().StringVar(&name, "name", "default", "what to call the cluster on this host")
	cmd.Flags().StringVarP(&file, "token-file", "f", "", "read the token from a file, '-' for standard input")
	return cmd
}

func validLogin(name string) bool {
	return name != "" && name != "current" && !strings.HasPrefix(name, ".") && strings.Trim(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_") == "" && len(name) <= 63
}

// tokenText takes a token from the command line or from a file, where no other process reads it.
func (a *app) tokenText(args []string, file string) (string, error) {
	switch {
	case len(args) == 1 && file != "":
		return "", usageError("give the token or --token-file, not both")
	case len(args) == 1:
		return args[0], nil
	}
	b, err := a.readSecret("Token: ", file, false)
	return string(b), err
}

// currentLogin is the cluster last logged in to, nil when there is none, or when a server runs on this very host.
func (a *app) currentLogin() (*connection, error) {
	if _, err := os.Stat(strings.TrimPrefix(a.local, "unix://")); err == nil {
		return nil, nil
	}
	logins, err := a.loginsDir()
	if err != nil {
		return nil, nil //nolint:nilerr // without a home there are no logins
	}
	b, err := os.ReadFile(filepath.Join(logins, "current"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading which cluster is in use: %w", err)
	}
	return a.namedLogin(strings.TrimSpace(string(b)))
}

// namedLogin connects as whoever logged in under a name.
func (a *app) namedLogin(name string) (*connection, error) {
	if !validLogin(name) {
		// What stands there is not repeated: it may be a token, or an address with a password in it.
		return nil, usageError("what %s names is neither unix:///path nor the name of a login\n"+
			"A server elsewhere is reached by logging in with 'argosy login TOKEN', and then by the name of that login.", cmp.Or(a.serverFrom.name(), "the file current"))
	}
	logins, err := a.loginsDir()
	if err != nil {
		return nil, err
	}
	dir := filepath.Join(logins, name)
	m, err := join.Load(dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, a.noLogin(name)
	}
	if err != nil {
		return nil, err
	}
	a.asked.login, a.asked.servers, a.asked.cluster = name, m.Servers, m.Cluster
	l, err := openLogin(dir, m)
	if err != nil {
		return nil, err
	}
	a.login = l
	if time.Now().After(l.source.Current().Certificate.NotAfter) {
		// Nothing else is possible with an expired certificate, and this is.
		ctx, cancel := context.WithTimeout(a.ctx, renewTime+time.Duration(len(m.Servers))*serverTime)
		defer cancel()
		if err := l.renew(ctx); a.ctx.Err() != nil {
			return nil, a.ctx.Err()
		} else if err != nil {
			return nil, fmt.Errorf("the certificate of the login %q has expired and could not be renewed: %s", name, a.explainError(err))
		}
		l.hc.CloseIdleConnections() // made with the old one
	}
	return l.connection(), nil
}

// noLogin says that there is no such login, who names it, and which there are.
func (a *app) noLogin(name string) error {
	who := a.serverFrom.name()
	if who == "" {
		who = "the last login"
	}
	known := "there is none at all"
	if names, _ := a.completeLogins(nil, nil, ""); len(names) > 1 { // the first is the socket
		known = "there are " + strings.Join(names[1:], ", ")
	}
	return fmt.Errorf("there is no login called %q here, which %s names; %s\nLog in with 'argosy login TOKEN --name %s', or name another", name, who, known, name)
}
