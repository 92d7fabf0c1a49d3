package dns

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func docker(t *testing.T, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	out, err := exec.CommandContext(ctx, "docker", args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}

// resolversImage makes an image of getent, the C library that it needs, and a
// program of Go's own resolver.
func resolversImage(t *testing.T, name string) {
	t.Helper()
	dir := t.TempDir()
	bin := filepath.Join(dir, "resolve")
	build := exec.Command("go", "build", "-o", bin, "testdata/resolve/main.go")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build resolve: %v: %s", err, out)
	}
	files := map[string]string{"bin/resolve": bin, "bin/getent": "/usr/bin/getent"}
	libs, err := exec.Command("ldd", "/usr/bin/getent").Output()
	if err != nil {
		t.Fatal(err)
	}
	for _, lib := range regexp.MustCompile(`(?m)(/\S+) \(0x`).FindAllStringSubmatch(string(libs), -1) {
		files[strings.TrimPrefix(lib[1], "/")] = lib[1]
	}
	var image bytes.Buffer
	w := tar.NewWriter(&image)
	add := func(name string, b []byte) {
		_ = w.WriteHeader(&tar.Header{Name: name, Mode: 0o755, Size: int64(len(b))})
		_, _ = w.Write(b)
	}
	add("etc/nsswitch.conf", []byte("hosts: files dns\n"))
	for to, from := range files {
		b, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		add(to, b)
	}
	_ = w.Close()
	load := exec.Command("docker", "import", "-", name)
	load.Stdin = &image
	if out, err := load.CombinedOutput(); err != nil {
		t.Fatalf("docker import: %v: %s", err, out)
	}
	t.Cleanup(func() { _, _ = docker(t, "rmi", "-f", name) })
}

// Names as containers see them: through Docker's embedded resolver, which asks
// ours, with the search domains and options that this package hands out, by
// glibc's resolver and by Go's.
func TestThroughDockersResolver(t *testing.T) {
	if out, err := docker(t, "version"); err != nil {
		t.Fatalf("this test needs a running Docker Engine and the right to use it: %v: %s", err, out)
	}
	prefix := fmt.Sprintf("agdns-%d", os.Getpid())
	resolversImage(t, prefix)
	// A subnet out of the range's end, and a different one for each process, so
	// that tests of two people do not meet.
	third := byte(os.Getpid() % 250)
	subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 127, third, 0}), 24)
	gateway := subnet.Addr().Next()
	if out, err := docker(t, "network", "create", "--subnet", subnet.String(), "--gateway", gateway.String(), prefix); err != nil {
		t.Fatalf("docker network create: %v: %s", err, out)
	}
	t.Cleanup(func() { _, _ = docker(t, "network", "rm", prefix) })

	addr := func(last byte) netip.Addr { return netip.AddrFrom4([4]byte{10, 127, third, last}) }
	table := NewTable()
	list := []Endpoint{
		{Tenant: "default", App: "shop", Stack: "lamp", Number: 3, Member: "apache", Addr: addr(33), Ready: true, Ports: []Port{{Name: "http", Port: 80}}},
		{Tenant: "default", App: "shop", Stack: "lamp", Number: 3, Member: "mysql", Addr: addr(3)},
		{Tenant: "default", App: "shop", Stack: "lamp", Number: 4, Member: "apache", Addr: addr(34), Ready: true},
		{Tenant: "default", App: "shop", Stack: "lamp", Number: 5, Member: "apache", Addr: addr(35)},
	}
	if err := table.Apply(Delta{Put: append(list, crowd(200)...)}); err != nil {
		t.Fatal(err)
	}
	outside := make(chan string, 100)
	up := upstream(t, func(w dns.ResponseWriter, req *dns.Msg) {
		outside <- req.Question[0].Name
		m := new(dns.Msg).SetReply(req)
		if req.Question[0].Name == "www.example.com." && req.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR("www.example.com. 60 IN A 203.0.113.7")
			m.Answer = []dns.RR{rr}
		} else if req.Question[0].Name != "www.example.com." {
			m.Rcode = dns.RcodeNameError
		}
		_ = w.WriteMsg(m)
	})
	serve(t, Config{
		Listen:    []netip.AddrPort{netip.AddrPortFrom(gateway, 53)},
		Clients:   []netip.Prefix{netip.MustParsePrefix("10.64.0.0/10")},
		Resolvers: []netip.AddrPort{up},
	}, table)

	// resolve returns what one of the resolvers finds for each name.
	resolve := func(names ...string) map[string][]netip.Addr {
		t.Helper()
		args := []string{"run", "--rm", "--network", prefix, "--ip", addr(33).String(), "--dns", gateway.String()}
		for _, s := range SearchDomains("default", "shop", "lamp", 3) {
			args = append(args, "--dns-search", s)
		}
		for _, o := range ResolverOptions() {
			args = append(args, "--dns-option", o)
		}
		out, err := docker(t, append(append(args, prefix, "/bin/resolve"), names...)...)
		if err != nil {
			t.Fatalf("docker run: %v: %s", err, out)
		}
		found := map[string][]netip.Addr{}
		for line := range strings.Lines(out) {
			if name, rest, ok := strings.Cut(line, " "); ok {
				found[name] = addrsIn(rest)
			}
		}
		return found
	}
	cases := []struct {
		name string
		want []netip.Addr
	}{
		{"mysql", []netip.Addr{addr(3)}}, // a sibling, though not ready
		{"apache.lamp.shop", []netip.Addr{addr(33), addr(34)}},
		{"apache.lamp.shop.", []netip.Addr{addr(33), addr(34)}}, // as resolvers without search domains ask
		{"apache.4.lamp.shop", []netip.Addr{addr(34)}},
		{"apache.lamp.shop.default.argosy.internal", []netip.Addr{addr(33), addr(34)}},
		{"apache.lamp.shop.default.argosy.internal.", []netip.Addr{addr(33), addr(34)}},
		{"www.example.com", []netip.Addr{netip.MustParseAddr("203.0.113.7")}},
		{"nobody.lamp.shop.default.argosy.internal", nil},
		{"mysqll", nil},
	}
	names := []string{"srv.web.big"}
	for _, c := range cases {
		names = append(names, c.name)
	}
	for _, args := range [][]string{names, append([]string{"-glibc"}, names...)} {
		found := resolve(args...)
		for _, c := range cases {
			if got := found[c.name]; !slices.Equal(got, c.want) {
				t.Errorf("%s: %s: %v, want %v", args[0], c.name, got, c.want)
			}
		}
		if got := found["srv.web.big"]; len(got) != 200 {
			t.Errorf("%s: %d of 200 replicas", args[0], len(got))
		}
	}
	close(outside)
	for name := range outside {
		if name != "www.example.com." {
			t.Errorf("%s was asked outside", name)
		}
	}
}

// addrsIn returns the IPv4 addresses in a program's output, in order and each
// once.
func addrsIn(out string) []netip.Addr {
	var list []netip.Addr
	for _, f := range strings.Fields(out) {
		if a, err := netip.ParseAddr(f); err == nil && a.Is4() {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, netip.Addr.Compare)
	return slices.Compact(list)
}
