package session

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/gokernel/gokernel/session/wire"
)

// An InvalidError says that a value cannot be what it is, before anything has
// been started.
type InvalidError struct {
	Field  string // such as "language" or "files[data/a.csv].path"
	Reason string // what is wrong, and what would be right
}

func (e *InvalidError) Error() string { return e.Field + ": " + e.Reason }

func invalid(field, format string, args ...any) error {
	return &InvalidError{field, fmt.Sprintf(format, args...)}
}

const (
	// maxCode is how long code may be in bytes; a link takes no more.
	maxCode = 256 << 20
	// maxEnv is how long the environment of a run may be in bytes. Systems take
	// less for a variable.
	maxEnv = 1 << 20
	// MaxFiles is how many files, packages or downloads a run may have.
	maxFiles = 100_000
)

// validate returns an *InvalidError about the first field of r that is wrong.
// Language may still be that of a session which is to be found.
func (m *Manager) validate(r *Request) error {
	for _, check := range []func(*Request) error{
		m.checkCode, checkSession, checkFiles, m.checkPackages, checkEnv, checkCwd, checkTimes, checkDownloads,
	} {
		if err := check(r); err != nil {
			return err
		}
	}
	return nil
}

func (m *Manager) checkCode(r *Request) error {
	if strings.TrimSpace(r.Code) == "" && len(r.Files)+len(r.Packages)+len(r.Downloads) == 0 {
		return invalid("code", "it is empty, and there are no files, packages or downloads either; give what to run")
	}
	if len(r.Code) > maxCode {
		return invalid("code", "it has %d bytes, more than %d; send it as a file and import that", len(r.Code), maxCode)
	}
	if r.Language == "" {
		return nil
	}
	if _, ok := m.interpreters[r.Language]; !ok {
		return invalid("language", "%q is not known; use %s", r.Language, list(slices.Sorted(maps.Keys(m.interpreters))))
	}
	return nil
}

// list returns words as people say them.
func list(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

func checkSession(r *Request) error {
	if r.Session == "" || IsID(r.Session) {
		return nil
	}
	if err := ValidName(r.Session); err != nil {
		return &InvalidError{"session", err.Error()}
	}
	return nil
}

func checkFiles(r *Request) error {
	if len(r.Files) > maxFiles {
		return invalid("files", "%d are more than %d; send an archive", len(r.Files), maxFiles)
	}
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(r.Files)) {
		field := "files[" + name + "]"
		clean, err := checkPath(name)
		if err != nil {
			return invalid(field, "%v; use a path such as data/a.csv", err)
		}
		if other, ok := seen[clean]; ok {
			return invalid(field, "it is the same file as %q", other)
		}
		seen[clean] = name
		if err := checkFile(field, r.Files[name]); err != nil {
			return err
		}
	}
	for clean, name := range seen {
		for dir := filepath.ToSlash(filepath.Dir(clean)); dir != "."; dir = filepath.ToSlash(filepath.Dir(dir)) {
			if other, ok := seen[dir]; ok {
				return invalid("files["+name+"]", "it lies in %q, which is a file too", other)
			}
		}
	}
	return nil
}

