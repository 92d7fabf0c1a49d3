package unitverify_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/argosy-cluster/argosy/internal/unitfile"
	"github.com/argosy-cluster/argosy/internal/unitverify"
)

const text = `[Unit]
After=nothere.service
[Service]
Type=foo
ExecStart=/no/such/program \
   # a comment
   --flag
ExecStart=
ExecStart=relative/program
`

func TestFaults(t *testing.T) {
	name, err := unitfile.ParseName("web.service")
	if err != nil {
		t.Fatal(err)
	}
	file, faults := unitfile.Parse("web.service", text)
	if len(faults) > 0 {
		t.Fatal(faults.Err())
	}
	said := `/tmp/x/web.service:4: Failed to parse service type, ignoring: foo
/tmp/x/web.service:7: Something about the program
/tmp/x/web.service:99999999999999999999: no line
/tmp/x/web.service:400: beyond the end
/tmp/x/other.service:1: Unknown key name
web.service: Command /no/such/program is not executable: No such file or directory
web.service: Failed to create web.service/start: Unit nothere.service not found.
web.service: Unit configuration has fatal error, unit will not be started.
web.service: Service has no ExecStart=. Refusing.
Unit web.service has a bad unit file setting.
` + "web.service: \x1b[2J\xff\n"
	want := []string{
		"web.service: systemd: Service has no ExecStart=. Refusing.",
		"web.service: systemd: \ufffd[2J\ufffd",
		"web.service:4:6: systemd: Failed to parse service type, ignoring: foo",
		"web.service:5:11: systemd: Something about the program",
		"web.service:10:1: systemd: beyond the end",
	}
	var got []string
	for _, f := range unitverify.Faults(name, file, "/tmp/x/web.service", said) {
		got = append(got, f.String())
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestSystemd(t *testing.T) {
	for _, c := range []struct{ name, text, want string }{
		{"web@.service", text, "web@.service:4:6: systemd: "},
		{"web.service", "[Service]\nExecStart=/no/such/program --of=%H\n", ""},
		{"srv-data.mount", "[Mount]\nWhat=/dev/x\nWhere=/srv/other\n", "srv-data.mount: systemd: Where="},
	} {
		name, err := unitfile.ParseName(c.name)
		if err != nil {
			t.Fatal(err)
		}
		file, faults := unitfile.Parse(c.name, c.text)
		if len(faults) > 0 {
			t.Fatal(faults.Err())
		}
		found, err := unitverify.Systemd(t.Context(), name, file)
		if errors.Is(err, unitverify.ErrAbsent) {
			t.Skip(err)
		}
		if err != nil {
			t.Fatal(err)
		}
		if c.want == "" && len(found) > 0 || c.want != "" && (len(found) == 0 || !strings.Contains(found.Err().Error(), c.want)) {
			t.Errorf("%s: %v, want %q", c.name, found.Err(), c.want)
		}
	}
}
