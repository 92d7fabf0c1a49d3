package agent

import (
	"context"
	"time"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
	"github.com/argosy-cluster/argosy/internal/agent/core"
)

// strayGather is how long what may leave volumes behind is gathered into one look.
const strayGather = time.Second

// lookForStrays has volumes looked for soon that belong to nothing assigned.
func (a *agent) lookForStrays() {
	select {
	case a.stray <- struct{}{}:
	default:
	}
}

// strays tells the leader of volumes that belong to nothing assigned, whenever these change. Nothing is ever done about them here:
// whether they are anybody's data is not known to a machine.
func (a *agent) strays(ctx context.Context) {
	told := &argosyv1.StrayReport{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-a.stray:
		}
		pause(ctx, strayGather)
		if !a.x.Complete() {
			continue // all assignments come, and then this is asked for again
		}
		wanted := a.x.Wanted()
		volumes, err := a.engine.Volumes(ctx)
		if err != nil {
			if ctx.Err() == nil {
				a.log.Debug("the machine's volumes could not be listed", "error", err)
			}
			continue // now and then it is asked for anyway
		}
		if r := core.Strays(wanted, volumes); !proto.Equal(r, told) {
			a.sess.Strays(r)
			told = r
		}
	}
}
