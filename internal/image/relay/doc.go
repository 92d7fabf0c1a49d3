// Package relay is a machine's own registry: a read-only endpoint on 127.0.0.1 that the machine's Docker pulls from, and
// that passes each request on to whichever server answers.
//
//	docker pull 127.0.0.1:PORT/TENANT/NAME@sha256:…  ──▶  relay  ══ mTLS ══▶  any server
//
// Docker takes addresses in 127.0.0.0/8 without TLS, so nothing has to be configured on the machine, and pulling through
// Docker's own client gives everything that Docker is good at: only missing layers, several at once, verified by digest.
//
// The relay verifies nothing and keeps nothing. It adds what Docker lacks: when a server fails, in the middle of a blob
// too, the next one goes on at the same byte, and Docker does not notice. One that has not answered for a moment is not waited
// for: the next one is asked as well, and whoever answers first is taken. Only when no server goes on is the connection
// broken, after which Docker tries again by itself.
//
// Docker has to show a password that the relay made up when it started (Relay.Auth), so that other users of the machine
// cannot read tenants' images by way of the machine's certificate.
//
//	r := relay.New(relay.Options{Servers: addresses, Transport: mtls, Log: log})
//	l, err := relay.Listen(port)
//	go r.Serve(ctx, l)
//	docker.ImagePull(ctx, image.Local(relay.Port(l), tenant, name, digest), client.ImagePullOptions{RegistryAuth: r.Auth()})
package relay
