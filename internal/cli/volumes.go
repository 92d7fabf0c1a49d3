package cli

import (
	"fmt"
	"strings"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
)

func (a *app) volumesCmd() *cobra.Command {
	var all bool
	list := func(cmd *cobra.Command, args []string) error { return a.listVolumes(cmd, args, all) }
	cmd := &cobra.Command{
		Use:     "volumes [APP]",
		Aliases: []string{"volume"},
		Short:   "List volumes, and who may write them",
		Long: `List volumes, and who may write them.

A local volume is on one machine. A shared one is on storage that several machines reach, and one machine at a time holds it, with a token
that only grows: HEARD is how long ago the leader's witness heard of the holder. A holder that is silent has given up by the end
of its lease, by itself; its successor waits that long.`,
		Example: `  argosy volumes
  argosy volumes shop -o wide
  argosy volumes release shop/db.1/data --force --reason 'm2 burned down'`,
		Args: cobra.MaximumNArgs(1), ValidArgsFunction: a.completeApps,
		RunE: list,
	}
	sub := &cobra.Command{Use: "list [APP]", Aliases: []string{"ls"}, Short: "List volumes", Args: cobra.MaximumNArgs(1), RunE: list,
		ValidArgsFunction: a.completeApps, Example: "  argosy volumes list\n  argosy volumes list shop -o json"}
	for _, c := range []*cobra.Command{cmd, sub} {
		c.Flags().BoolVar(&all, "all-tenants", false, "those of all tenants (administrators)")
	}
	cmd.AddCommand(sub, a.volumeReleaseCmd())
	return cmd
}

func (a *app) listVolumes(cmd *cobra.Command, args []string, all bool) error {
	req := &argosyv1.ListVolumesRequest{Tenant: a.tenant, AllTenants: all}
	if len(args) == 1 {
		req.App = args[0]
	}
	c, err := a.connect()
	if err != nil {
		return err
	}
	res, err := c.volumes().ListVolumes(cmd.Context(), connect.NewRequest(req))
	if err != nil {
		return err
	}
	t := &table{header: []string{"VOLUME", "CLASS", "STATE", "MACHINE", "TOKEN", "HEARD", "SIZE", "MESSAGE"}, wide: []string{"SOURCE", "AT", "FREE", "UUID"}}
	var names []string
	for _, v := range res.Msg.Volumes {
		name := volumeName(v)
		names = append(names, name)
		heard, bytes, free, at := "-", "-", "-", "-"
		if v.Heard != nil {
			heard = claims.Tenths(v.Heard.AsDuration())
		}
		if v.Size > 0 {
			bytes = size(v.Size)
		}
		if o := v.Observation; o != nil {
			at = orDash(o.At)
			if o.Size > 0 {
				bytes, free = size(o.Size), size(o.Free)
			}
		}
		t.add(text(name), text(volumeClass(v.Class)), volumeStateCell(v), text(orDash(v.Machine)), text(tokenText(v.Token)), text(heard), text(bytes), text(orDash(oneLine(volumeMessage(v)))))
		t.also(text(orDash(v.Source)), text(at), text(free), text(orDash(v.Uuid)))
	}
	if err := a.show(res.Msg, t, names); err != nil || a.output != "table" {
		return err
	}
	if len(names) == 0 {
		a.note("There are no volumes.")
	}
	return nil
}

func volumeName(v *argosyv1.VolumeStatus) string {
	return replicaName(v.GetReplica()) + "/" + v.GetName()
}

func volumeClass(c argosyv1.VolumeClass) string {
	switch c {
	case argosyv1.VolumeClass_VOLUME_CLASS_TIMED:
		return claims.ClassTimed.String()
	case argosyv1.VolumeClass_VOLUME_CLASS_TIMED_DETECTED:
		return claims.ClassDetected.String()
	case argosyv1.VolumeClass_VOLUME_CLASS_FENCED:
		return claims.ClassFenced.String()
	}
	return claims.ClassLocal.String()
}

func tokenText(t *argosyv1.FencingToken) string {
	if t == nil {
		return "-"
	}
	return claims.Token{Generation: t.GetGeneration(), Revision: t.GetRevision()}.String()
}

