package unitfile

// Bounds on what a unit file may be. Whatever is beyond them is refused with a fault. systemd's own bound on a line, 1 MiB, is
// above that of a file.
const (
	MaxSize    = 256 << 10 // bytes of a unit file
	MaxOptions = 5000      // options of a unit file
	MaxRules   = 60        // conflicts, pairs of metadata, … of one unit, each: what an expression of a placement can hold
	MaxName    = 255       // bytes of a unit's name

	maxLine = 1024 // bytes of a source line that a fault remembers
)
