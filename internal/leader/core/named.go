package core

import (
	"cmp"
	"strings"

	"google.golang.org/protobuf/proto"

	argosyv1 "github.com/argosy-cluster/argosy/api/argosy/v1"
)

// idLength is that of the ids of machines and servers, in hexadecimal digits.
const idLength = 32

// named puts the names of machines and servers where a text has their ids, which is what guards and witnesses know them by.
func (c *Core) named(text string) string {
	if len(text) < idLength {
		return text
	}
	var out strings.Builder
	for len(text) > 0 {
		n := 0
		for n < len(text) && strings.IndexByte("0123456789abcdef", text[n]) >= 0 {
			n++
		}
		word := text[:n]
		if n == idLength {
			word = c.nameOf(word)
		}
		out.WriteString(word)
		if n < len(text) {
			out.WriteByte(text[n])
			n++
		}
		text = text[n:]
	}
	return out.String()
}

// nameOf is the name of the machine or server with an id, and the id where there is none.
func (c *Core) nameOf(id string) string {
	return cmp.Or(c.st.Machine(id).GetName(), c.st.Server(id).GetName(), id)
}

// namedMembers is an observation in which messages name machines and servers. What was told stays as it is.
func (v *View) namedMembers(o *argosyv1.ReplicaObservation) *argosyv1.ReplicaObservation {
	if len(o.GetClaims()) == 0 {
		return o // nothing else has ids in it
	}
	o = proto.CloneOf(o)
	o.Message = v.core.named(o.GetMessage())
	for _, m := range o.GetMembers() {
		m.Message = v.core.named(m.GetMessage())
	}
	for _, c := range o.GetClaims() {
		c.Message = v.core.named(c.GetMessage())
	}
	return o
}
