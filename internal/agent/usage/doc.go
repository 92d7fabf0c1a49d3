// Package usage samples what containers and their machine use. It reads a few small files of the kernel for each container,
// and asks no engine.
//
//	s := usage.New("/")
//	report := s.Sample(now, containers, diskDir)     // cpu is over the time since the sample before
package usage
