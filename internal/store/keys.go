package store

import (
	"fmt"
	"strconv"
	"strings"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// Root is the prefix of every key. What is below it is laid out as [LayoutKey] says; the number never changes.
const Root = "/argosy/1/"

// ElectionKey is below which the servers of a cluster stand for election, where the store is an external etcd. It is no part
// of what the cluster keeps.
const ElectionKey = "/argosy/election"

// Keys of single records.
const (
	ClusterKey    = Root + "cluster"         // storev1.Cluster
	GenerationKey = Root + "generation"      // storev1.Generation
	TermKey       = Root + "term"            // storev1.Term
	LayoutKey     = Root + "layout"          // storev1.Layout
	ScheduleKey   = Root + "backup/schedule" // argosyv1.BackupSchedule
	BackupKey     = Root + "backup/state"    // argosyv1.BackupState
	LeasesKey     = Root + "leases"          // storev1.Leases
)

// Prefixes of kinds of records. What follows the prefix is given by the functions below.
const (
	Machines  = Root + "machines/"  // argosyv1.Machine
	Servers   = Root + "servers/"   // storev1.Server
	Tokens    = Root + "tokens/"    // storev1.Token
	Users     = Root + "users/"     // storev1.User
	Apps      = Root + "apps/"      // argosyv1.App
	Revisions = Root + "revisions/" // argosyv1.Revision
	Replicas  = Root + "replicas/"  // argosyv1.Replica
	Volumes   = Root + "volumes/"   // argosyv1.Volume
	Secrets   = Root + "secrets/"   // storev1.Secret
	Registry  = Root + "registry/"  // storev1.Secret
	Outcomes  = Root + "outcomes/"  // storev1.Outcome
	Images    = Root + "images/"    // storev1.ImageName
	// History holds transitions until every server has them in its own database.
	History = Root + "history/" // argosyv1.Transition
	// Outboxes holds, for each machine, the number of the last transition committed from its outbox.
	Outboxes = Root + "outboxes/" // argosyv1.TransitionsAck
)

// MachineKey is where the machine with this id is kept.
func MachineKey(id string) string { return Machines + id }

// ServerKey is where the server with this id is kept.
func ServerKey(id string) string { return Servers + id }

// TokenKey is where the token with this id is kept.
func TokenKey(id string) string { return Tokens + id }

// UserKey is where a user is kept.
func UserKey(name string) string { return Users + name }

// OutboxKey is where the last committed number of a machine's outbox is kept.
func OutboxKey(machine string) string { return Outboxes + machine }

// AppKey is where a tenant's app is kept.
func AppKey(tenant, app string) string { return Apps + tenant + "/" + app }

// RevisionKey is where an app's revision is kept. Revisions sort by number.
func RevisionKey(tenant, app string, number uint64) string {
	return fmt.Sprintf("%s%s/%s/%016x", Revisions, tenant, app, number)
}

// ReplicaKey is where a replica is kept. Replicas of a stack sort by number.
func ReplicaKey(k *argosyv1.ReplicaKey) string { return Replicas + replicaPath(k) }

// VolumeKey is where a replica's volume is kept.
func VolumeKey(k *argosyv1.ReplicaKey, name string) string {
	return Volumes + replicaPath(k) + "/" + name
}

// SecretKey is where a tenant's secret is kept.
func SecretKey(tenant, name string) string { return Secrets + tenant + "/" + name }

// RegistryKey is where a tenant's credential for a registry is kept.
func RegistryKey(tenant, registry string) string { return Registry + tenant + "/" + registry }

// ImageKey is where it is kept what a name of a tenant's image means.
func ImageKey(tenant, name, tag string) string { return Images + tenant + "/" + name + ":" + tag }

// ParseImageKey reads back what [ImageKey] made.
func ParseImageKey(key string) (tenant, name, tag string, ok bool) {
	rest, isImage := strings.CutPrefix(key, Images)
	tenant, rest, hasName := strings.Cut(rest, "/")
	i := strings.LastIndexByte(rest, ':')
	if !isImage || !hasName || i < 0 {
		return "", "", "", false
	}
	return tenant, rest[:i], rest[i+1:], true
}

// OutcomeKey is where the outcome of an RPC is kept under the caller's idempotency key.
func OutcomeKey(tenant, key string) string { return Outcomes + tenant + "/" + key }

// HistoryKey is where a transition is kept. Transitions sort by number.
func HistoryKey(seq uint64) string { return fmt.Sprintf("%s%016x", History, seq) }

func replicaPath(k *argosyv1.ReplicaKey) string {
	return k.GetTenant() + "/" + k.GetApp() + "/" + k.GetStack() + "/" + fmt.Sprintf("%08x", k.GetNumber())
}

// ParseReplicaKey reads back what [ReplicaKey] made.
func ParseReplicaKey(key string) (*argosyv1.ReplicaKey, error) {
	rest, ok := strings.CutPrefix(key, Replicas)
	parts := strings.Split(rest, "/")
	if !ok || len(parts) != 4 {
		return nil, fmt.Errorf("%q is not the key of a replica", key)
	}
	n, err := strconv.ParseUint(parts[3], 16, 32)
	if err != nil {
		return nil, fmt.Errorf("%q is not the key of a replica: %w", key, err)
	}
	return &argosyv1.ReplicaKey{Tenant: parts[0], App: parts[1], Stack: parts[2], Number: uint32(n)}, nil
}

// Put is the operation that writes a message. The encoding is deterministic, so equal messages are equal values.
func Put(key string, m proto.Message) (Op, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		return Op{}, fmt.Errorf("encoding %s: %w", key, err)
	}
	if b == nil {
		b = []byte{}
	}
	return Op{Key: key, Value: b}, nil
}

// Delete is the operation that removes a key.
func Delete(key string) Op { return Op{Key: key} }

// Decode reads a value into a message.
func Decode(kv KV, m proto.Message) error {
	if err := proto.Unmarshal(kv.Value, m); err != nil {
		return fmt.Errorf("the record at %s cannot be read: %w", kv.Key, err)
	}
	return nil
}
