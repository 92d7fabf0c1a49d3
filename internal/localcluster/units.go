package localcluster

import (
	"fmt"
	"strings"

	"github.com/argosy-cluster/argosy/internal/defaults"
)

const (
	unitDir    = "/etc/systemd/system/"
	agentUnit  = "argosy-agent.service"
	serverUnit = "argosy-server.service"
	// witnessUnit keeps the server's lease table. The server's unit wants it, and neither takes the other along.
	witnessUnit = "argosy-witness.service"
	// guardUnit keeps the machine's leases. The agent's unit wants it, and neither takes the other along.
	guardUnit = "argosy-guard.service"
	// leaveUnit has the guard give everything back when the machine is shut down, while all that takes part in that still runs.
	leaveUnit = "argosy-leave.service"
	agentDir  = defaults.AgentDir
	serverDir = defaults.ServerDir
)

// unit is one systemd unit that runs argosy in a machine.
type unit struct {
	name string
	text string
}

// serverCommand and agentCommand are what the units run.
func serverCommand(address, leases string) []string {
	cmd := []string{heavyPath, "server", "--data-dir", serverDir, "--advertise", address}
	if leases != "" {
		cmd = append(cmd, "--lease-profile", leases)
	}
	return cmd
}

func witnessCommand() []string { return []string{witnessPath, "--server-dir", serverDir} }

func agentCommand() []string {
	return []string{heavyPath, "agent", "--data-dir", agentDir}
}

// maxServers is how many machines may run a server.
const maxServers = 5

// unitsOf are the units of machine number: an agent on each, and on the first ones a server, which runs where it was
// started.
func unitsOf(number int, address, leases string) []unit {
	units := []unit{
		{guardUnit, guardText},
		{leaveUnit, leaveText},
		{agentUnit, serviceText("Argosy agent", "After=docker.service\nWants="+guardUnit, agentCommand())},
	}
	if number <= maxServers {
		units = append(units,
			unit{witnessUnit, serviceText("Argosy witness", "After=network.target", witnessCommand())},
			unit{serverUnit, serviceText("Argosy server", "After=network-online.target\nWants="+witnessUnit, serverCommand(address, leases))})
	}
	return units
}

// guardText is the guard's service. What it keeps below /run outlives it, and what it guards is not in its own slice. It is back at
// once after it has ended: it has to be before a lease runs out.
const guardText = `[Unit]
Description=Argosy guard
Wants=` + leaveUnit + `
StartLimitIntervalSec=0

[Service]
ExecStart=` + guardPath + `
Restart=always
RestartSec=20ms
KillMode=process
Slice=argosy-guard.slice
RuntimeDirectory=argosy-guard
RuntimeDirectoryMode=0711
RuntimeDirectoryPreserve=yes
OOMScoreAdjust=-999
LimitMEMLOCK=infinity

[Install]
WantedBy=multi-user.target
`

// leaveText is what systemd stops first when the machine is shut down: before guard, agent, Engine, witness and network, since it is
// ordered after them. Nothing but that stops it: it depends on none of them, and systemd refuses whoever would by hand.
const leaveText = `[Unit]
Description=Argosy: shared volumes are given back before the machine is shut down
After=` + guardUnit + ` ` + agentUnit + ` docker.service containerd.service ` + serverUnit + ` ` + witnessUnit + ` network-online.target remote-fs-pre.target
RefuseManualStop=yes

[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=-` + guardPath + ` --remain
ExecStop=` + guardPath + ` --leave --patience 60s
TimeoutStopSec=90s

[Install]
WantedBy=multi-user.target
`

// serviceText writes a service. KillMode=process: stopping argosy stops nothing
// else, whatever it has started.
func serviceText(description, relations string, command []string) string {
	return fmt.Sprintf(`[Unit]
Description=%s
%s
StartLimitIntervalSec=0

[Service]
ExecStart=%s
Restart=always
RestartSec=500ms
KillMode=process
Delegate=yes

[Install]
WantedBy=multi-user.target
`, description, relations, strings.Join(command, " "))
}
