package cli

import (
	"bytes"
	"errors"
	"reflect"
	"strings"
	"testing"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

func TestParsePorts(t *testing.T) {
	for in, want := range map[string]forwardedPort{
		"80": {80, 80}, "8080:80": {8080, 80}, ":80": {0, 80}, "0:80": {0, 80}, "65535:1": {65535, 1},
		"": {}, ":": {}, "80:": {}, "0": {}, "8080:0": {}, "65536": {}, "65536:80": {}, "-1:80": {}, "a:80": {}, "1:2:3": {}, " 80": {}, "80/udp": {}, "+80": {},
	} {
		got, err := parsePorts(in)
		var exit *exitError
		if got != want || (err != nil) != (want.remote == 0) || err != nil && (!errors.As(err, &exit) || exit.code != exitUsage) {
			t.Errorf("%q: %+v, %v; want %+v", in, got, err, want)
		}
	}
}

func TestParseHosts(t *testing.T) {
	for in, want := range map[string][]localHost{
		"localhost":           {{ip: "127.0.0.1"}, {ip: "::1", optional: true}},
		"::1":                 {{ip: "::1"}},
		"0.0.0.0,192.0.2.1":   {{ip: "0.0.0.0"}, {ip: "192.0.2.1"}},
		"localhost,192.0.2.1": {{ip: "127.0.0.1"}, {ip: "::1", optional: true}, {ip: "192.0.2.1"}},
		"example.org":         nil,
		"":                    nil,
	} {
		got, err := parseHosts(strings.Split(in, ","))
		if !reflect.DeepEqual(got, want) || (err == nil) != (want != nil) {
			t.Errorf("%q: %v, %v; want %v", in, got, err, want)
		}
	}
	if _, err := parseHosts(nil); err == nil {
		t.Error("no address at all is taken")
	}
}

func TestParseCopyPath(t *testing.T) {
	apache := target{app: "shop", stack: "lamp", number: 3, member: "apache"}
	for in, want := range map[string]copyPath{
		"file": {path: "file"}, "-": {path: "-"}, "./a:b": {path: "./a:b"}, "/a:b": {path: "/a:b"}, "dir/.": {path: "dir/."}, "..": {path: ".."},
		"shop/lamp.3/apache:/etc/x":  {true, apache, "/etc/x"},
		"shop/lamp.3/apache:etc/x":   {true, apache, "/etc/x"},
		"shop/lamp.3/apache:/etc/.":  {true, apache, "/etc/."},
		"shop/lamp.3/apache:/a:b":    {true, apache, "/a:b"},
		"shop/lamp.3/apache:/":       {true, apache, "/"},
		"shop/lamp.3/apache:../../x": {true, apache, "/../../x"}, // the Engine keeps to the container
	} {
		got, err := parseCopyPath(in)
		if got != want || err != nil {
			t.Errorf("%q: %+v, %v; want %+v", in, got, err, want)
		}
	}
	for in, says := range map[string]string{
		"": "empty path", "shop/lamp.3/apache:": "name a path", "shop/lamp.3:/x": "name the container too",
		"shop/lamp/apache:/x": "not one replica", "shop:/x": "not one replica", "Shop:/x": "names nothing", "C:\\x": "names nothing",
	} {
		if _, err := parseCopyPath(in); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%q: %v, want something about %q", in, err, says)
		}
	}
}

func FuzzParseCopyPath(f *testing.F) {
	f.Add("shop/lamp.3/apache:/etc/x")
	f.Add("./a:b")
	f.Fuzz(func(t *testing.T, in string) {
		got, err := parseCopyPath(in)
		if err == nil && got.remote && (got.path[0] != '/' || got.target.member == "" || got.target.number == 0) {
			t.Errorf("%q: %+v", in, got)
		}
	})
}

// Names of containers come once each, however much they wrote.
func TestLogsName(t *testing.T) {
	var out bytes.Buffer
	a := &app{sys: IO{Out: &out, Err: &bytes.Buffer{}}, output: "name"}
	line := func(n uint32, member string) *argosyv1.LogLine {
		return &argosyv1.LogLine{Key: &argosyv1.ReplicaKey{App: "shop", Stack: "lamp", Number: n}, Member: member, Text: []byte("x y")}
	}
	named := map[string]bool{}
	a.nameLogs(&argosyv1.LogsResponse{Lines: []*argosyv1.LogLine{line(1, "apache"), line(1, "apache"), line(2, "apache")}}, named)
	a.nameLogs(&argosyv1.LogsResponse{Lines: []*argosyv1.LogLine{line(1, "mysql"), line(2, "apache")}}, named)
	if got, want := out.String(), "shop/lamp.1/apache\nshop/lamp.2/apache\nshop/lamp.1/mysql\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}
