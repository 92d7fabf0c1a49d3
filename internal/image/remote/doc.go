// Package remote finds out, at apply time, which content a tag means in a registry that is not Argosy's, so that a
// revision holds digests only.
//
//	digest, err := resolver.Resolve(ctx, ref, credentials)
//	revision keeps ref.Pin(digest)
//	… and on a machine: ImagePull(ctx, ref.Pin(digest), {RegistryAuth: credentials.RegistryAuth(ref)})
//
// One question is asked (a HEAD, which registries do not count against anybody's rate), within a time limit. What goes
// wrong is an *Error that says whose fault it is: the registry cannot be reached, does not know the image, wants other
// credentials, or wants to be asked later.
package remote
