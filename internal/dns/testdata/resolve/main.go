// Resolve prints the IPv4 addresses of a name as Go's own resolver finds them.
package main

import (
	"context"
	"fmt"
	"net"
	"os"
)

func main() {
	addrs, err := net.DefaultResolver.LookupIP(context.Background(), "ip4", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, a := range addrs {
		fmt.Println(a)
	}
}
