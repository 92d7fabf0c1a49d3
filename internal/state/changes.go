package state

// Set is a set of keys.
type Set[K comparable] map[K]struct{}

// Add puts a key into the set.
func (s Set[K]) Add(k K) { s[k] = struct{}{} }

// Has reports whether a key is in the set.
func (s Set[K]) Has(k K) bool { _, ok := s[k]; return ok }

// Changes lists what changed since they were last taken. A key in it may have been added, replaced or removed.
type Changes struct {
	// All says that everything is new: the mirror was just loaded.
	All bool
	// Settings: the cluster's settings, generation or servers.
	Settings bool
	// Apps whose record or revisions changed.
	Apps Set[AppKey]
	// Replicas whose record or volumes changed.
	Replicas Set[Key]
	Machines Set[string]
	// Assigned names, for each machine, the replicas to look at again: they are, were, or may still be there.
	Assigned    map[string]Set[Key]
	Secrets     Set[SecretKey]
	Credentials Set[SecretKey]
	// Faults: a record was found that cannot be used.
	Faults bool
}

func newChanges() Changes {
	return Changes{
		Apps: Set[AppKey]{}, Replicas: Set[Key]{}, Machines: Set[string]{}, Assigned: map[string]Set[Key]{},
		Secrets: Set[SecretKey]{}, Credentials: Set[SecretKey]{},
	}
}

// Empty reports whether nothing changed.
func (c *Changes) Empty() bool {
	return !c.All && !c.Settings && !c.Faults && len(c.Apps)+len(c.Replicas)+len(c.Machines)+len(c.Assigned)+
		len(c.Secrets)+len(c.Credentials) == 0
}

func (c *Changes) assigned(machine string, k Key) {
	if c.Assigned[machine] == nil {
		c.Assigned[machine] = Set[Key]{}
	}
	c.Assigned[machine].Add(k)
}
