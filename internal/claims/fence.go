package claims

import "slices"

// Barred is a machine that the storage of a claim refuses, or is being told to refuse.
type Barred struct {
	Machine Machine
	// Token: nothing that the machine was granted up to it can write, once that is Confirmed.
	Token     Token
	Confirmed bool
	// Clear: the machine is there, and has said that nothing is left of what it was granted up to Token.
	Clear bool
	// Said is why the storage has not done yet what it was asked for, empty when it was not asked or has.
	Said string
}

// fenced completes a decision about a claim whose storage can refuse machines. A holder that neither its agent nor its guard is heard of is
// refused, if somebody else is to have the claim; nobody is granted it whom the storage would refuse; and while it refuses somebody, it is not
// forgotten, since nobody would know then whom it has to take back.
func fenced(p Profile, mute string, w Wish, d Decision) Decision {
	switch {
	case w.Force != nil || w.Class == ClassLocal:
		return d
	case w.Wanted == "":
		return forgotten(w, d)
	}
	d.Bar = bar(p, mute, w)
	if s := w.Seen; s != nil && s.Gone == "" && s.Machine != w.Wanted {
		if b := w.barred(s.Machine); b != nil && !b.Token.Less(s.Token) {
			d.Reason += "; " + b.words()
		}
	}
	b := w.barred(w.Wanted)
	if b == nil {
		return d
	}
	if b.Clear {
		d.Back = w.Wanted
	}
	if d.Action != Grant {
		return d
	}
	d.Action, d.Wait, d.Reason = WaitFor, 0, b.awaited()
	return d
}

// forgotten completes a decision about a claim that nobody wants.
func forgotten(w Wish, d Decision) Decision {
	if !w.Forget || len(w.Barred) == 0 {
		return d
	}
	next := w.Barred[0]
	if i := slices.IndexFunc(w.Barred, func(b Barred) bool { return b.Clear }); i >= 0 {
		next = w.Barred[i]
		d.Back = next.Machine
	}
	if d.Action == Keep {
		d.Reason = next.awaited()
	}
	return d
}

// bar is the machine of a silent holder that the storage was not told to refuse yet, empty when there is none.
func bar(p Profile, mute string, w Wish) Machine {
	s, g := w.Seen, w.Granted
	switch {
	case w.Class != ClassFenced || mute != "" || s == nil || s.Gone != "" || s.Machine == w.Wanted:
		return ""
	case !w.Silent || s.Age < p.Lease/2:
		return ""
	case g != nil && g.Ended && g.Machine == s.Machine && g.Token == s.Token:
		return "" // nothing is left there to be refused
	}
	if b := w.barred(s.Machine); b != nil && !b.Token.Less(s.Token) {
		return ""
	}
	return s.Machine
}

func (w Wish) barred(m Machine) *Barred {
	for i := range w.Barred {
		if w.Barred[i].Machine == m {
			return &w.Barred[i]
		}
	}
	return nil
}

// words say how a machine and the storage stand.
func (b Barred) words() string {
	if b.Confirmed {
		return "the storage refuses " + string(b.Machine)
	}
	return "the storage is told to refuse " + string(b.Machine) + because(b.Said)
}

// awaited says what has to come before anything else that is to be done.
func (b Barred) awaited() string {
	if b.Clear {
		return "the storage is to take " + string(b.Machine) + " back first" + because(b.Said)
	}
	return "the storage was told to refuse " + string(b.Machine) + ", and takes it back once that says that nothing is left there of what it had"
}

// because adds why not, where that is known.
func because(said string) string {
	if said == "" {
		return ""
	}
	return ": " + said
}
