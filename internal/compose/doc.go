// Package compose turns Compose files into a manifest that says the same to Argosy, with comments where it cannot:
//
//	files, err := manifest.ReadFiles(names, os.Stdin)
//	res := compose.Import(files, compose.Options{LookupEnv: os.LookupEnv})
//	res.Notes.Render(os.Stderr, style)
//	res.Faults.Render(os.Stderr, style)
//	os.Stdout.Write(res.Manifest)
//
// compose-go says what Compose files mean: how several are merged, what extends, include, anchors and profiles add up to,
// what is valid. It forgets where things stand, so the files are read a second time as trees (manifest.Trees), in which
// every value is looked up again by its path: faults get their place from there, and texts their variables, which a
// manifest interpolates as Compose does.
//
//	gather     the files, and those that they extend and include: below the directory, bounded, never from elsewhere
//	load       compose-go's model: everything resolved and interpolated
//	translate  each key of each service: carried, left out with a note, or refused with a fault; into a tree with comments
//	settle     write the tree, let manifest.Parse judge it, take out what that refuses with a fault at its place in the
//	           Compose file, until nothing is refused
//
// So whatever is written is a manifest that `argosy validate` takes. The table of Compose keys and the reasons why some
// are refused are those of package manifest.
package compose
