package notebook

import (
	"fmt"
	"math"
	"strings"
)

// A Problem is one breach of the format's rules.
type Problem struct {
	Place   string // such as cells[3].outputs[0]; empty for the notebook itself
	Message string
}

// String returns the problem with its place.
func (p Problem) String() string {
	if p.Place == "" {
		return p.Message
	}
	return p.Place + ": " + p.Message
}

// An InvalidError says in what a notebook breaks the rules of its format.
type InvalidError struct {
	Problems []Problem // at least one
}

// Error lists the first problems.
func (e *InvalidError) Error() string {
	const shown = 5
	var b strings.Builder
	b.WriteString("invalid notebook: ")
	for i, p := range e.Problems[:min(shown, len(e.Problems))] {
		if i > 0 {
			b.WriteString("; ")
		}
		b.WriteString(p.String())
	}
	if more := len(e.Problems) - shown; more > 0 {
		fmt.Fprintf(&b, "; and %d more", more)
	}
	return b.String()
}

// A step leads from a value to one inside it.
type step struct {
	key string
	n   int // an index in the list at key, or -1
}

// push goes one step down; the caller calls what it returns to come back.
func (r *reader) push(key string, n int) func() {
	r.path = append(r.path, step{key, n})
	return r.pop
}

func (r *reader) pop() { r.path = r.path[:len(r.path)-1] }

// where returns the place that is being read.
func (r *reader) where() string {
	var b strings.Builder
	for i, s := range r.path {
		if i > 0 {
			b.WriteByte('.')
		}
		b.WriteString(s.key)
		if s.n >= 0 {
			fmt.Fprintf(&b, "[%d]", s.n)
		}
	}
	return b.String()
}

// A finding is a problem for some minor versions only: which one a document has
// is known at its end, where nbformat puts it.
type finding struct {
	Problem
	since, until int
}

// upToKnown is the last minor for which unknown things are a problem: later
// ones may have added them.
const upToKnown = Minor

func (r *reader) finding(since, until int, format string, args ...any) finding {
	return finding{Problem{r.where(), fmt.Sprintf(format, args...)}, since, until}
}

// note notes a problem for minors up to until.
func (r *reader) note(until int, format string, args ...any) {
	r.found = append(r.found, r.finding(0, until, format, args...))
}

// wrong notes a problem of every version.
func (r *reader) wrong(format string, args ...any) { r.note(math.MaxInt, format, args...) }

// relevant returns the problems that count for a minor version.
func (r *reader) relevant(minor int) []Problem {
	var problems []Problem
	for _, f := range r.found {
		if minor >= f.since && minor <= f.until {
			problems = append(problems, f.Problem)
		}
	}
	return problems
}

// kindOf names the kind of the valid value raw, with its article.
func kindOf(raw []byte) string {
	switch raw[0] {
	case '{':
		return "an object"
	case '[':
		return "a list"
	case '"':
		return "a string"
	case 't', 'f':
		return "a boolean"
	case 'n':
		return "null"
	}
	return "a number"
}

// short returns raw, cut for a message.
func short(raw []byte) string {
	const most = 40
	text := []rune(string(raw[:min(len(raw), most*4)]))
	if len(text) <= most && len(raw) <= most*4 {
		return string(text)
	}
	return string(text[:min(len(text), most)]) + "..."
}
