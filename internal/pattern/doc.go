// Package pattern is regular expressions that cost nothing until they are used. Compiling one takes tens of kilobytes and
// a good part of a millisecond; a package that did so as it is loaded would make every command pay, `--help` included.
//
//	var label = pattern.New(`^[a-z]([a-z0-9-]{0,61}[a-z0-9])?$`)
//
//	if !label.MatchString(name) { … }
package pattern
