// Package join lets a machine or a user into a cluster: it spends a token and keeps what comes back.
//
//	token, err := auth.ParseToken(text, purpose)
//	m, err := join.Machine(ctx, token, facts, dir)   // `argosy join`
//	u, err := join.User(ctx, token, dir)             // `argosy login`
//
// The key is made and written before it is first used, so that a join whose answer was lost can be repeated with the same
// token: servers let the same key in again.
//
// What is kept in a directory: credential.pem (see [auth.Files]), sealing.key for machines, and membership.json, which
// says which cluster this is and where its servers are.
package join
