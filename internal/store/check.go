package store

import (
	"fmt"
)

// Limits of one transaction. Writers of many records commit several transactions of at most about a thousand
// operations; the limits leave room above that.
const (
	MaxTxnOps   = 8192    // operations, and comparisons
	MaxTxnBytes = 6 << 20 // keys and values together; compared keys count twice
)

// Check says what is wrong with a transaction in itself. Every store refuses one that does not pass.
func (t Txn) Check() error {
	if t.Term < 0 {
		return fmt.Errorf("a transaction cannot have the term %d", t.Term)
	}
	if len(t.Ops) > MaxTxnOps || len(t.If) > MaxTxnOps-1 {
		return fmt.Errorf("a transaction of %d operations and %d comparisons is too big: split it, at most %d fit",
			len(t.Ops), len(t.If), MaxTxnOps-1)
	}
	size := 0
	for _, c := range t.If {
		size += 2 * len(c.Key) // compared, and read when that fails
		if c.Key == "" || c.ModRevision < 0 {
			return fmt.Errorf("a transaction cannot compare the key %q with revision %d", c.Key, c.ModRevision)
		}
	}
	seen := make(map[string]struct{}, len(t.Ops))
	for _, op := range t.Ops {
		if op.Key == "" {
			return fmt.Errorf("a transaction writes a record without a key")
		}
		if _, twice := seen[op.Key]; twice {
			return fmt.Errorf("a transaction writes %s twice", op.Key)
		}
		seen[op.Key] = struct{}{}
		size += len(op.Key) + len(op.Value)
	}
	if size > MaxTxnBytes {
		return fmt.Errorf("a transaction of %d bytes is too big: split it, at most %d fit", size, MaxTxnBytes)
	}
	return nil
}
