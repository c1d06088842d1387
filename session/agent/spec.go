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
			return nil, fmt.Errorf("metadata.%s%w", wire.RunKey, describeJSON(raw, err))
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
	for name, value := range spec.Env {
		if name == "" || strings.ContainsAny(name, "=\x00") {
			return fmt.Errorf("metadata.%s.env: %.200q cannot be the name of a variable", wire.RunKey, name)
		}
		if strings.ContainsRune(value, 0) {
			return fmt.Errorf("metadata.%s.env: the value of %.200q contains a NUL", wire.RunKey, name)
		}
	}
	for name := range spec.Files {
		if _, err := wire.CleanPath(name); err != nil {
			return fmt.Errorf("metadata.%s.files: %.200q: %w", wire.RunKey, name, err)
		}
	}
	for i, name := range spec.Downloads {
		if _, err := wire.CleanPath(name); err != nil {
			return fmt.Errorf("metadata.%s.downloads[%d]: %.200q: %w", wire.RunKey, i, name, err)
		}
	}
	return nil
}

// checkPackages returns an error unless all packages that spec asks for are such
// of the language.
func checkPackages(spec *wire.Run, language string) error {
	if spec == nil {
		return nil
	}
	for i, name := range spec.Packages {
		if err := wire.CheckPackage(language, name); err != nil {
			return fmt.Errorf("metadata.%s.packages[%d]: %w", wire.RunKey, i, err)
		}
	}
	return nil
}

// right says what belongs into a field.
func right(field string) string {
	switch field {
	case "files":
		return `an object is, of relative paths and their content: a string or {"base64": "..."}`
	case "packages":
		return "a list of specifiers is"
	case "env":
		return "an object of strings is"
	case "downloads":
		return "a list of relative paths is"
	case "progress":
		return "auto, always or never is"
	}
	return "something else is"
}

// describeJSON says in words for users what is wrong with raw, a Run as JSON,
// beginning with the field if that is known.
func describeJSON(raw []byte, err error) error {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) && wrong.Field != "" {
		field, _, _ := strings.Cut(wrong.Field, ".")
		return fmt.Errorf(".%s: a %s is not what belongs there, %s", wrong.Field, wrong.Value, right(field))
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return fmt.Errorf(".%s: it is not known; files, packages, env, downloads and progress are", strings.Trim(name, `"`))
	}
	var fields struct {
		Files map[string]json.RawMessage `json:"files"`
	}
	if json.Unmarshal(raw, &fields) != nil {
		return fmt.Errorf(": %w", err)
	}
	for name, content := range fields.Files {
		if err := json.Unmarshal(content, new(wire.Inline)); err != nil {
			return fmt.Errorf(".files: %.200q: %w", name, err)
		}
	}
	return fmt.Errorf(": %w", err)
}
