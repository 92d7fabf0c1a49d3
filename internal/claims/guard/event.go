package guard

import (
	"time"

	"github.com/argosy-cluster/argosy/internal/claims"
)

// Event is what can happen to a guard.
type Event interface{ event() }

type (
	// Tick says that time has passed.
	Tick struct{}
	// Restarted is the first event after a saved state was read: orders that may have been lost are given again.
	Restarted struct{}
	// Configure tells the set of servers.
	Configure struct{ claims.Config }
	// Ack came from a witness.
	Ack struct{ claims.Ack }
	// Want comes from the agent, which was granted a claim. Fresh is a session that was never used: 128 random bits.
	// The guard takes it when its own is spent.
	Want struct {
		Claim claims.ID
		Token claims.Token
		Fresh claims.Session
	}
	// Release comes from the agent: the claim is no longer needed here.
	Release struct {
		Claim claims.ID
		Token claims.Token
	}
	// Leave says that the machine is about to be shut down: every claim is given back, and no other is taken. What the agent has not
	// stopped after Patience is ended without it.
	Leave struct{ Patience time.Duration }
	// Remain takes that back. What was given back by then is to be granted anew.
	Remain struct{}
	// Stopped comes from the agent: what could be asked to stop has stopped, or had the time to.
	Stopped struct {
		Claim claims.ID
		Token claims.Token
	}
	// Mounted answers Mount. Fault is empty when the mount was verified, on the descriptor that will be bound: it is a
	// mount root, its UUID is the volume's, and its marker names the volume and no higher token.
	Mounted struct {
		Claim claims.ID
		Token claims.Token
		Fault string
	}
	// Cleared answers Clear. Fault is empty when quiet was verified: no process in the slice, no mount of the file system
	// in any namespace, and an exclusive open of the device succeeded.
	Cleared struct {
		Claim claims.ID
		Token claims.Token
		Fault string
	}
	// Closed answers Seal: slice and path are gone.
	Closed struct {
		Claim claims.ID
		Token claims.Token
	}
)

func (Tick) event()      {}
func (Restarted) event() {}
func (Configure) event() {}
func (Ack) event()       {}
func (Want) event()      {}
func (Release) event()   {}
func (Leave) event()     {}
func (Remain) event()    {}
func (Stopped) event()   {}
func (Mounted) event()   {}
func (Cleared) event()   {}
func (Closed) event()    {}

// Effect is what a step asks for.
type Effect interface{ effect() }

type (
	// Save asks for the state to be on tmpfs before any effect after it is carried out.
	Save struct{}
	// Send a renewal; its Machine is for whoever sends it.
	Send struct {
		Witness claims.Witness
		Renewal claims.Renewal
	}
	// Mount the volume at the token's path, its slice frozen, and verify it.
	Mount struct {
		Claim claims.ID
		Token claims.Token
	}
	// Arm opens the gate: the slice is thawed.
	Arm struct {
		Claim claims.ID
		Token claims.Token
	}
	// AskStop asks the agent to stop what runs. At By what remains is killed, unless the lease is renewed.
	AskStop struct {
		Claim claims.ID
		Token claims.Token
		By    time.Duration
	}
	// Clear shuts the gate, kills what is in the slice, unmounts, and looks whether it is quiet.
	Clear struct {
		Claim claims.ID
		Token claims.Token
	}
	// Seal removes slice and path.
	Seal struct {
		Claim claims.ID
		Token claims.Token
	}
	// Watchdog says until when it may be fed, with the time-out Profile.Watchdog; later than Until it must not be. When it
	// is not On it is closed, so that it resets nothing.
	Watchdog struct {
		On    bool
		Until time.Duration
	}
	// Tell the agent how a claim is now.
	Tell struct {
		Claim claims.ID
		Token claims.Token
		Phase Phase
		// Refused: this want will not be met, ever; Why says why.
		Refused bool
		Why     string
	}
	// Reset the machine at once, without writing anything out.
	Reset struct{ Why string }
)

func (Save) effect()     {}
func (Send) effect()     {}
func (Mount) effect()    {}
func (Arm) effect()      {}
func (AskStop) effect()  {}
func (Clear) effect()    {}
func (Seal) effect()     {}
func (Watchdog) effect() {}
func (Tell) effect()     {}
func (Reset) effect()    {}

// Subject is the claim and token that an order about a volume is for; nothing of any other effect.
func Subject(e Effect) (claims.ID, claims.Token) {
	switch e := e.(type) {
	case Mount:
		return e.Claim, e.Token
	case Arm:
		return e.Claim, e.Token
	case Clear:
		return e.Claim, e.Token
	case Seal:
		return e.Claim, e.Token
	}
	return "", claims.Token{}
}
