package cli

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// maxSecret is the largest value of a secret, in bytes.
const maxSecret = 512 << 10

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // documented never to fail
	return hex.EncodeToString(b)
}

func (a *app) secretCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "secret",
		Aliases: []string{"secrets"},
		Short:   "Set, list and delete secrets",
		Long: `Set, list and delete secrets.

Secrets are encrypted in the cluster's store and in the clear only in memory-backed files on the machine whose containers
name them. No command gives a value back.`,
		Example: `  argosy secret set db-root            # asks for the value
  argosy secret set db-root --file pw  # or reads a file, '-' for standard input
  argosy secret set db-root --random   # or makes one that nobody has seen
  argosy secret list`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.secretSetCmd(), a.secretListCmd(), a.secretDeleteCmd())
	return cmd
}

func (a *app) secretSetCmd() *cobra.Command {
	var file string
	var random, keepNewline, ifMissing bool
	cmd := &cobra.Command{
		Use: "set NAME", Short: "Set a secret; containers that use it see the new value", Args: cobra.ExactArgs(1),
		ValidArgsFunction: a.completeSecrets,
		Example: `  argosy secret set db-root
  pass show db | argosy secret set db-root --file -`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			if ifMissing {
				res, err := c.secrets().ListSecrets(cmd.Context(), connect.NewRequest(&argosyv1.ListSecretsRequest{Tenant: a.tenant}))
				if err != nil {
					return err
				}
				for _, s := range res.Msg.Secrets {
					if s.Name == args[0] {
						return a.answer(s, args, "secret %s is set already (version %d)", s.Name, s.Version)
					}
				}
			}
			value := []byte(randomHex(16))
			if !random {
				if value, err = a.readSecret("Value of "+args[0]+": ", file, keepNewline); err != nil {
					return err
				}
			}
			res, err := c.secrets().SetSecret(cmd.Context(), connect.NewRequest(&argosyv1.SetSecretRequest{
				Tenant: a.tenant, Name: args[0], Value: value, IdempotencyKey: requestKey()}))
			if err != nil {
				return err
			}
			return a.answer(res.Msg, []string{res.Msg.Name}, "secret %s set (version %d)", res.Msg.Name, res.Msg.Version)
		},
	}
	cmd.Flags().StringVarP(&file, "file", "f", "", "read the value from a file, '-' for standard input")
	cmd.Flags().BoolVar(&random, "random", false, "make a random value of 128 bits, in hex")
	cmd.Flags().BoolVar(&ifMissing, "if-missing", false, "leave a secret alone that is set already")
	cmd.Flags().BoolVar(&keepNewline, "keep-newline", false, "keep a newline at the end of the value")
	cmd.MarkFlagsMutuallyExclusive("file", "random")
	return cmd
}

// readSecret reads a value from a file, from standard input, or unseen from a terminal. It never takes one from the
// command line, where every process of the machine could read it.
func (a *app) readSecret(prompt, file string, keepNewline bool) ([]byte, error) {
	var b []byte
	var err error
	switch {
	case file != "" && file != "-":
		f, openErr := os.Open(file)
		if openErr != nil {
			return nil, openErr
		}
		defer f.Close()
		b, err = readBounded(f)
	case file == "" && isTerminal(a.sys.In):
		fmt.Fprint(a.sys.Err, prompt)
		b, err = term.ReadPassword(int(a.sys.In.(*os.File).Fd()))
		fmt.Fprintln(a.sys.Err)
	default:
		b, err = readBounded(a.sys.In)
	}
	if err != nil {
		return nil, err
	}
	if !keepNewline {
		b = bytes.TrimSuffix(bytes.TrimSuffix(b, []byte("\n")), []byte("\r"))
	}
	if len(b) == 0 {
		return nil, usageError("the value is empty")
	}
	return b, nil
}

func readBounded(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxSecret+1))
	if err == nil && len(b) > maxSecret {
		return nil, usageError("the value is larger than %s", size(maxSecret))
	}
	return b, err
}

