package auth

import (
	"fmt"
	"log/slog"
)

const redacted = "[secret]"

// Secret is a value that cannot be printed, logged or encoded by accident. The zero Secret is empty.
type Secret struct {
	value []byte
}

// NewSecret hides a value. It keeps the slice.
func NewSecret(value []byte) Secret { return Secret{value} }

// Reveal returns the value itself.
func (s Secret) Reveal() []byte { return s.value }

// String hides the value.
func (Secret) String() string { return redacted }

// GoString hides the value.
func (Secret) GoString() string { return redacted }

// Format hides the value from every verb of package fmt.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue hides the value from slog.
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText hides the value from JSON, YAML and the like.
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }
