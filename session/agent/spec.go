package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/gokernel/gokernel/session/wire"
)

// parseRun returns what a request's metadata asks for beside its code, or nil
// when a kernel's client asks for nothing. The error names the field that is
// wrong.
func parseRun(metadata []byte, owner string) (*wire.Run, error) {
	isRun := owner != wire.KernelOwner
	if !isRun && !bytes.Contains(metadata, []byte(`"`+wire.RunKey+`"`)) {
		return nil, nil
	}
	var outer map[string]json.RawMessage
	if len(metadata) > 0 {
		if err := json.Unmarshal(metadata, &outer); err != nil {
			return nil, fmt.Errorf("metadata: %w", err)
		}
	}
	raw, ok := outer[wire.RunKey]
	if !ok && !isRun {
		return nil, nil // the word stands elsewhere
	}
	spec := new(wire.Run)
	if ok {
		d := json.NewDecoder(bytes.NewReader(raw))
		d.DisallowUnknownFields()
		if err := d.Decode(spec); err != nil {
			return nil, fmt.Errorf("metadata.%s%w", wire.RunKey, describeJSON(err))
		}
	}
	if isRun {
		return spec, nil
	}
	return spec, checkCell(spec)
}

// checkCell returns an error when a kernel's client asks for what only a run may.
func checkCell(spec *wire.Run) error {
	for _, f := range []struct {
		name  string
		given bool
	}{
		{"manifest", spec.Manifest != nil}, {"cwd", spec.Cwd != ""}, {"language", spec.Language != ""},
		{"interpreter", spec.Interpreter != ""}, {"limit", spec.Limit != 0}, {"spent", spec.Spent != nil}, {"pull", spec.Pull},
	} {
		if f.given {
			return fmt.Errorf("metadata.%s.%s: a cell cannot ask for that; files, packages, env, downloads and progress are known", wire.RunKey, f.name)
		}
	}
	switch spec.Progress {
	case "", wire.ProgressAuto, wire.ProgressAlways, wire.ProgressNever:
	default:
		return fmt.Errorf("metadata.%s.progress: %q is not known; use auto, always or never", wire.RunKey, spec.Progress)
	}
	for name := range spec.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return fmt.Errorf("metadata.%s.env: %q cannot be the name of a variable", wire.RunKey, name)
		}
	}
	return nil
}

// describeJSON says in words for users what is wrong with JSON, beginning with
// the field if that is known.
func describeJSON(err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		return fmt.Errorf(".%s: a %s is not what belongs there", wrong.Field, wrong.Value)
	}
	return fmt.Errorf(": %w", err)
}
