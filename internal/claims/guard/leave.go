package guard

// Parting is how far a guard is that gives everything back.
type Parting struct {
	Leaving bool
	// Exposed counts claims that something may still be able to write with.
	Exposed int
	// Untold counts those that are over, of which a majority of the servers has not heard that yet: whoever follows would have to wait.
	Untold int
}

// PartingOf tells it of a state.
func PartingOf(s State) Parting {
	p := Parting{Leaving: s.Leaving}
	for i := range s.Claims {
		c := &s.Claims[i]
		switch {
		case c.Phase != Sealed:
			p.Exposed++
		case !s.Config.Majority(c.recordedBy):
			p.Untold++
		}
	}
	return p
}
