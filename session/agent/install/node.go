package install

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// Files of a project of npm's.
const (
	manifest = "package.json"
	lock     = "package-lock.json"
	modules  = "node_modules"
)

// npm installs with npm. It works in a project beside the folder, with all that
// was asked for before, most of which comes from npm's cache; then its modules
// take the place of the old ones.
func (w *work) npm(ctx context.Context) ([]string, error) {
	if !w.has("npm") {
		return nil, errors.New("npm is not on the PATH of the session: install it (it comes with Node.js)")
	}
	for _, name := range []string{manifest, lock} {
		content, err := w.parent.ReadFile(path.Join(w.folder, name))
		if errors.Is(err, fs.ErrNotExist) && name == manifest {
			content, err = []byte(`{"private":true}`), nil
		}
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err == nil {
			err = w.parent.WriteFile(path.Join(w.staging, target, name), content, 0o600)
		}
		if err != nil {
			return nil, fmt.Errorf("copying %s: %w", name, err)
		}
	}
	argv := []string{
		"npm", "install", "--prefix", w.at(target), "--save", "--no-global", "--no-audit", "--no-fund", "--no-update-notifier",
		"--no-progress", "--no-color", "--loglevel", "http",
	}
	if err := w.call(ctx, &npmReader{}, argv, w.Packages); err != nil {
		return nil, err
	}
	if err := w.swapModules(); err != nil {
		return nil, fmt.Errorf("moving modules in: %w", err)
	}
	var names []string
	for _, spec := range w.Packages {
		at := strings.IndexByte(spec[1:], '@') + 1 // the first may be the scope's
		if at == 0 {
			at = len(spec)
		}
		names = append(names, spec[:at])
	}
	return names, nil
}

// swapModules puts the project in staging in the place of the one in the folder.
// Between the two renames nothing is installed.
func (w *work) swapModules() error {
	from := path.Join(w.staging, target)
	old := path.Join(w.staging, "old") // goes with staging
	err := w.rename(path.Join(w.folder, modules), old)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, name := range []string{modules, lock, manifest} {
		err := w.rename(path.Join(from, name), path.Join(w.folder, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
