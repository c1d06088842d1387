package protocol

import (
	"errors"
	"fmt"
)

// CleanJSON makes JSON of what Python's json module writes: NaN, Infinity and
// -Infinity outside strings become null. JSON without them is returned as it
// is, not copied. What is neither is an error.
func CleanJSON(raw []byte) ([]byte, error) {
	if validJSON(raw) {
		return raw, nil
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); {
		end := i + 1
		switch raw[i] {
		case '"':
			var err error
			if end, err = skipString(raw, i); err != nil {
				return nil, fmt.Errorf("clean JSON: %w", err)
			}
		case 'N', 'I', '-':
			if n := notANumber(raw[i:]); n > 0 {
				out = append(out, null...)
				i += n
				continue
			}
		}
		out = append(out, raw[i:end]...)
		i = end
	}
	if !validJSON(out) {
		return nil, errors.New("clean JSON: not JSON, also without NaN and Infinity")
	}
	return out, nil
}

// notANumber returns the length of the number that JSON does not know at the
// start of b, and 0 if there is none.
func notANumber(b []byte) int {
	for _, word := range [...]string{"NaN", "Infinity", "-Infinity"} {
		if len(b) >= len(word) && string(b[:len(word)]) == word {
			return len(word)
		}
	}
	return 0
}
