package cli

import (
	"errors"
	"math"
	"strconv"

	"github.com/docker/go-units"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/host"
	"github.com/argosy-cluster/argosy/internal/auth"
	"github.com/argosy-cluster/argosy/internal/defaults"
	"github.com/argosy-cluster/argosy/internal/join"
)

// declared are the flags by which a machine's capacity is given by hand.
type declared struct {
	cpus, reserveCPUs     string
	memory, reserveMemory string
}

func (d *declared) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&d.cpus, "cpus", "", "cpus that the machine offers, for example 3.5 (default: all it has)")
	flags.StringVar(&d.memory, "memory", "", "memory that the machine offers, for example 8GiB (default: all it has)")
	flags.StringVar(&d.reserveCPUs, "reserve-cpus", "", "cpus that the machine keeps for itself (default: a twentieth, at least 0.1)")
	flags.StringVar(&d.reserveMemory, "reserve-memory", "", "memory that the machine keeps for itself (default: a twentieth, at least 128MiB)")
}

func (d *declared) into(m *join.Membership) error {
	for _, f := range []struct {
		flag, text string
		parse      func(string) (int64, error)
		to         *int64
	}{
		{"--cpus", d.cpus, parseCPUs, &m.CPUMilli},
		{"--reserve-cpus", d.reserveCPUs, parseCPUs, &m.ReserveCPU},
		{"--memory", d.memory, units.RAMInBytes, &m.MemoryBytes},
		{"--reserve-memory", d.reserveMemory, units.RAMInBytes, &m.ReserveBytes},
	} {
		if f.text == "" {
			continue
		}
		n, err := f.parse(f.text)
		if err != nil || n <= 0 {
			return usageError("%s %q is not an amount", f.flag, f.text)
		}
		*f.to = n
	}
	return nil
}

func parseCPUs(s string) (int64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || v < 0.001 || v > 100_000 {
		return 0, errors.New("not a number of cpus")
	}
	return int64(math.Round(v * 1000)), nil
}

func (a *app) joinCmd() *cobra.Command {
	var name, address, dir, file, replace string
	var server, anyEngine bool
	var labels []string
	var d declared
	cmd := &cobra.Command{
		Use:   "join [TOKEN]",
		Short: "Make this host a machine or a server of a cluster",
		Long: `Make this host a machine of a cluster, with a token from 'argosy token create'; or with --server, and a token from
'argosy token create --for-server', a server of its control plane.

The token says where the servers are, which cluster it is, and by which certificate authority to know it: this host can
join no other cluster and be fooled by no other server. Run 'argosy agent' afterwards, or 'argosy server'.

A new server copies everything that the others know and gets its vote once it has. It gets the cluster's keys, too: give such
a token to nobody who may not have them. With --replace it takes the place of a server that is gone for good, in one step.`,
		Example: `  argosy join argosy-join-…
  argosy join --token-file token --name db1 --label rack=r1 --label disk=ssd
  argosy join --server argosy-server-…
  argosy join --server --name s4 --replace s3 argosy-server-…`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if server {
				if err := onlyForServers(cmd); err != nil {
					return err
				}
				return a.joinServer(cmd.Context(), args, file, name, replace, serverDir(cmd, dir))
			}
			if replace != "" {
				return usageError("--replace is for servers: add --server")
			}
			if err := needRoot("argosy join"); err != nil {
				return err
			}
			facts, err := saidOfMachine(name, address, labels, d)
			if err != nil {
				return err
			}
			rooms, err := a.rooms()
			if err != nil {
				return err
			}
			text, err := a.tokenText(args, file)
			if err != nil {
				return err
			}
			token, err := auth.ParseToken(text, argosyv1.TokenPurpose_TOKEN_PURPOSE_MACHINE)
			if err != nil {
				return err
			}
			if !anyEngine {
				if err := rooms.CheckEngine(cmd.Context()); err != nil {
					return err
				}
			}
			if err := completeFacts(&facts, rooms, token); err != nil {
				return err
			}
			m, err := join.Machine(cmd.Context(), token, facts, dir)
			if err != nil {
				return err
			}
			return a.told(map[string]string{"machine": m.Name, "cluster": m.Cluster, "subnet": m.Subnet}, []string{m.Name},
				"this host is machine %s of cluster %s, with subnet %s\nRun its agent: argosy agent", m.Name, m.Cluster, m.Subnet)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&server, "server", false, "make this host a server of the control plane, and no machine")
	flags.StringVar(&replace, "replace", "", "with --server: name of a server that is gone for good, whose place this one takes")
	flags.StringVar(&name, "name", "", "the machine's or server's name (default: the host's)")
	flags.StringVar(&address, "address", "", "where other machines reach this one (default: the address it reaches the server from)")
	flags.StringArrayVar(&labels, "label", nil, "a label, key=value; may be given several times")
	flags.StringVar(&dir, "data-dir", defaults.AgentDir, "directory for everything that the agent keeps (with --server: "+defaults.ServerDir+")")
	flags.StringVarP(&file, "token-file", "f", "", "read the token from a file, '-' for standard input")
	d.add(cmd)
	return cmd
}

// saidOfMachine is what flags say of this machine.
func saidOfMachine(name, address string, labels []string, d declared) (f join.Facts, err error) {
	f.Name, f.Address = name, address
	if f.Labels, err = parseLabels(labels); err != nil {
		return f, err
	}
	return f, d.into(&f.Declared)
}

// completeFacts adds what nobody said and what can only be seen.
func completeFacts(f *join.Facts, rooms *Rooms, token auth.Token) (err error) {
	if f.Name == "" {
		if f.Name, err = join.DefaultName(); err != nil {
			return err
		}
	}
	if f.Address == "" {
		if f.Address, err = join.AddressTowards(token.Servers[0]); err != nil {
			return err
		}
	}
	if f.BootID, err = host.Root("/").BootID(); err != nil {
		return err
	}
	f.Routes, err = rooms.Routes()
	return err
}

// onlyForServers refuses what would say something of a machine.
func onlyForServers(cmd *cobra.Command) error {
	for _, f := range []string{"address", "label", "cpus", "memory", "reserve-cpus", "reserve-memory"} {
		if cmd.Flags().Changed(f) {
			return usageError("--%s says something of a machine, and --server makes none", f)
		}
	}
	return nil
}

// serverDir is where a server keeps everything, unless said otherwise.
func serverDir(cmd *cobra.Command, dir string) string {
	if cmd.Flags().Changed("data-dir") {
		return dir
	}
	return defaults.ServerDir
}
