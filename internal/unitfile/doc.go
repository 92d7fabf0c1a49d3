// Package unitfile reads systemd's unit files as systemd does, each option with its place, and what fleet's [X-Fleet] section
// asks of machines. What is wrong is told all at once:
//
//	unit, faults := unitfile.Read("web@1.service", text)
//	faults.Render(os.Stderr, style)
//	unit.Fleet.Conflicts // globs, their specifiers expanded
//
// [Read] goes through a file in four steps, which can be taken one by one:
//
//	unit, err := unitfile.ParseName("web@1.service")
//	file, faults := unitfile.Parse(name, text)     // lines to sections and options     (systemd.syntax(7))
//	faults = file.Check(unit)                      // which of them systemd knows       (known.txt)
//	fleet, faults := file.Fleet(unit)              // specifiers expanded, rules judged
//
// A file can also be a list of options, as fleet's API has it. The list is kept as it came, byte for byte, and refused when its
// text would say something else than the list:
//
//	file, faults := unitfile.FromOptions(name, options)
//	file.Options()
//
// It is pure, and a unit file may come from anywhere: limits.go bounds what one can cost.
package unitfile
