package witness

import (
	"context"
	"fmt"
	"net"

	leasev1 "github.com/argosy-cluster/argosy/api/argosy/lease/v1"
	"github.com/argosy-cluster/argosy/internal/claims"
	table "github.com/argosy-cluster/argosy/internal/claims/witness"
	"github.com/argosy-cluster/argosy/internal/lease"
)

// Listen opens the socket for the server beside the witness. Only processes of this user, and root's, are answered there.
func Listen(path string) (net.Listener, error) { return lease.Listen(path) }

// server answers the orders of the server beside this witness.
func (w *Witness) server(_ context.Context, c net.Conn) {
	if err := lease.SameUser(c); err != nil {
		w.cfg.Log.Warn("somebody else's process is not answered", "err", err)
		return
	}
	for {
		order := &leasev1.Order{}
		if lease.Read(c, order) != nil {
			return
		}
		report, err := w.report(order)
		if err != nil {
			report.Refused = err.Error()
		}
		if lease.Write(c, report) != nil {
			return
		}
	}
}

// report carries out an order, and says how the witness is after it.
func (w *Witness) report(order *leasev1.Order) (*leasev1.Report, error) {
	var err error
	look := false
	switch o := order.GetOrder().(type) {
	case *leasev1.Order_Look:
		look = true
	case *leasev1.Order_Configure:
		c := lease.ConfigFrom(o.Configure)
		if err = c.Validate(); err == nil {
			_, err = w.step(table.Configure{Config: c})
		}
	case *leasev1.Order_Machines:
		err = w.machines.replace(o.Machines)
	case *leasev1.Order_Fence:
		_, err = w.step(table.Fence{Session: claims.Session(o.Fence.GetSession())})
	case *leasev1.Order_FenceClaim:
		_, err = w.step(table.FenceClaim{Claim: claims.ID(o.FenceClaim.GetClaim()), Machine: claims.Machine(o.FenceClaim.GetMachine()), Token: lease.StampFrom(o.FenceClaim.GetToken())})
	case *leasev1.Order_Drop:
		_, err = w.step(table.Drop{Claims: lease.ClaimsFrom(o.Drop.GetClaims())})
	default:
		err = fmt.Errorf("this witness does not know such an order: it is of an earlier release than the server")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.cfg.Clock.Now()
	s := w.state.Status(now)
	r := &leasev1.Report{Witness: string(s.Witness), Key: w.id.Pin[:], Config: lease.ConfigTo(w.state.Config), Settled: s.Settled,
		Silent: s.Silent, Left: int64(s.Left), Trouble: w.trouble}
	if look {
		for _, sight := range w.state.Sights(now) {
			r.Sights = append(r.Sights, lease.SightTo(sight.Record.Claim, sight.Record.Machine, sight.Record.Session, sight.Record.Token,
				leasev1.Holding(sight.Record.State)+leasev1.Holding_HOLDING_HELD, sight.Age))
		}
	}
	return r, err
}
