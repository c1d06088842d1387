// Package kernelspec finds, reads, installs and removes kernel specs: the
// directories by which Jupyter knows what kernels there are and how to start
// them. It follows Jupyter's rules for where they lie on Linux, macOS and
// Windows, and has gokernel's own spec built in.
package kernelspec

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// ErrNotFound is returned for a kernel spec that is not installed.
var ErrNotFound = errors.New("no such kernel spec")

const fileName = "kernel.json"

// Interrupt modes of a [Spec].
const (
	InterruptSignal  = "signal"  // SIGINT to the kernel; the default
	InterruptMessage = "message" // an interrupt_request on the control channel
)

// A Spec is the content of a kernel.json.
type Spec struct {
	// Argv is the command line, with {connection_file} and the like in it.
	Argv        []string `json:"argv"`
	DisplayName string   `json:"display_name"`
	Language    string   `json:"language"`
	// InterruptMode is InterruptSignal, InterruptMessage or empty, which is
	// the former.
	InterruptMode string `json:"interrupt_mode,omitempty"`
	// Env is added to the environment; ${NAME} in it is replaced.
	Env             map[string]string          `json:"env,omitempty"`
	Metadata        map[string]json.RawMessage `json:"metadata,omitempty"`
	ProtocolVersion string                     `json:"kernel_protocol_version,omitempty"` // a full semantic version
	// Unknown has the keys that are none of the above.
	Unknown map[string]json.RawMessage `json:"-"`
}

// plain is a Spec without methods.
type plain Spec

// knownKeys are the keys of a Spec's own fields.
var knownKeys = []string{"argv", "display_name", "language", "interrupt_mode", "env", "metadata", "kernel_protocol_version"}

// UnmarshalJSON reads a spec and keeps the keys that it does not know.
func (s *Spec) UnmarshalJSON(text []byte) error {
	var p plain
	if err := json.Unmarshal(text, &p); err != nil {
		return err
	}
	var all map[string]json.RawMessage
	if err := json.Unmarshal(text, &all); err != nil {
		return err
	}
	for _, key := range knownKeys {
		delete(all, key)
	}
	*s = Spec(p)
	if len(all) > 0 {
		s.Unknown = all
	}
	return nil
}

// MarshalJSON writes a spec with its unknown keys, which never replace a field.
func (s Spec) MarshalJSON() ([]byte, error) {
	known, err := json.Marshal(plain(s))
	if err != nil || len(s.Unknown) == 0 {
		return known, err
	}
	all := maps.Clone(s.Unknown)
	for _, key := range knownKeys {
		delete(all, key)
	}
	var own map[string]json.RawMessage
	if err := json.Unmarshal(known, &own); err != nil {
		return nil, err
	}
	maps.Copy(all, own)
	return json.Marshal(all)
}

// Validate says what is wrong with a spec.
func (s *Spec) Validate() error {
	switch {
	case len(s.Argv) == 0 || s.Argv[0] == "":
		return errors.New("argv is empty")
	case s.DisplayName == "":
		return errors.New("display_name is missing")
	case s.Language == "":
		return errors.New("language is missing")
	}
	switch s.InterruptMode {
	case "", InterruptSignal, InterruptMessage:
		return nil
	}
	return fmt.Errorf("interrupt_mode %q is neither %q nor %q", s.InterruptMode, InterruptSignal, InterruptMessage)
}

// validName is what Jupyter accepts as the name of a kernel spec's directory.
var validName = regexp.MustCompile(`^(?i)[a-z0-9._\-]+$`)

// CheckName says what is wrong with a name for a kernel spec.
func CheckName(name string) error {
	if !validName.MatchString(name) || name == "." || name == ".." {
		return fmt.Errorf("kernel spec name %q: only letters, digits, '.', '_' and '-' are allowed", name)
	}
	return nil
}

// Read reads and checks the spec in a directory.
func Read(dir string) (*Spec, error) {
	path := filepath.Join(dir, fileName)
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("kernel spec: %w", err)
	}
	return parse(path, text)
}

func parse(path string, text []byte) (*Spec, error) {
	s := new(Spec)
	if err := json.Unmarshal(text, s); err != nil {
		return nil, fmt.Errorf("kernel spec %s: %w", path, err)
	}
	if err := s.Validate(); err != nil {
		return nil, fmt.Errorf("kernel spec %s: %w", path, err)
	}
	return s, nil
}

// An Installed is a kernel spec that has been found.
type Installed struct {
	Name string // in lower case
	Dir  string // where kernel.json and the logos lie
	Spec *Spec
}

var (
	placeholder = regexp.MustCompile(`\{([A-Za-z0-9_]+)\}`)
	variable    = regexp.MustCompile(`\$(?:\$|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\})`)
)

// Command returns the command line that starts the kernel. prefix is that of
// the Python installation that {prefix} stands for. Other names in braces come
// from values, which may be nil, and stay as they are when they are not there.
func (i *Installed) Command(connectionFile, prefix string, values map[string]string) []string {
	all := map[string]string{"connection_file": connectionFile, "resource_dir": i.Dir, "prefix": prefix}
	maps.Copy(all, values)
	argv := make([]string, len(i.Spec.Argv))
	for n, arg := range i.Spec.Argv {
		argv[n] = placeholder.ReplaceAllStringFunc(arg, func(match string) string {
			if value, ok := all[match[1:len(match)-1]]; ok {
				return value
			}
			return match
		})
	}
	return argv
}

// Environ returns base with the spec's variables added, in no order. In their
// values ${NAME} and $NAME become what base says, and $$ becomes $; names that
// base does not have stay as they are.
func (s *Spec) Environ(base []string) []string {
	values := make(map[string]string, len(base))
	for _, v := range base {
		if name, value, ok := strings.Cut(v, "="); ok {
			values[name] = value
		}
	}
	env := make([]string, 0, len(base)+len(s.Env))
	for _, v := range base {
		if name, _, _ := strings.Cut(v, "="); !has(s.Env, name) {
			env = append(env, v)
		}
	}
	for name, value := range s.Env {
		env = append(env, name+"="+expand(value, values))
	}
	return env
}

func has(m map[string]string, key string) bool {
	_, ok := m[key]
	return ok
}

func expand(text string, values map[string]string) string {
	return variable.ReplaceAllStringFunc(text, func(match string) string {
		if match == "$$" {
			return "$"
		}
		if value, ok := values[strings.Trim(match, "${}")]; ok {
			return value
		}
		return match
	})
}
