package journal

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

// A storage makes and changes the files of a journal. It is there so that tests
// can make it fail.
type storage interface {
	// create makes a new file.
	create(path string) (file, error)
	// open opens an existing file for writing.
	open(path string) (file, error)
	// replace makes b the content of a file, at once or not at all.
	replace(path string, b []byte) error
}

type file interface {
	io.WriterAt
	io.Closer
	Truncate(size int64) error
}

type disk struct{}

func (disk) create(path string) (file, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

func (disk) open(path string) (file, error) { return os.OpenFile(path, os.O_WRONLY, 0) }

const tempSuffix = ".tmp"

func (disk) replace(path string, b []byte) error {
	temp := path + tempSuffix
	if err := os.WriteFile(temp, b, 0o600); err != nil {
		_ = os.Remove(temp) // a part of it would only take up room
		return err
	}
	return os.Rename(temp, path)
}

// segmentName and parseName give files their names and read them.
func segmentName(c class, id uint64, kept bool) string {
	ext := ".log"
	if kept {
		ext = ".kept"
	}
	return fmt.Sprintf("%s-%08d%s", c, id, ext)
}

func parseName(name string) (c class, id uint64, kept, ok bool) {
	ext := filepath.Ext(name)
	if ext != ".log" && ext != ".kept" {
		return 0, 0, false, false
	}
	word, number, found := strings.Cut(strings.TrimSuffix(name, ext), "-")
	if !found {
		return 0, 0, false, false
	}
	if _, err := fmt.Sscanf(number, "%d", &id); err != nil || id == 0 {
		return 0, 0, false, false
	}
	kept = ext == ".kept"
	for c = range classes {
		if c.String() == word && segmentName(c, id, kept) == name {
			return c, id, kept, true
		}
	}
	return 0, 0, false, false
}