// checkPath returns the shortest form of a path in a session. A backslash is part
// of a name there; one that looks like a path of another system is refused,
// because it is hardly meant to be a name.
func checkPath(name string) (string, error) {
	if strings.Contains(name, `\`) {
		return "", errors.New("it contains a backslash; separate directories with /")
	}
	if len(name) > 1 && name[1] == ':' && (name[0]|0x20 >= 'a' && name[0]|0x20 <= 'z') {
		return "", errors.New("it begins with a drive; it must be relative to the working directory")
	}
	return wire.CleanPath(name)
}

func checkFile(field string, f File) error {
	sources := 0
	for _, given := range []bool{f.Bytes != nil, f.Reader != nil, f.Path != ""} {
		if given {
			sources++
		}
	}
	if sources > 1 {
		return invalid(field, "give one of Bytes, Reader and Path, not %d", sources)
	}
	if sources == 0 {
		return invalid(field, "give one of Bytes, Reader and Path; for an empty file give []byte{}")
	}
	if f.Mode&^fs.ModePerm != 0 {
		return invalid(field+".mode", "%v has more than permission bits; use a mode such as 0644", f.Mode)
	}
	if f.Path == "" {
		return nil
	}
	file, _, err := openRegular(f.Path)
	if err != nil {
		return invalid(field+".path", "%v; name a file of this host that can be read", err)
	}
	if err := file.Close(); err != nil {
		return invalid(field+".path", "%v", err)
	}
	return nil
}

// checkPackages checks specifiers. Without a language they are for that of the
// session, which the agent knows and checks again.
func (m *Manager) checkPackages(r *Request) error {
	if len(r.Packages) > maxFiles {
		return invalid("packages", "%d are more than %d", len(r.Packages), maxFiles)
	}
	language := r.Language
	if language == "" && r.Session == "" {
		language = defaultLanguage
	}
	for i, spec := range r.Packages {
		if language == "" {
			continue
		}
		if err := wire.CheckPackage(language, spec); err != nil {
			return invalid(fmt.Sprintf("packages[%d]", i), "%v", err)
		}
	}
	return nil
}

func checkEnv(r *Request) error {
	size := 0
	for _, name := range slices.Sorted(maps.Keys(r.Env)) {
		value := r.Env[name]
		size += len(name) + len(value) + 2
		switch {
		case name == "":
			return invalid("env", "a variable has no name")
		case strings.ContainsAny(name, "=\x00"):
			return invalid("env", "%q cannot be the name of a variable: it contains = or NUL", name)
		case strings.ContainsRune(value, 0): // the value may be a secret
			return invalid("env["+name+"]", "its value contains a NUL")
		}
	}
	if size > maxEnv {
		return invalid("env", "it has %d bytes, more than %d; send large values as files", size, maxEnv)
	}
	return nil
}

func checkCwd(r *Request) error {
	if r.Cwd == "" || filepath.IsAbs(r.Cwd) {
		if strings.ContainsRune(r.Cwd, 0) {
			return invalid("cwd", "it contains a NUL")
		}
		return nil
	}
	if r.Cwd == "." {
		return nil
	}
	if _, err := checkPath(strings.TrimRight(r.Cwd, "/")); err != nil {
		return invalid("cwd", "%v; use an absolute path, or a relative one below the session's directory", err)
	}
	return nil
}

// checkDir checks the working directory of a session that is to be made.
func checkDir(cwd string) error {
	if !filepath.IsAbs(cwd) {
		return nil
	}
	info, err := os.Stat(cwd)
	if err == nil && !info.IsDir() {
		err = errors.New("it is not a directory")
	}
	if err != nil {
		return invalid("cwd", "%v; an absolute path must be a directory that exists", err)
	}
	return nil
}

func checkTimes(r *Request) error {
	switch {
	case r.Lease < 0:
		return invalid("lease", "%v is negative; give a time, or 0 for the default", r.Lease)
	case r.Lease > 0 && !r.KeepAlive && r.Session == "":
		return invalid("lease", "a session that is not kept has none; set KeepAlive, or leave it out")
	case r.TimeLimit < 0:
		return invalid("time limit", "%v is negative; give a time, or 0 for none", r.TimeLimit)
	}
	return nil
}

func checkDownloads(r *Request) error {
	if len(r.Downloads) > maxFiles {
		return invalid("downloads", "%d are more than %d; pack them into an archive", len(r.Downloads), maxFiles)
	}
	seen, targets := map[string]bool{}, map[string]bool{}
	for _, d := range r.Downloads {
		field := "downloads[" + d.Path + "]"
		clean, err := checkPath(d.Path)
		if err != nil {
			return invalid(field, "%v; use a path such as out/plot.png", err)
		}
		if seen[clean] {
			return invalid(field, "it is asked for twice")
		}
		seen[clean] = true
		if d.Target == "" {
			continue
		}
		if targets[filepath.Clean(d.Target)] {
			return invalid(field+".target", "%s is the target of another download too", d.Target)
		}
		targets[filepath.Clean(d.Target)] = true
		if err := checkTarget(d.Target); err != nil {
			return invalid(field+".target", "%v", err)
		}
	}
	return nil
}

// checkTarget refuses a place where no file can appear.
func checkTarget(target string) error {
	if info, err := os.Stat(target); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is a %s; name a file", target, kindOf(info.Mode()))
	}
	if strings.HasSuffix(filepath.ToSlash(target), "/") {
		return fmt.Errorf("%s ends in a slash; name a file", target)
	}
	dir, err := os.Stat(filepath.Dir(target))
	if err == nil && !dir.IsDir() {
		err = fmt.Errorf("%s is not a directory", filepath.Dir(target))
	}
	if err != nil {
		return fmt.Errorf("%w; its directory must exist", err)
	}
	return nil
}
