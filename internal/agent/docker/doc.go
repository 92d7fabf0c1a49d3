// Package docker is the agent's hands on a machine's Docker Engine: it shows containers as core.Container and does what
// core's steps ask for. It decides nothing and remembers nothing; whose a container is stands on its labels.
//
//	engine, err := docker.Open(ctx, docker.Config{ClusterID: id, Network: "argosy"})
//	containers, err := engine.List(ctx)
//	go engine.Watch(ctx, ready, func(containerID string) { look again at this one })
//	containerID, err := engine.Create(ctx, docker.Creation{Assignment: a, Spec: spec, Definition: def})
//	err = engine.Start(ctx, containerID)
//
// # What holds
//
//   - Engine 20.10 (API 1.41) and later; the version is negotiated.
//   - No container has a restart policy of Docker's: only the agent starts containers.
//   - Only containers with this cluster's label are seen or touched.
//   - What the Engine answers is bounded in size and checked before it is believed. A container whose labels cannot be
//     understood is not ours to touch; it is counted in the log and left alone.
//   - Errors are core.Fault values with a sentence for people; the Engine's own words are clipped and made printable.
package docker
