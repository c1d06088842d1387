package install

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Names in a folder of Python packages.
const (
	infoSuffix = ".dist-info"
	// removing is what the name of a package's metadata begins with, and loses its
	// suffix for, while the package's files are removed: it counts nowhere.
	removing = ".removing-"
)

// maxDepth is how deep folders of packages may be nested.
const maxDepth = 100

// moveIn moves Python packages from staging into the folder, in place of other
// versions, and returns their normal names.
func (w *work) moveIn() ([]string, error) {
	staged, err := w.infos(path.Join(w.staging, target))
	if err != nil {
		return nil, fmt.Errorf("looking at what was installed: %w", err)
	}
	there, err := w.infos(w.folder)
	if err != nil {
		return nil, fmt.Errorf("looking at the package folder: %w", err)
	}
	if err := w.finishRemovals(); err != nil {
		return nil, fmt.Errorf("removing what is left of a package: %w", err)
	}
	var names []string
	for name := range staged {
		names = append(names, name)
		for _, info := range there[name] {
			old := removing + strings.TrimSuffix(info, infoSuffix)
			if err := w.rename(path.Join(w.folder, info), path.Join(w.folder, old)); err != nil {
				return nil, fmt.Errorf("replacing %s: %w", name, err)
			}
			if err := w.remove(old); err != nil {
				return nil, fmt.Errorf("removing another version of %s: %w", name, err)
			}
		}
	}
	slices.Sort(names)
	from := path.Join(w.staging, target)
	if err := w.merge(from, w.folder, isInfo, 0); err != nil {
		return nil, fmt.Errorf("moving packages in: %w", err)
	}
	for _, name := range names {
		for _, info := range staged[name] {
			if err := w.rename(path.Join(from, info), path.Join(w.folder, info)); err != nil {
				return nil, fmt.Errorf("moving %s in: %w", name, err)
			}
		}
	}
	return names, nil
}

func isInfo(name string) bool { return strings.HasSuffix(name, infoSuffix) }

// infos returns the names of the metadata in a folder, by normal name of their
// packages.
func (w *work) infos(folder string) (map[string][]string, error) {
	entries, err := w.list(folder)
	if err != nil {
		return nil, err
	}
	found := map[string][]string{}
	for _, e := range entries {
		stem, ok := strings.CutSuffix(e.Name(), infoSuffix)
		if !ok || !e.IsDir() {
			continue
		}
		if i := strings.LastIndexByte(stem, '-'); i >= 0 {
			stem = stem[:i]
		}
		found[normal(stem)] = append(found[normal(stem)], e.Name())
	}
	return found, nil
}

func (w *work) list(folder string) ([]fs.DirEntry, error) {
	return fs.ReadDir(w.parent.FS(), folder)
}

func (w *work) rename(from, to string) error { return w.parent.Rename(from, to) }

// finishRemovals removes packages whose removal was cut short.
func (w *work) finishRemovals() error {
	entries, err := w.list(w.folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), removing) {
			err = errors.Join(err, w.remove(e.Name()))
		}
	}
	return err
}

// remove removes the files of a package, whose metadata is info, and then that.
// What its list names outside of the folder is left alone.
func (w *work) remove(info string) error {
	folder, err := w.parent.OpenRoot(w.folder)
	if err != nil {
		return err
	}
	defer folder.Close()
	record, err := folder.ReadFile(path.Join(info, "RECORD"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dirs := map[string]bool{}
	for _, name := range recorded(string(record)) {
		top, _, _ := strings.Cut(name, "/")
		if isInfo(top) || !filepath.IsLocal(name) {
			continue // renamed, it goes last
		}
		names := []string{name}
		if stem, ok := strings.CutSuffix(path.Base(name), ".py"); ok {
			// What was compiled when it was imported is in no list.
			compiled, err := fs.Glob(folder.FS(), path.Join(escape(path.Dir(name)), "__pycache__", escape(stem)+".*.pyc"))
			if err == nil {
				names = append(names, compiled...)
			}
		}
		for _, n := range names {
			if err := folder.Remove(n); err != nil && !errors.Is(err, fs.ErrNotExist) {
				continue // a folder, or behind a link that leads out
			}
			for dir := path.Dir(n); dir != "."; dir = path.Dir(dir) {
				dirs[dir] = true
			}
		}
	}
	empty := make([]string, 0, len(dirs))
	for dir := range dirs {
		empty = append(empty, dir)
	}
	slices.SortFunc(empty, func(a, b string) int { return len(b) - len(a) }) // the inner ones first
	for _, dir := range empty {
		_ = folder.Remove(dir) // it stays while anything is in it
	}
	return folder.RemoveAll(info)
}

// escape makes text match itself in a pattern.
func escape(text string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`).Replace(text)
}

// recorded returns the files that a RECORD names, relative to the folder.
func recorded(record string) []string {
	var names []string
	for line := range strings.Lines(record) {
		line = strings.TrimRight(line, "\r\n")
		for range 2 { // the hash and the size
			if i := strings.LastIndexByte(line, ','); i >= 0 {
				line = line[:i]
			}
		}
		name := strings.ReplaceAll(strings.Trim(line, `"`), `""`, `"`)
		// Scripts are two folders up where pip had it, and in the folder here.
		if script, ok := strings.CutPrefix(name, "../../bin/"); ok {
			name = "bin/" + script
		}
		if name != "" {
			names = append(names, path.Clean(name))
		}
	}
	return names
}

// merge moves what is in the folder from, except what leave says, into the folder
// to. Folders that are there already are shared, files are replaced.
func (w *work) merge(from, to string, leave func(name string) bool, depth int) error {
	if depth > maxDepth {
		return errors.New("folders are nested too deep")
	}
	entries, err := w.list(from)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if leave != nil && leave(e.Name()) {
			continue
		}
		src, dst := path.Join(from, e.Name()), path.Join(to, e.Name())
		info, err := w.parent.Lstat(dst)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return err
		case info.IsDir() && e.IsDir():
			if err := w.merge(src, dst, nil, depth+1); err != nil {
				return err
			}
			continue
		default:
			if err := w.parent.RemoveAll(dst); err != nil {
				return err
			}
		}
		if err := w.rename(src, dst); err != nil {
			return err
		}
	}
	return nil
}
