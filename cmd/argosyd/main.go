// Command argosyd has every command of argosy and the rooms that they need: the server, the agent, and what else is large.
package main

import (
	"os"

	"github.com/argosy-cluster/argosy/internal/cli"
	"github.com/argosy-cluster/argosy/internal/node"
)

func main() { os.Exit(cli.Process(node.Rooms())) }