func volumeStateCell(v *argosyv1.VolumeStatus) cell {
	word := strings.ToLower(strings.TrimPrefix(v.GetState().String(), "VOLUME_STATE_"))
	switch v.GetState() {
	case argosyv1.VolumeState_VOLUME_STATE_HELD:
		return cell{word, green}
	case argosyv1.VolumeState_VOLUME_STATE_SILENT, argosyv1.VolumeState_VOLUME_STATE_UNKNOWN:
		return cell{word, red}
	case argosyv1.VolumeState_VOLUME_STATE_WAITING, argosyv1.VolumeState_VOLUME_STATE_LEAVING:
		return cell{word, yellow}
	}
	return text(word)
}

// volumeMessage is what there is to say of a volume beyond its state, with what its machine says.
func volumeMessage(v *argosyv1.VolumeStatus) string {
	out := ""
	if v.GetState() != argosyv1.VolumeState_VOLUME_STATE_HELD {
		out = v.GetMessage()
	}
	if said := v.GetObservation().GetMessage(); said != "" {
		if out != "" {
			out += "; "
		}
		out += v.GetMachine() + ": " + said
	}
	for _, f := range v.GetFenced() {
		if out != "" {
			out += "; "
		}
		out += fencedText(f)
	}
	return out
}

// fencedText is how a machine stands that the storage of a volume refuses.
func fencedText(f *argosyv1.FencedMachine) string {
	word := "is being fenced"
	if f.GetConfirmedAt() != nil {
		word = "is fenced"
	}
	return f.GetMachine() + " " + word + ": " + f.GetMessage()
}

// explainVolume is a line about a volume of a replica that is explained.
func explainVolume(v *argosyv1.VolumeStatus) string {
	line := fmt.Sprintf("  volume %s: %s, %s", v.GetName(), volumeClass(v.GetClass()), volumeStateCell(v).text)
	if v.GetSource() != "" {
		line += " on " + v.GetSource()
	}
	if v.GetToken() != nil {
		line += fmt.Sprintf(", token %s on %s", tokenText(v.GetToken()), v.GetMachine())
	}
	if m := v.GetMessage(); m != "" {
		line += ": " + oneLine(m)
	}
	if o := v.GetObservation(); o != nil {
		line += fmt.Sprintf("; %s says %s, seen %s ago", v.GetMachine(), strings.ToLower(strings.TrimPrefix(o.GetPhase().String(), "CLAIM_PHASE_")), age(v.GetAge()))
		if o.GetMessage() != "" {
			line += ": " + oneLine(o.GetMessage())
		}
	}
	for _, f := range v.GetFenced() {
		line += "; " + oneLine(fencedText(f))
	}
	return line
}

func (a *app) volumeReleaseCmd() *cobra.Command {
	req := &argosyv1.ReleaseVolumeRequest{}
	var yes bool
	cmd := &cobra.Command{
		Use:   "release VOLUME",
		Short: "Take a shared volume from a holder that does not answer",
		Long: `Take a shared volume from a holder that does not answer.

That happens by itself, once a holder's lease has run out and it is wanted elsewhere. This is for when something else stands in the way: it says that
the holder is gone for good. It takes an administrator, and a reason, which 'argosy events' keeps. It is refused while any server's witness has heard of
the holder within the lease's waiting time, and says for how long: until then it may still write.`,
		Example: "  argosy volumes release shop/db.1/data --force --reason 'm2 burned down'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			t, err := parseReplica(args[0])
			if err != nil {
				return err
			}
			if t.member == "" {
				return usageError("%q is a replica: add the volume's name, for example %s/data", args[0], args[0])
			}
			if !req.Force || strings.TrimSpace(req.Reason) == "" {
				return usageError("a claim that is over is let go by itself: to take one from a holder that does not answer, use --force and say why with --reason")
			}
			if !yes {
				if err := a.confirm(fmt.Sprintf("Take volume %s from its holder?", args[0])); err != nil {
					return err
				}
			}
			req.Tenant, req.Replica, req.Name, req.IdempotencyKey = a.tenant, a.key(target{app: t.app, stack: t.stack, number: t.number}), t.member, requestKey()
			c, err := a.connect()
			if err != nil {
				return err
			}
			res, err := c.volumes().ReleaseVolume(cmd.Context(), connect.NewRequest(req))
			if err != nil {
				return err
			}
			return a.answer(res.Msg, []string{volumeName(res.Msg)}, "volume %s is released: %s", volumeName(res.Msg), res.Msg.GetMessage())
		},
	}
	cmd.Flags().BoolVar(&req.Force, "force", false, "although its holder did not say that it is over")
	cmd.Flags().StringVar(&req.Reason, "reason", "", "why; it is kept in the cluster's history")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	return cmd
}
