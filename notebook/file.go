package notebook

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/google/uuid"
)

// ReadFile reads the notebook at path. Its results are those of [Read].
func ReadFile(path string) (*Notebook, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	nb, err := Read(data)
	if err != nil {
		return nb, fmt.Errorf("%s: %w", path, err)
	}
	return nb, nil
}

// WriteFile stores nb at path. Whoever reads the file sees the old notebook or
// the new one, never a part. The mode of an existing file is kept, and a
// symbolic link stays one.
func WriteFile(path string, nb *Notebook) error {
	data, err := nb.Bytes()
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	if target, err := filepath.EvalSymlinks(path); err == nil {
		path = target
	}
	return replace(path, data)
}

// replace writes data to a file beside path, to be renamed to it.
func replace(path string, data []byte) error {
	const anyone = 0o666 // less the process's umask
	tmp := filepath.Join(filepath.Dir(path), ".~"+uuid.NewString()+".tmp")
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, anyone)
	if err != nil {
		return err
	}
	err = fill(f, path, data)
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(tmp))
	}
	return nil
}

func fill(f *os.File, path string, data []byte) error {
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return errors.New("not a regular file")
	case err == nil:
		if err := f.Chmod(info.Mode().Perm()); err != nil {
			return err
		}
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Sync()
}
