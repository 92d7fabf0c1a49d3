package leases

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	"github.com/argosy-cluster/argosy/internal/lease"
	"github.com/argosy-cluster/argosy/internal/store"
)

const (
	// lookEvery is how often the witness is asked while this server leads, calmly while it does not, and hurriedly while its answer is awaited.
	lookEvery = time.Second
	calmly    = 5 * time.Second
	hurriedly = 200 * time.Millisecond
	// answerTime is how long the witness may take. It writes to a disk at most.
	answerTime = 5 * time.Second
	// retry is the time between attempts to reach the store.
	retry = 500 * time.Millisecond
)

// Config says what a Keeper needs. All of it must be set but Looked, Hurry and Now.
type Config struct {
	// Socket is the witness's for the server beside it.
	Socket string
	Store  store.Store
	// Server is this server's id.
	Server string
	// Leading says whether this server leads.
	Leading func() bool
	// Looked is told what the witness sees, or why it does not say, each time that it is asked while this server leads. Whether the
	// witnesses are voting, this one does not know.
	Looked func(claims.Sights)
	// Hurry says whether what the witness sees is awaited. May be nil.
	Hurry func() bool
	Log   *slog.Logger
	// Now is time.Now, unless a test lives in another time.
	Now func() time.Time
}

// Status is what was last heard of the witness.
type Status struct {
	// Report is its last answer, nil when it does not answer.
	Report *leasev1.Report
	// Why it does not, a plain sentence; empty when it does.
	Why string
}

// Keeper speaks with one witness.
type Keeper struct {
	cfg    Config
	wanted wanted
	// volumes say which records of the witness's table nobody needs any more.
	volumes volumes

	// speaking is held for an order and its answer.
	speaking sync.Mutex
	conn     net.Conn

	mu     sync.Mutex
	status Status
}

// New makes a keeper that does nothing until it runs.
func New(cfg Config) *Keeper {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	return &Keeper{cfg: cfg, wanted: newWanted(), status: Status{Why: "it was not asked yet"}}
}

// Status is what was last heard of the witness.
func (k *Keeper) Status() Status {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.status
}

// Run tells the witness what it has to know and asks how it is, until ctx is done.
func (k *Keeper) Run(ctx context.Context) error {
	var all sync.WaitGroup
	defer all.Wait()
	all.Go(func() { k.follow(ctx, store.Machines, k.wanted.machine) })
	all.Go(func() { k.follow(ctx, store.LeasesKey, k.wanted.lease) })
	all.Go(func() { k.follow(ctx, store.Volumes, k.volumes.volume) })
	defer k.hangUp()
	tick := time.NewTimer(lookEvery)
	defer tick.Stop()
	var asked time.Time
	for {
		every := lookEvery
		if now := time.Now(); k.cfg.Leading() || now.Sub(asked) >= calmly || k.wanted.due() {
			asked = now
			k.ask(ctx)
		}
		if k.cfg.Hurry != nil && k.cfg.Hurry() {
			every = hurriedly
		}
		tick.Reset(every)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-k.wanted.poke:
		case <-tick.C:
		}
	}
}

// ask tells the witness what is new, looks at its table, and passes on what it sees.
func (k *Keeper) ask(ctx context.Context) {
	err := k.tell(ctx)
	var report *leasev1.Report
	if err == nil {
		report, err = k.Order(ctx, &leasev1.Order{Order: &leasev1.Order_Look{Look: &leasev1.Look{}}})
	}
	if ctx.Err() != nil {
		return
	}
	next := Status{Report: report}
	if err != nil {
		next = Status{Why: err.Error()}
	}
	k.mu.Lock()
	before := k.status
	k.status = next
	k.mu.Unlock()
	switch {
	case err != nil && before.Why != next.Why:
		k.cfg.Log.Warn("the witness beside this server does not answer: no claims are granted here until it does", "err", err)
	case err == nil && before.Report == nil:
		k.cfg.Log.Info("the witness beside this server answers", "silent", report.GetSilent())
	}
	if k.cfg.Looked != nil && k.cfg.Leading() {
		k.cfg.Looked(SightsOf(k.cfg.Server, next))
	}
	k.drop(ctx, report)
}