func (a *app) secretListCmd() *cobra.Command {
	return &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List secrets, never their values", Args: cobra.NoArgs,
		Example: "  argosy secret list\n  argosy secret list -o name",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.secrets().ListSecrets(cmd.Context(), connect.NewRequest(&argosyv1.ListSecretsRequest{Tenant: a.tenant}))
			if err != nil {
				return err
			}
			t := &table{header: []string{"SECRET", "VERSION", "CHANGED"}, wide: []string{"AT", "TENANT"}}
			var names []string
			for _, s := range res.Msg.Secrets {
				names = append(names, s.Name)
				t.add(text(s.Name), text(fmt.Sprint(s.Version)), text(since(s.ChangedAt, time.Now())+" ago"))
				t.also(text(s.ChangedAt.AsTime().Local().Format("2006-01-02 15:04:05")), text(s.Tenant))
			}
			return a.show(res.Msg, t, names)
		},
	}
}

func (a *app) secretDeleteCmd() *cobra.Command {
	return &cobra.Command{
		Use: "delete NAME", Aliases: []string{"rm"}, Short: "Delete a secret that no app names any more", Args: cobra.ExactArgs(1),
		Example: "  argosy secret delete db-root", ValidArgsFunction: a.completeSecrets,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.secrets().DeleteSecret(cmd.Context(), connect.NewRequest(&argosyv1.DeleteSecretRequest{
				Tenant: a.tenant, Name: args[0], IdempotencyKey: requestKey()}))
			if err != nil {
				return err
			}
			return a.answer(res.Msg, args, "secret %s deleted", args[0])
		},
	}
}

func (a *app) registryCmd() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "registry",
		Short: "Credentials for image registries",
		Example: `  argosy registry login registry.example.com --username ci
  argosy registry list
  argosy registry logout registry.example.com`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	var user, file string
	login := &cobra.Command{
		Use: "login REGISTRY", Short: "Store a credential that machines pull with", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeRegistries,
		Example: "  argosy registry login registry.example.com --username ci\n  argosy registry login registry.example.com -u ci --password-file pw",
		RunE: func(cmd *cobra.Command, args []string) error {
			password, err := a.readSecret("Password: ", file, false)
			if err != nil {
				return err
			}
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.secrets().SetRegistryCredential(cmd.Context(), connect.NewRequest(&argosyv1.SetRegistryCredentialRequest{
				Tenant: a.tenant, Registry: args[0], Username: user, Password: string(password), IdempotencyKey: requestKey()}))
			if err != nil {
				return err
			}
			return a.answer(res.Msg, []string{res.Msg.Registry}, "images of %s are pulled as %s", res.Msg.Registry, res.Msg.Username)
		},
	}
	login.Flags().StringVarP(&user, "username", "u", "", "user name")
	login.Flags().StringVarP(&file, "password-file", "f", "", "read the password from a file, '-' for standard input")
	_ = login.MarkFlagRequired("username")
	list := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List credentials, never their passwords", Args: cobra.NoArgs,
		Example: "  argosy registry list",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.secrets().ListRegistryCredentials(cmd.Context(), connect.NewRequest(&argosyv1.ListRegistryCredentialsRequest{Tenant: a.tenant}))
			if err != nil {
				return err
			}
			t := &table{header: []string{"REGISTRY", "USERNAME"}}
			var names []string
			for _, r := range res.Msg.Credentials {
				names = append(names, r.Registry)
				t.add(text(r.Registry), text(r.Username))
			}
			return a.show(res.Msg, t, names)
		},
	}
	logout := &cobra.Command{
		Use: "logout REGISTRY", Short: "Forget a credential", Args: cobra.ExactArgs(1), ValidArgsFunction: a.completeRegistries,
		Example: "  argosy registry logout registry.example.com",
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.secrets().DeleteRegistryCredential(cmd.Context(), connect.NewRequest(&argosyv1.DeleteRegistryCredentialRequest{
				Tenant: a.tenant, Registry: args[0], IdempotencyKey: requestKey()}))
			if err != nil {
				return err
			}
			return a.answer(res.Msg, args, "the credential for %s is forgotten", args[0])
		},
	}
	cmd.AddCommand(login, list, logout)
	return cmd
}
