// Package fault is what is wrong with a text that a person wrote: all of it at once, each with its place, the source line, a
// caret and what was probably meant. Manifests, Compose files and unit files are refused with it.
//
//	var c fault.Collector
//	c.Add(fault.Fault{File: "shop.yaml", Line: 5, Col: 5, …}).Near("imge", keys)
//	c.Sorted().Render(os.Stderr, style)
//
// How many faults are kept, how much of each is shown and how many words are compared is bounded: a text may come from anywhere.
package fault