// drop has the witness drop what nobody needs any more.
func (k *Keeper) drop(ctx context.Context, report *leasev1.Report) {
	list := k.volumes.due(k.cfg.Now(), report.GetSights())
	if len(list) == 0 {
		return
	}
	order := &leasev1.Drop{}
	for _, id := range list {
		order.Claims = append(order.Claims, string(id))
	}
	if _, err := k.Order(ctx, &leasev1.Order{Order: &leasev1.Order_Drop{Drop: order}}); err != nil {
		k.cfg.Log.Debug("the witness drops nothing now", "err", err) // and is asked again
		return
	}
	k.cfg.Log.Info("the witness drops claims of volumes that are no more", "count", len(list))
}

// tell has the witness know what it does not know yet.
func (k *Keeper) tell(ctx context.Context) error {
	machines, tellMachines, tellConfig := k.wanted.take()
	if tellMachines {
		if _, err := k.Order(ctx, &leasev1.Order{Order: &leasev1.Order_Machines{Machines: machines}}); err != nil {
			k.wanted.again()
			return err
		}
	}
	if !tellConfig {
		return nil
	}
	snap, err := k.cfg.Store.Get(ctx, store.LeasesKey) // which a majority confirms
	if err != nil {
		k.wanted.again()
		return nil // that the store is away is told elsewhere; the witness goes on with what it knows
	}
	c, err := configIn(snap)
	if err != nil || c == nil {
		return err
	}
	if _, err := k.Order(ctx, &leasev1.Order{Order: &leasev1.Order_Configure{Configure: lease.ConfigTo(*c)}}); err != nil {
		k.wanted.again()
		return err
	}
	return nil
}

// Order gives the witness an order and waits for its report.
func (k *Keeper) Order(ctx context.Context, o *leasev1.Order) (*leasev1.Report, error) {
	k.speaking.Lock()
	defer k.speaking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	if k.conn == nil {
		var d net.Dialer
		c, err := d.DialContext(ctx, "unix", k.cfg.Socket)
		if err != nil {
			return nil, fmt.Errorf("no witness at %s (%w): is argosy-witness running beside this server?", k.cfg.Socket, plain(err))
		}
		k.conn = c
		// Whose witness this is, is asked before it is told anything.
		r, err := converse(ctx, c, &leasev1.Order{Order: &leasev1.Order_Look{Look: &leasev1.Look{}}})
		if err != nil {
			return nil, k.broke(err)
		}
		if r.GetWitness() != k.cfg.Server {
			_ = c.Close()
			k.conn = nil
			return nil, fmt.Errorf("the witness at %s stands beside server %.64q, and this one is %s: give each server a --witness-socket of its own", k.cfg.Socket, r.GetWitness(), k.cfg.Server)
		}
	}
	r, err := converse(ctx, k.conn, o)
	if err != nil {
		return nil, k.broke(err)
	}
	if r.GetRefused() != "" {
		return nil, fmt.Errorf("the witness refused what it was told: %s", r.GetRefused())
	}
	return r, nil
}

// broke hangs up on a witness that did not answer. k.speaking is held.
func (k *Keeper) broke(err error) error {
	_ = k.conn.Close()
	k.conn = nil
	k.wanted.again() // another process may answer next
	return fmt.Errorf("the witness at %s broke off: %w", k.cfg.Socket, err)
}

// plain is the innermost error: what dialling adds to it says nothing more.
func plain(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func converse(ctx context.Context, c net.Conn, o proto.Message) (*leasev1.Report, error) {
	if at, ok := ctx.Deadline(); ok {
		if err := c.SetDeadline(at); err != nil {
			return nil, err
		}
	}
	stop := context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Now()) })
	defer stop()
	if err := lease.Write(c, o); err != nil {
		return nil, err
	}
	r := &leasev1.Report{}
	return r, lease.Read(c, r)
}

func (k *Keeper) hangUp() {
	k.speaking.Lock()
	defer k.speaking.Unlock()
	if k.conn != nil {
		_ = k.conn.Close()
		k.conn = nil
	}
}
