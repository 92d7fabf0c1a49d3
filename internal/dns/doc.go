// Package dns answers the names that containers see, on every machine.
//
// A [Server] listens on the gateway address of the machine's container subnet.
// It answers names below argosy.internal out of a [Table] that is kept by
// deltas, and sends every other name to the machine's own resolvers. Names
// below argosy.internal are never sent anywhere else.
//
//	apache.lamp.shop.default.argosy.internal         every ready replica's apache
//	apache.3.lamp.shop.default.argosy.internal       replica 3's, ready or not
//	_http._tcp.apache.lamp.shop.default.argosy...    SRV: the port named http of each
//	10.1.64.10.in-addr.arpa                          PTR: the numbered name
//
// The main loop is a question at a time:
//
//	for each question {
//		in the zone, or an address of the cluster:  answer from the table
//		short for one of the asker's own names:     answer from the table
//		from the machine itself, or from outside:   refuse
//		anything else:                              forward, within limits
//	}
//
// # Ready or not
//
// The plain name answers ready replicas only: it is what a load balancer
// follows. The numbered name answers as soon as the member has an address,
// ready or not, because it is how siblings find each other: an apache whose
// readiness depends on its mysql must be able to resolve mysql while neither is
// ready, and a mysql must be reachable by name for whoever repairs it.
//
// A name that exists but has nothing to give (no replica ready, or AAAA where
// there are only IPv4 addresses) is answered with no records and no error. A
// name that nobody declared does not exist (NXDOMAIN). Answers may not be
// cached: their time to live is 0, so a change counts from the next question.
//
// # Short names
//
// Containers get the search domains of [SearchDomains] and the options of
// [ResolverOptions]. With ndots:4 every name of up to four labels is tried in
// the search domains first, so mysql is the sibling, apache.lamp.shop is the
// tenant's own although .shop is also a real top-level domain, and
// apache.3.lamp.shop is one replica's. The price, two extra questions per
// outside name, is paid on the machine itself. A resolver that knows no search
// domains, such as HAProxy's, gets the same answers for every name with a dot
// in it: the server knows the asker's address and tries its search domains when
// nothing else fits. (Docker's own resolver, which stands between, keeps names
// without a dot to itself.) A tenant hides an outside name from its own
// containers only by declaring the very same one; www.apache.lamp.shop is
// outside.
//
// A plain name that no sibling has stands for the one container of that name
// elsewhere in the app: every ready replica of it. When two other stacks have
// one, nobody is meant, and as long as a sibling's endpoint is in the table, with
// an address or without, only the sibling is.
//
// # Limits
//
// Lookups take a read lock for as long as it takes to copy an answer's
// addresses and do not depend on the size of the cluster. A delta costs what it
// changes. Forwarded questions are bounded in number, for each container and
// together, and in time.
package dns
