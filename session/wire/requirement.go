package wire

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// maxNesting is how deep the parentheses of a marker may be.
const maxNesting = 20

var (
	pythonName = regexp.MustCompile(`^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?`)
	pythonOp   = regexp.MustCompile(`^(?:~=|===|==|!=|<=|>=|<|>)`)
	// pythonVersion is PEP 440, with what that takes beside its normal form.
	pythonVersion = regexp.MustCompile(`(?i)^v?(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*` +
		`(?:[-_.]?(?:alpha|a|beta|b|preview|pre|c|rc)[-_.]?[0-9]*)?` +
		`(?:-[0-9]+|[-_.]?(?:post|rev|r)[-_.]?[0-9]*)?` +
		`(?:[-_.]?dev[-_.]?[0-9]*)?` +
		`(?:\+[a-z0-9]+(?:[-_.][a-z0-9]+)*)?`)
	pythonPrefix    = regexp.MustCompile(`(?i)^v?(?:[0-9]+!)?[0-9]+(?:\.[0-9]+)*\.\*`)
	pythonArbitrary = regexp.MustCompile(`^[A-Za-z0-9._+!-]+`)

	markerOp     = regexp.MustCompile(`^(?:~=|===|==|!=|<=|>=|<|>|in\b|not +in\b)`)
	markerWord   = regexp.MustCompile(`^[a-z_]+`)
	markerString = regexp.MustCompile(`^(?:'[^'"\\]*'|"[^'"\\]*")`)
	markerNames  = []string{
		"python_version", "python_full_version", "os_name", "sys_platform", "platform_release", "platform_system",
		"platform_version", "platform_machine", "platform_python_implementation", "implementation_name",
		"implementation_version", "extra",
	}
)

// A requirement is what is left to read of a requirement of PEP 508.
type requirement struct{ rest string }

// checkRequirement checks a requirement of PEP 508.
func checkRequirement(spec string) error {
	r := &requirement{spec}
	if r.match(pythonName) == "" {
		return errors.New("it does not begin with a name")
	}
	if err := r.extras(); err != nil {
		return err
	}
	if r.token("@") {
		at, marker := r.rest, ""
		if i := strings.IndexByte(at, ' '); i >= 0 {
			at, marker = at[:i], at[i:]
		}
		if err := checkURL(at); err != nil {
			return err
		}
		r.rest = marker
	} else if err := r.versions(); err != nil {
		return err
	}
	if r.token(";") {
		if err := r.marker(0); err != nil {
			return fmt.Errorf("in its marker %w", err)
		}
	}
	if r.space(); r.rest != "" {
		return fmt.Errorf("%q is not understood", shorten(r.rest))
	}
	return nil
}

func (r *requirement) space() { r.rest = strings.TrimLeft(r.rest, " ") }

// token takes text if it is next.
func (r *requirement) token(text string) bool {
	r.space()
	rest, ok := strings.CutPrefix(r.rest, text)
	if ok {
		r.rest = rest
		r.space()
	}
	return ok
}

// match takes what a pattern that is anchored at the beginning finds.
func (r *requirement) match(pattern *regexp.Regexp) string {
	r.space()
	found := pattern.FindString(r.rest)
	r.rest = r.rest[len(found):]
	return found
}

func (r *requirement) extras() error {
	if !r.token("[") || r.token("]") {
		return nil
	}
	for {
		if r.match(pythonName) == "" {
			return errors.New("an extra has no name")
		}
		if r.token("]") {
			return nil
		}
		if !r.token(",") {
			return errors.New("its extras do not end with ]")
		}
	}
}

func (r *requirement) versions() error {
	closing := r.token("(")
	if !closing && !strings.ContainsAny(r.rest[:min(1, len(r.rest))], "<>=!~") {
		return nil
	}
	for {
		op := r.match(pythonOp)
		if op == "" {
			return fmt.Errorf("%q begins with no comparison", shorten(r.rest))
		}
		if err := r.version(op); err != nil {
			return err
		}
		if !r.token(",") {
			break
		}
	}
	if closing && !r.token(")") {
		return errors.New("its versions do not end with )")
	}
	return nil
}

func (r *requirement) version(op string) error {
	if op == "===" {
		if r.match(pythonArbitrary) == "" {
			return errors.New("there is no version after ===")
		}
		return nil
	}
	if (op == "==" || op == "!=") && r.match(pythonPrefix) != "" {
		return nil
	}
	v := r.match(pythonVersion)
	if v == "" {
		return fmt.Errorf("after %s there is no version", op)
	}
	if op == "~=" && !strings.Contains(v, ".") {
		return fmt.Errorf("%s%s needs a version with two numbers", op, v)
	}
	return nil
}

// marker reads the conditions of a marker.
func (r *requirement) marker(depth int) error {
	if depth > maxNesting {
		return errors.New("parentheses are too deep")
	}
	for {
		if r.token("(") {
			if err := r.marker(depth + 1); err != nil {
				return err
			}
			if !r.token(")") {
				return errors.New("a ) is missing")
			}
		} else if err := r.comparison(); err != nil {
			return err
		}
		before := r.rest
		switch word := r.match(markerWord); word {
		case "and", "or":
		default:
			r.rest = before
			return nil
		}
	}
}

func (r *requirement) comparison() error {
	if err := r.operand(); err != nil {
		return err
	}
	if r.match(markerOp) == "" {
		return fmt.Errorf("%q begins with no comparison", shorten(r.rest))
	}
	return r.operand()
}

func (r *requirement) operand() error {
	if r.match(markerString) != "" {
		return nil
	}
	word := r.match(markerWord)
	if !slices.Contains(markerNames, word) {
		return fmt.Errorf("%q is no variable", shorten(word))
	}
	return nil
}
