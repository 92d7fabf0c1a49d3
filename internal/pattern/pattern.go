package pattern

import (
	"regexp"
	"sync"
)

// Pattern is a regular expression that is compiled when it is first used. It must not be copied.
type Pattern struct {
	text string
	once sync.Once
	re   *regexp.Regexp
}

// New is a pattern for a text in Go's syntax. A text that is none panics when it is used first, so that any test finds it.
func New(text string) *Pattern { return &Pattern{text: text} }

func (p *Pattern) get() *regexp.Regexp {
	p.once.Do(func() { p.re = regexp.MustCompile(p.text) })
	return p.re
}

// MatchString says whether the pattern occurs in s.
func (p *Pattern) MatchString(s string) bool { return p.get().MatchString(s) }

// FindStringSubmatch is the leftmost match in s and those of its groups, nil where there is none.
func (p *Pattern) FindStringSubmatch(s string) []string { return p.get().FindStringSubmatch(s) }

// ReplaceAllString is s with every match replaced.
func (p *Pattern) ReplaceAllString(s, by string) string { return p.get().ReplaceAllString(s, by) }
