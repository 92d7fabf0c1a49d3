// Command resolve prints, for each name that it is given, a line with the name and the
// IPv4 addresses that Go's own resolver finds, or with -glibc those that the C
// library's finds.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
)

func main() {
	names := os.Args[1:]
	find := byGo
	if names[0] == "-glibc" {
		names, find = names[1:], byGlibc
	}
	for _, name := range names {
		fmt.Println(name, strings.Join(find(name), " "))
	}
}

func byGo(name string) []string {
	addrs, err := net.DefaultResolver.LookupIP(context.Background(), "ip4", name)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	var out []string
	for _, a := range addrs {
		out = append(out, a.String())
	}
	return out
}

func byGlibc(name string) []string {
	text, err := exec.Command("/bin/getent", "ahostsv4", name).Output()
	if err != nil {
		fmt.Fprintln(os.Stderr, name, err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		out = append(out, strings.Fields(line)[0])
	}
	return out
}
