// Command echo answers UDP packets and TCP connections on port 7, with the address it
// saw them come from in front. It is the only program of the test's image.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
)

func main() {
	udp, err := net.ListenPacket("udp4", ":7")
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		buf := make([]byte, 65536)
		for {
			n, from, err := udp.ReadFrom(buf)
			if err != nil {
				log.Fatal(err)
			}
			_, _ = udp.WriteTo(buf[:n], from)
		}
	}()
	tcp, err := net.Listen("tcp4", ":7")
	if err != nil {
		log.Fatal(err)
	}
	for {
		c, err := tcp.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer c.Close()
			_, _ = fmt.Fprintf(c, "%s\n", c.RemoteAddr().(*net.TCPAddr).IP)
			_, _ = io.Copy(c, c)
		}()
	}
}
