// Package auth is who may do what: the cluster's certificate authority, the tokens that let machines and users in, the
// table of who may call which RPC, and the keys that secrets are kept under.
//
// A server makes the cluster's keys the first time and loads them afterwards, and puts two layers around its handlers:
//
//	cluster, err := auth.Bootstrap(ctx, store, keyFile, settings, time.Now())
//	a := auth.NewAuthenticator(cluster.Verifier(), directory)
//	path, h := argosyv1connect.NewAppServiceHandler(apps, connect.WithInterceptors(a.Interceptor()))
//	srv := &http.Server{Handler: a.Middleware(mux), ConnContext: auth.ConnContext, TLSConfig: auth.ServerTLS(source, cluster.Verifier())}
//
// A handler asks [IdentityFrom] who calls; that the caller may, and that the tenant in the request is one that is the
// caller's to name, is already sure.
//
// A machine that joins reads everything it needs from one token, makes a key, and keeps what it gets for it:
//
//	token, err := auth.ParseToken(text, argosyv1.TokenPurpose_TOKEN_PURPOSE_MACHINE)
//	key, csr, err := auth.NewKey()
//	… Join over auth.PinnedTLS(token), then files.Save(credential) …
//	go renewer.Run(ctx)
//
// Certificates name their holder in a URI, `argosy://<cluster id>/machine/<id>`, and say nothing of what the holder may
// do: users' roles and tenants, and whether a machine is still a member, are looked up each time.
package auth
