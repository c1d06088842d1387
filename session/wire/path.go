package wire

import (
	"errors"
	"fmt"
	"path"
	"strings"
	"unicode/utf8"
)

// Limits of a path in a session, in bytes.
const (
	MaxPath = 4096
	MaxName = 255 // of one element
)

// CleanPath returns the shortest form of a path of a file in a session, which
// must be relative, with slashes, and must not leave the directory that it is
// relative to. The error says what is wrong with it, without repeating it.
func CleanPath(name string) (string, error) {
	switch {
	case name == "":
		return "", errors.New("it is empty")
	case len(name) > MaxPath:
		return "", fmt.Errorf("it is longer than %d bytes", MaxPath)
	case !utf8.ValidString(name):
		return "", errors.New("it is not UTF-8")
	case strings.ContainsRune(name, 0):
		return "", errors.New("it contains a NUL")
	case strings.HasPrefix(name, "/"):
		return "", errors.New("it is absolute; it must be relative to the working directory")
	case strings.HasSuffix(name, "/"):
		return "", errors.New("it ends in a slash, so it is no file")
	}
	for element := range strings.SplitSeq(name, "/") {
		if element == ".." {
			return "", errors.New(`it contains "..", which may leave the working directory`)
		}
		if len(element) > MaxName {
			return "", fmt.Errorf("a part of it is longer than %d bytes", MaxName)
		}
	}
	clean := path.Clean(name)
	if clean == "." {
		return "", errors.New("it is the working directory itself")
	}
	return clean, nil
}
