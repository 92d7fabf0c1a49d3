package device

import (
	"testing"

	"github.com/argosy-cluster/argosy/internal/agent/volume/tool"
)

func TestParseProbe(t *testing.T) {
	for _, tc := range []struct {
		name string
		said tool.Said
		want probe
		bad  bool
	}{
		{"nothing", tool.Said{Code: 2}, probe{}, false},
		{"nothing, and yet something", tool.Said{Code: 2, Out: "TYPE=ext4\n"}, probe{}, true},
		{"ext4", tool.Said{Out: "DEVNAME=/dev/x\nUUID=1\nTYPE=ext4\nUSAGE=filesystem\n"}, probe{Type: "ext4", Usage: "filesystem"}, false},
		{"partitions", tool.Said{Out: "DEVNAME=/dev/x\nPTTYPE=gpt\n"}, probe{Table: "gpt"}, false},
		{"several", tool.Said{Code: 8}, probe{}, true},
		{"an error", tool.Said{Code: 4, Err: "error: cannot open"}, probe{}, true},
		{"found, and not said what", tool.Said{Out: "DEVNAME=/dev/x\nUUID=1\n"}, probe{}, true},
		{"found nothing at all", tool.Said{}, probe{}, true},
		{"two types", tool.Said{Out: "TYPE=ext4\nTYPE=xfs\n"}, probe{}, true},
		{"signs of a terminal", tool.Said{Out: "TYPE=ext4\x1b[2J\n"}, probe{}, true},
		{"cut off", tool.Said{Out: "TYPE=ext4\n", Cut: true}, probe{}, true},
	} {
		if got, err := parseProbe(tc.said); (err != nil) != tc.bad || err == nil && got != tc.want {
			t.Errorf("%s: %+v, %v", tc.name, got, err)
		}
	}
}

func TestParseListing(t *testing.T) {
	names, err := parseListing(tool.Said{Out: "/2/040755/0/0/.//\n/2/040755/0/0/..//\n/11/040700/0/0/lost+found//\n/12/100600/0/0/.argosy-volume/93/\n\n"})
	if err != nil || len(names) != 2 || names[1] != ".argosy-volume" {
		t.Errorf("%q, %v", names, err)
	}
	for _, s := range []tool.Said{{}, {Out: "ls: Filesystem not open\n"}, {Out: "/2/040755/0/0/.//\nx\n"}, {Out: "/2/040755/0/0/.//\n", Cut: true}} {
		if names, err := parseListing(s); err == nil {
			t.Errorf("%+v: %q", s, names)
		}
	}
}

func FuzzSaid(f *testing.F) {
	f.Add("TYPE=ext4\nUSAGE=x\n", 0)
	f.Add("/2/040755/0/0/.//\n", 2)
	f.Fuzz(func(t *testing.T, out string, code int) {
		p, err := parseProbe(tool.Said{Out: out, Code: code})
		if err == nil && !p.empty() && (tool.Plain(p.String()) != p.String() || code != 0) {
			t.Errorf("%+v", p)
		}
		if _, err := parseListing(tool.Said{Out: out}); err == nil && out == "" {
			t.Error("nothing is a list")
		}
	})
}
