// Package placement is the small language in which a stack says on which
// machines it may run:
//
//	zone == edge
//	disk != hdd && rack in (a, b)
//	has(gpu) || !(zone in (core, "far away"))
//	machine == m1
//
// A word before an operator names a label of the machine (or the built-in
// [Machine], which is the machine's name); a word after it is a value. Values
// with other characters than letters, digits and "._/:+-" are quoted with " or
// '. From weakest to strongest: ||, &&, !. A label that a machine does not
// have equals nothing: "==" and "in" are then false, "!=" and "not in" true.
//
//	e, err := placement.Parse("zone == edge")     // *SyntaxError says where
//	e.Eval(func(key string) (string, bool) {…})   // does this machine match?
//	e.Mismatch(labels)                            // if not: which label, and what it needs
//
// The input is hostile: [Parse] takes at most [MaxLength] bytes, [MaxDepth]
// levels and [MaxTerms] comparisons and values, so it costs microseconds
// whatever it is given. An Expr is a value that never changes and may be shared.
package placement
