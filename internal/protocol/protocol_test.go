package protocol

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"connectrpc.com/connect"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/api/argosy/v1/argosyv1connect"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Speaker{
		"":                         {1, 1, ""},
		"2-3 v1.4.0":               {2, 3, "v1.4.0"},
		"2-3":                      {2, 3, ""},
		"3-2 v1":                   {1, 1, ""},
		"0-2 v1":                   {1, 1, ""},
		"x-2":                      {1, 1, ""},
		"2":                        {1, 1, ""},
		"1-99999999999":            {1, 1, ""},
		"1-2 v1\x1b[31m":           {1, 2, ""},
		strings.Repeat("1", 1<<20): {1, 1, ""},
	} {
		if got := Parse(text); got != want {
			t.Errorf("%.40q is %v, want %v", text, got, want)
		}
	}
	if own := Own("v1"); Parse(own.header()) != own {
		t.Errorf("%q does not read back", own.header())
	}
}

func FuzzParse(f *testing.F) {
	f.Add("1-2 v1")
	f.Fuzz(func(t *testing.T, text string) {
		if s := Parse(text); s.Oldest == 0 || s.Newest < s.Oldest || Parse(s.header()) != s {
			t.Errorf("%q is %+v", text, s)
		}
	})
}

type service struct {
	argosyv1connect.UnimplementedClusterServiceHandler
}

func (service) GetCluster(context.Context, *connect.Request[argosyv1.GetClusterRequest]) (*connect.Response[argosyv1.GetClusterResponse], error) {
	return connect.NewResponse(&argosyv1.GetClusterResponse{}), nil
}

func (service) ListEvents(_ context.Context, _ *connect.Request[argosyv1.ListEventsRequest], out *connect.ServerStream[argosyv1.ListEventsResponse]) error {
	return out.Send(&argosyv1.ListEventsResponse{})
}

// Two that speak a common number talk; others are told who is too old, whichever of them knows that first. A release that knows
// nothing of all this stands for 1.
func TestReleasesMeet(t *testing.T) {
	for name, c := range map[string]struct {
		client, server *Speaker // nil: a release from before
		says           string
	}{
		"the same":                {client: &Speaker{1, 1, "v1"}, server: &Speaker{1, 1, "v1"}},
		"one ahead":               {client: &Speaker{1, 2, "v2"}, server: &Speaker{1, 1, "v1"}},
		"one behind":              {client: &Speaker{1, 1, "v1"}, server: &Speaker{1, 2, "v2"}},
		"a client from before":    {server: &Speaker{1, 2, "v2"}},
		"a server from before":    {client: &Speaker{1, 2, "v2"}},
		"a client too old":        {client: &Speaker{1, 1, "v1"}, server: &Speaker{2, 3, "v3"}, says: "too old for the cluster: it is v1 and speaks protocol 1, the server is v3 and speaks protocols 2 to 3: install argosy v3 here"},
		"a client from before is": {server: &Speaker{2, 3, "v3"}, says: "too old for the cluster: it is of an earlier release"},
		"a client too new":        {client: &Speaker{3, 4, "v4"}, server: &Speaker{1, 2, "v2"}, says: "upgrade the servers first, or install argosy v2 here"},
		"a server from before is": {client: &Speaker{2, 3, "v3"}, says: "too new for the cluster"},
	} {
		t.Run(name, func(t *testing.T) {
			var serverOpts []connect.HandlerOption
			if c.server != nil {
				serverOpts = append(serverOpts, connect.WithInterceptors(ServerAs(*c.server)))
			}
			var clientOpts []connect.ClientOption
			if c.client != nil {
				clientOpts = append(clientOpts, ClientAs(*c.client))
			}
			mux := http.NewServeMux()
			mux.Handle(argosyv1connect.NewClusterServiceHandler(service{}, serverOpts...))
			srv := httptest.NewServer(mux)
			defer srv.Close()
			client := argosyv1connect.NewClusterServiceClient(srv.Client(), srv.URL, clientOpts...)
			judge := func(what string, err error) {
				if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
					t.Errorf("%s: %v", what, err)
				}
			}
			_, err := client.GetCluster(t.Context(), connect.NewRequest(&argosyv1.GetClusterRequest{}))
			judge("a call", err)
			stream, err := client.ListEvents(t.Context(), connect.NewRequest(&argosyv1.ListEventsRequest{}))
			if err != nil {
				t.Fatal(err)
			}
			defer stream.Close()
			for stream.Receive() {
			}
			judge("a stream", stream.Err())
		})
	}
}
