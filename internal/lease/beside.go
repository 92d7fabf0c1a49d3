package lease

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// Beside is what a server tells the witness that starts beside it, in a file of its directory: the witness waits for nothing else
// of it.
type Beside struct {
	Server string `json:"server"`
	// Timing is the name of the cluster's profile.
	Timing string `json:"timing"`
}

func besidePath(dir string) string { return filepath.Join(dir, "witness.json") }

// WriteBeside keeps it in a server's directory.
func WriteBeside(dir string, b Beside) error {
	if have, err := ReadBeside(dir); err == nil && have == b {
		return nil
	}
	text, err := json.Marshal(b)
	if err == nil {
		err = ReplaceFile(besidePath(dir), append(text, '\n'))
	}
	if err != nil {
		return fmt.Errorf("telling the witness beside this server who it is: %w", err)
	}
	return nil
}

// ReadBeside reads it. The error is fs.ErrNotExist's while the server has not begun.
func ReadBeside(dir string) (b Beside, err error) {
	text, err := os.ReadFile(besidePath(dir))
	if err != nil {
		return b, err
	}
	if err := json.Unmarshal(text, &b); err != nil || b.Server == "" {
		return b, fmt.Errorf("%s does not say which server this is: start the server, which writes it anew: %v", besidePath(dir), err)
	}
	return b, nil
}
