package kernelspec

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// A system is what Jupyter's rules for directories depend on.
type system struct {
	os     string // a GOOS
	home   string
	getenv func(string) string
}

// here returns the system that this process runs on.
func here() (*system, error) {
	home, err := os.UserHomeDir()
	if err != nil && os.Getenv("JUPYTER_DATA_DIR") == "" {
		return nil, fmt.Errorf("find Jupyter's directories: %w", err)
	}
	return &system{os: runtime.GOOS, home: home, getenv: os.Getenv}, nil
}

// join joins by the rules of the system, which tests choose.
func (s *system) join(parts ...string) string {
	if s.os == runtime.GOOS {
		return filepath.Join(parts...)
	}
	return strings.Join(parts, s.separator())
}

func (s *system) separator() string {
	if s.os == "windows" {
		return `\`
	}
	return "/"
}

// userDir is where Jupyter keeps a user's data.
func (s *system) userDir() string {
	if dir := s.getenv("JUPYTER_DATA_DIR"); dir != "" {
		return dir
	}
	switch s.os {
	case "darwin":
		return s.join(s.home, "Library", "Jupyter")
	case "windows":
		if dir := s.getenv("APPDATA"); dir != "" {
			return s.join(dir, "jupyter")
		}
		if dir := s.getenv("JUPYTER_CONFIG_DIR"); dir != "" {
			return s.join(dir, "data")
		}
		return s.join(s.home, ".jupyter", "data")
	}
	if dir := s.getenv("XDG_DATA_HOME"); dir != "" {
		return s.join(dir, "jupyter")
	}
	return s.join(s.home, ".local", "share", "jupyter")
}

// userSiteDir is where pip install --user puts data, or "" where that depends
// on the version of Python.
func (s *system) userSiteDir() string {
	if dir := s.getenv("PYTHONUSERBASE"); dir != "" {
		return s.join(dir, "share", "jupyter")
	}
	if s.os == "darwin" || s.os == "windows" {
		return ""
	}
	return s.join(s.home, ".local", "share", "jupyter")
}

// systemDirs is where all users' data lie.
func (s *system) systemDirs() []string {
	if s.os == "windows" {
		if dir := s.getenv("PROGRAMDATA"); dir != "" {
			return []string{s.join(dir, "jupyter")}
		}
		return nil
	}
	return []string{"/usr/local/share/jupyter", "/usr/share/jupyter"}
}

// runtimeDir is where connection files lie.
func (s *system) runtimeDir() string {
	if dir := s.getenv("JUPYTER_RUNTIME_DIR"); dir != "" {
		return dir
	}
	return s.join(s.userDir(), "runtime")
}

// dataDirs is where data are looked for, in this order. prefixes are those of
// Python installations.
func (s *system) dataDirs(prefixes []string) []string {
	var dirs []string
	if path := s.getenv("JUPYTER_PATH"); path != "" {
		list := ":"
		if s.os == "windows" {
			list = ";"
		}
		for dir := range strings.SplitSeq(path, list) {
			if dir = strings.TrimRight(dir, s.separator()); dir != "" {
				dirs = append(dirs, dir)
			}
		}
	}
	user := []string{s.userDir()}
	if dir := s.userSiteDir(); dir != "" {
		user = append(user, dir)
	}
	var env []string
	for _, prefix := range prefixes {
		if dir := s.join(prefix, "share", "jupyter"); !slices.Contains(s.systemDirs(), dir) {
			env = append(env, dir)
		}
	}
	if isSet(s.getenv("JUPYTER_PREFER_ENV_PATH")) {
		dirs = append(append(dirs, env...), user...)
	} else {
		dirs = append(append(dirs, user...), env...)
	}
	return unique(append(dirs, s.systemDirs()...))
}

// kernelDirs is where kernel specs are looked for, in this order.
func (s *system) kernelDirs(prefixes []string) []string {
	var dirs []string
	for _, dir := range s.dataDirs(prefixes) {
		dirs = append(dirs, s.join(dir, "kernels"))
	}
	ipython := s.getenv("IPYTHONDIR")
	if ipython == "" {
		ipython = s.join(s.home, ".ipython")
	}
	return append(dirs, s.join(ipython, "kernels"))
}

// isSet reads a switch as Jupyter does.
func isSet(value string) bool {
	return value != "" && !slices.Contains([]string{"no", "n", "false", "off", "0", "0.0"}, strings.ToLower(value))
}

func unique(list []string) []string {
	var out []string
	for _, v := range list {
		if !slices.Contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

// RuntimeDir returns the directory for connection files, by the rules of
// current Jupyter: $JUPYTER_RUNTIME_DIR, else runtime in the user's data
// directory. It may not exist.
func RuntimeDir() (string, error) {
	s, err := here()
	if err != nil {
		return "", err
	}
	return s.runtimeDir(), nil
}

// Dirs returns the directories in which kernel specs are looked for, first
// come first served. They may not exist.
func Dirs(opts *Options) ([]string, error) {
	s, err := here()
	if err != nil {
		return nil, err
	}
	return s.kernelDirs(opts.prefixes()), nil
}

var errNoDir = errors.New("this system has no directory for all users' kernel specs")
