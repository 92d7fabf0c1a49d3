package auth

import (
	"slices"

	connectv1 "github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
)

// access is who may call an RPC.
type access int

const (
	// anyone needs no certificate: the request itself carries a token.
	anyone access = iota + 1
	// renewers are machines and users whose certificate was good once.
	renewers
	machines
	// servers are the other members of the control plane.
	servers
	// readers are machines, servers and viewers: for what they fetch, such as images.
	readers
	// monitors are what watches the whole cluster from outside; and admins, local.
	monitors
	// users are those of any role, and local.
	users
	viewers   // and operators, admins, local
	operators // and admins, local
	admins    // and local
)

// rule is the entry of an RPC.
type rule struct {
	access access
	// tenants are the request's fields that name a tenant, as paths of proto field names. The interceptor fills in the
	// caller's own where one is empty, and refuses another's.
	tenants []string
	// everyTenant is the boolean field that asks for all tenants' records, which only admins may.
	everyTenant string
}

// rules has an entry for every RPC of argosy.v1. An RPC without one is refused to everybody, and fails a test.
var rules = map[string]rule{
	connectv1.JoinServiceJoinProcedure:  {access: anyone},
	connectv1.JoinServiceRenewProcedure: {access: renewers},

	connectv1.AgentServiceSessionProcedure: {access: machines},
	connectv1.AgentServiceAttachProcedure:  {access: machines},
	// Each concerns the calling machine only.
	connectv1.AgentServiceLeaveProcedure:  {access: machines},
	connectv1.AgentServiceDepartProcedure: {access: machines},

	connectv1.AppServicePlanProcedure:            {access: viewers, tenants: []string{"tenant"}},
	connectv1.AppServiceApplyProcedure:           {access: operators, tenants: []string{"tenant"}},
	connectv1.AppServiceListAppsProcedure:        {access: viewers, tenants: []string{"tenant"}},
	connectv1.AppServiceGetAppProcedure:          {access: viewers, tenants: []string{"tenant"}},
	connectv1.AppServiceScaleProcedure:           {access: operators, tenants: []string{"tenant"}},
	connectv1.AppServiceRollbackProcedure:        {access: operators, tenants: []string{"tenant"}},
	connectv1.AppServiceRestartProcedure:         {access: operators, tenants: []string{"tenant"}},
	connectv1.AppServiceDeleteAppProcedure:       {access: operators, tenants: []string{"tenant"}},
	connectv1.AppServiceListReplicasProcedure:    {access: viewers, tenants: []string{"tenant"}, everyTenant: "all_tenants"},
	connectv1.AppServiceListReplicaRowsProcedure: {access: viewers, tenants: []string{"tenant"}, everyTenant: "all_tenants"},
	connectv1.AppServiceListReplicasAtProcedure:  {access: viewers, tenants: []string{"tenant"}, everyTenant: "all_tenants"},
	connectv1.AppServiceWatchReplicasProcedure:   {access: viewers, tenants: []string{"tenant"}, everyTenant: "all_tenants"},
	connectv1.AppServiceExplainProcedure:         {access: viewers, tenants: []string{"key.tenant"}},
	connectv1.UnitServiceListUnitsProcedure:      {access: viewers, tenants: []string{"tenant"}},
	connectv1.UnitServiceSubmitUnitProcedure:     {access: operators, tenants: []string{"tenant"}},
	connectv1.UnitServiceSetUnitGoalProcedure:    {access: operators, tenants: []string{"tenant"}},

	connectv1.MachineServiceListMachinesProcedure:    {access: viewers},
	connectv1.MachineServiceLabelMachineProcedure:    {access: admins},
	connectv1.MachineServiceRemoveMachineProcedure:   {access: admins},
	connectv1.MachineServiceDrainMachineProcedure:    {access: admins},
	connectv1.MachineServiceActivateMachineProcedure: {access: admins},
	connectv1.MachineServiceDeclareLostProcedure:     {access: admins},

	connectv1.SecretServiceSetSecretProcedure:                {access: operators, tenants: []string{"tenant"}},
	connectv1.SecretServiceListSecretsProcedure:              {access: viewers, tenants: []string{"tenant"}},
	connectv1.SecretServiceDeleteSecretProcedure:             {access: operators, tenants: []string{"tenant"}},
	connectv1.SecretServiceSetRegistryCredentialProcedure:    {access: operators, tenants: []string{"tenant"}},
	connectv1.SecretServiceListRegistryCredentialsProcedure:  {access: viewers, tenants: []string{"tenant"}},
	connectv1.SecretServiceDeleteRegistryCredentialProcedure: {access: operators, tenants: []string{"tenant"}},

	connectv1.ClusterServiceGetClusterProcedure: {access: users},
	// The tenant in the request is that of the user to be made, and an admin's to choose.
	connectv1.ClusterServiceCreateTokenProcedure:     {access: admins, tenants: []string{"tenant"}},
	connectv1.ClusterServiceListTokensProcedure:      {access: admins},
	connectv1.ClusterServiceRevokeTokenProcedure:     {access: admins},
	connectv1.ClusterServiceGetAuthorityProcedure:    {access: admins},
	connectv1.ClusterServiceRotateAuthorityProcedure: {access: admins},
	connectv1.ClusterServiceFinishRotationProcedure:  {access: admins},
	connectv1.ClusterServiceListEventsProcedure:      {access: viewers, tenants: []string{"tenant", "replica.tenant"}},
	connectv1.ClusterServiceListUsageProcedure:       {access: viewers, tenants: []string{"tenant"}},
	connectv1.ClusterServiceWatchUsageProcedure:      {access: viewers, tenants: []string{"tenant"}, everyTenant: "all_tenants"},

	// Whoever has a backup and its key has every secret of the cluster.
	connectv1.BackupServiceCreateBackupProcedure: {access: admins},
	connectv1.BackupServiceSetScheduleProcedure:  {access: admins},
	connectv1.BackupServiceGetScheduleProcedure:  {access: admins},

	connectv1.ServerServiceListServersProcedure:     {access: viewers},
	connectv1.ServerServiceRemoveServerProcedure:    {access: admins},
	connectv1.ServerServiceEnterProcedure:           {access: servers},
	connectv1.ServerServiceProbeProcedure:           {access: servers},
	connectv1.ServerServiceReadHistoryProcedure:     {access: servers},
	connectv1.ServerServiceHoldImageProcedure:       {access: servers, tenants: []string{"tenant"}},
	connectv1.ServerServiceDefragmentStoreProcedure: {access: servers},
	connectv1.ServerServiceFenceSessionProcedure:    {access: servers},
	connectv1.VolumeServiceListVolumesProcedure:     {access: viewers, tenants: []string{"tenant"}, everyTenant: "all_tenants"},
	connectv1.VolumeServiceReleaseVolumeProcedure:   {access: admins, tenants: []string{"tenant", "replica.tenant"}},

	connectv1.StreamServiceLogsProcedure: {access: viewers, tenants: []string{"tenant"}},
	connectv1.StreamServiceExecProcedure: {access: operators, tenants: []string{"start.key.tenant"}},
	// Whoever may run commands may do these with one.
	connectv1.StreamServicePortForwardProcedure: {access: operators, tenants: []string{"start.key.tenant"}},
	connectv1.StreamServiceCopyProcedure:        {access: operators, tenants: []string{"start.key.tenant"}},
}

