// Package manifest turns the YAML files of one app into an [argosyv1.AppSpec], or into everything that is wrong with
// them, each fault with its place:
//
//	files, err := manifest.ReadFiles(names, os.Stdin)
//	spec, source, faults := manifest.Parse(files, manifest.Options{LookupEnv: os.LookupEnv, ReadFile: manifest.FilesBelow})
//	source.Notes().Render(os.Stderr, style)
//	faults.Render(os.Stderr, style)
//
// Parse goes through a manifest in three steps:
//
//	for each file: bound it, let the YAML library make a tree, hand each key to its field in a table   (reader, shape)
//	check what the parts say about each other                                                          (check)
//	when there was no fault: the app                                                                   (build)
//
// A table (tables.go) lists the keys of a map: what each is for, what its values look like and what to do with them, and
// for a key of the Compose Specification that is not honoured why not, and what to do instead. [Schema] and the reference
// docs are made from the same tables, so they cannot disagree with the parser about keys.
//
// A manifest may come from anywhere. limits.go bounds what it can cost: refusing one takes less than a second and less
// than 100 MB. Aliases are followed, never copied, and counted every time. Nothing of the environment or the file system
// is seen but through [Options], and files only at or below the manifest's directory.
package manifest
