// Package turns asks several that can all answer, each when the one before it has had its turn, so that one of which nothing comes, as of a
// machine that has just lost power, costs a moment and not a time-out.
//
//	for said := range turns.Ask(ctx, turns.Delay, len(servers), dial, closeConn) {
//		if said.Err == nil {
//			return said.Value // those that are still asked are let go
//		}
//	}
package turns
