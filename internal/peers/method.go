package peers

import (
	"bytes"
	"io"
	"mime"
	"net/http"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	connectv1 "github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
)

// where says which server answers.
type where int

const (
	// atLeader is for everything that is not said to be elsewhere.
	atLeader where = iota
	// here is for what every server does by itself.
	here
	// anywhere is for what the leader knows best, and every server knows something of.
	anywhere
)

var places = map[string]where{
	connectv1.AgentServiceSessionProcedure:          here,
	connectv1.AgentServiceAttachProcedure:           here,
	connectv1.JoinServiceRenewProcedure:             anywhere,
	connectv1.ServerServiceProbeProcedure:           here,
	connectv1.ServerServiceReadHistoryProcedure:     here,
	connectv1.ServerServiceHoldImageProcedure:       here,
	connectv1.ServerServiceDefragmentStoreProcedure: here,
	connectv1.ServerServiceFenceSessionProcedure:    here,

	connectv1.ClusterServiceGetClusterProcedure: anywhere,
	connectv1.ClusterServiceListEventsProcedure: anywhere,
	connectv1.ServerServiceListServersProcedure: anywhere,
}

// method is what has to be known of an RPC to pass it on.
type method struct {
	where where
	// streams says that the caller may go on sending.
	streams bool
	// tells says that the answer is a stream, too, or of any size.
	tells bool
	input protoreflect.FullName
	// key is the field with the idempotency key, nil when there is none: then the RPC changes nothing, or asking twice is
	// the same.
	key protoreflect.FieldDescriptor
}

// methodOf looks an RPC up. What is none, every server answers by itself.
func methodOf(path string) method {
	name, rpc, ok := service(path)
	if !ok {
		return method{where: here}
	}
	d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name + "." + rpc))
	if err != nil {
		return method{where: here} // which says that it does not exist
	}
	md, ok := d.(protoreflect.MethodDescriptor)
	if !ok {
		return method{where: here}
	}
	return method{
		where: places[path], streams: md.IsStreamingClient(), tells: md.IsStreamingServer(), input: md.Input().FullName(),
		key: md.Input().Fields().ByName("idempotency_key"),
	}
}

// repeatable reports whether a request whose answer was lost may be sent again: by the convention of the protocol, what
// changes something takes an idempotency key.
func (m method) repeatable(r *http.Request) bool {
	if m.key == nil {
		return true
	}
	kind, err := protoregistry.GlobalTypes.FindMessageByName(m.input)
	if err != nil || r.GetBody == nil || r.Header.Get("Content-Encoding") != "" {
		return false
	}
	body, err := r.GetBody()
	if err != nil {
		return false
	}
	b, err := io.ReadAll(body)
	if err != nil {
		return false
	}
	msg := kind.New().Interface()
	switch media, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type")); media {
	case "application/proto":
		err = proto.Unmarshal(b, msg)
	case "application/json":
		err = protojson.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(bytes.TrimSpace(b), msg)
	default:
		return false
	}
	return err == nil && msg.ProtoReflect().Get(m.key).String() != ""
}
