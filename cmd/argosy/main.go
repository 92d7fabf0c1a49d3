// Command argosy is the command line. What takes more to load than help and a question to a server, argosyd carries out in
// its place.
package main

import (
	"os"

	"github.com/argosy-cluster/argosy/internal/cli"
)

func main() { os.Exit(cli.Process(nil)) }
