// Package report turns what the comparing bench measured into tables and a page with plots.
//
//	results := report.Results{Sizes: sizes, Contestants: contestants, Machine: machine}
//	results.Runs = append(results.Runs, run)
//	err := report.Write(dir, results)      // results.json, index.html, table.md
//	err = report.WriteTable(os.Stderr, results)
//
// Everything but Write is pure: the same results give the same bytes. The page holds its style and its plots (SVG, drawn
// here), and fetches nothing.
package report
