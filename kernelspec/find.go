package kernelspec

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Options say where to look. The zero value and nil are ready to use.
type Options struct {
	// Prefixes are those of Python installations (sys.prefix), whose
	// share/jupyter is searched too.
	Prefixes []string
	// Logger gets a warning for each broken spec; nothing by default.
	Logger *slog.Logger
}

func (o *Options) prefixes() []string {
	if o == nil {
		return nil
	}
	return o.Prefixes
}

func (o *Options) log() *slog.Logger {
	if o == nil || o.Logger == nil {
		return slog.New(slog.DiscardHandler)
	}
	return o.Logger
}

// List returns the installed kernel specs by name. Of several with the same
// name the first found counts. Broken ones are skipped with a warning.
func List(opts *Options) ([]Installed, error) {
	dirs, err := Dirs(opts)
	if err != nil {
		return nil, err
	}
	return listIn(dirs, opts.log()), nil
}

func listIn(dirs []string, log *slog.Logger) []Installed {
	var list []Installed
	seen := make(map[string]bool)
	for _, dir := range dirs {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			log.Warn("kernel specs cannot be listed", "error", err)
		}
		for _, entry := range entries {
			name := strings.ToLower(entry.Name())
			if seen[name] || CheckName(name) != nil {
				continue
			}
			path := filepath.Join(dir, entry.Name())
			if _, err := os.Stat(filepath.Join(path, fileName)); err != nil {
				continue // not a kernel spec
			}
			spec, err := Read(path)
			if err != nil {
				log.Warn("kernel spec is skipped", "name", name, "error", err)
				continue
			}
			seen[name] = true
			list = append(list, Installed{Name: name, Dir: path, Spec: spec})
		}
	}
	slices.SortFunc(list, func(a, b Installed) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// Find returns the installed kernel spec with a name, in any case. The error
// wraps [ErrNotFound] when there is none, and says what is wrong with a broken
// one.
func Find(name string, opts *Options) (*Installed, error) {
	if err := CheckName(name); err != nil {
		return nil, err
	}
	list, err := List(opts)
	if err != nil {
		return nil, err
	}
	for i := range list {
		if list[i].Name == strings.ToLower(name) {
			return &list[i], nil
		}
	}
	dirs, err := Dirs(opts)
	if err != nil {
		return nil, err
	}
	for _, dir := range dirs {
		if _, err := Read(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("%w: %s", ErrNotFound, name)
}