// allows says whether a caller may, and if not, what it would take.
func (a access) allows(id Identity) (ok bool, needs string) {
	switch a {
	case anyone:
		return true, ""
	case renewers:
		return id.Kind == Machine || id.Kind == User, "a certificate of this cluster, even one that has expired"
	case machines:
		return id.Kind == Machine, "a machine's certificate"
	case servers:
		return id.Kind == Server, "a server's certificate"
	case readers:
		return id.Kind == Machine || id.Kind == Server || hasRole(id, Viewer, Operator, Admin), "a machine's certificate or the role viewer"
	case users:
		return hasRole(id, Monitor, Viewer, Operator, Admin), "somebody who logged in"
	case monitors:
		return hasRole(id, Monitor, Admin), "the role monitor"
	case viewers:
		return hasRole(id, Viewer, Operator, Admin), "the role viewer"
	case operators:
		return hasRole(id, Operator, Admin), "the role operator"
	case admins:
		return hasRole(id, Admin), "the role admin"
	}
	return false, "an entry in the table of permissions"
}

func hasRole(id Identity, roles ...Role) bool {
	return (id.Kind == User || id.Kind == Local) && slices.Contains(roles, id.Role)
}

// mayNameTenant says whether a caller may act on a tenant.
func mayNameTenant(id Identity, tenant string) bool {
	return id.Role == Admin || id.Kind == Server || id.Tenant == tenant
}
