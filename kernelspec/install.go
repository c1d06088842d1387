package kernelspec

import (
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

//go:embed resources
var resources embed.FS

const resourceDir = "resources"

// What gokernel's own kernel specs are called unless somebody says otherwise: that
// for Python, and that for JavaScript.
const (
	DefaultName                  = "gokernel"
	DefaultDisplayName           = "Python 3 (gokernel)"
	DefaultJavaScriptName        = "gokernel-javascript"
	DefaultJavaScriptDisplayName = "JavaScript (gokernel)"
)

// A language is what differs between the kernel specs of gokernel's languages.
type language struct {
	name, displayName string
	interpreter       string // what it is called in errors
	flag              string // that names the interpreter to gokernel kernel
}

func languageOf(opts InstallOptions) (language, error) {
	switch opts.Language {
	case "", "python":
		return language{DefaultName, DefaultDisplayName, "Python", "--python"}, nil
	case "javascript":
		return language{DefaultJavaScriptName, DefaultJavaScriptDisplayName, "Node.js", "--node"}, nil
	}
	return language{}, fmt.Errorf("there is no kernel for the language %q, only for python and javascript", opts.Language)
}

// InstallOptions say what to install and where: for all users, unless one of
// User, SysPrefix and Prefix says otherwise.
type InstallOptions struct {
	// User installs for the current user.
	User bool
	// SysPrefix is the sys.prefix of a Python installation to install into.
	SysPrefix string
	// Prefix is any other directory below whose share/jupyter to install.
	Prefix string

	Name        string // DefaultName, or that of the language, when empty
	DisplayName string // DefaultDisplayName, or that of the language, when empty
	// Language is that of the kernel: "python", which is also what empty means,
	// or "javascript".
	Language string
	// Interpreter is the Python, or the Node.js, of the kernel, an absolute path;
	// when it is empty the kernel looks for one when it starts.
	Interpreter string
	// Executable is the gokernel to start, an absolute path; the running
	// program when empty.
	Executable string
}

// Own returns gokernel's own kernel spec as [Install] writes it.
func Own(opts InstallOptions) (*Spec, error) {
	if opts.Executable == "" {
		self, err := os.Executable()
		if err != nil {
			return nil, fmt.Errorf("find gokernel's program: %w", err)
		}
		opts.Executable = self
	}
	l, err := languageOf(opts)
	if err != nil {
		return nil, err
	}
	for what, file := range map[string]string{"gokernel": opts.Executable, l.interpreter: opts.Interpreter} {
		if file != "" && !filepath.IsAbs(file) {
			return nil, fmt.Errorf("path of %s %q is not absolute", what, file)
		}
	}
	spec := &Spec{
		Argv:            []string{opts.Executable, "kernel"},
		DisplayName:     opts.DisplayName,
		Language:        "python",
		InterruptMode:   InterruptMessage,
		ProtocolVersion: "5.5.0",
		Metadata:        map[string]json.RawMessage{"debugger": json.RawMessage("false")},
	}
	if opts.Language != "" && opts.Language != spec.Language {
		spec.Language = opts.Language
		spec.Argv = append(spec.Argv, "--language", spec.Language)
	}
	if opts.Interpreter != "" {
		spec.Argv = append(spec.Argv, l.flag, opts.Interpreter)
	}
	spec.Argv = append(spec.Argv, "-f", "{connection_file}")
	if spec.DisplayName == "" {
		spec.DisplayName = l.displayName
	}
	return spec, nil
}

// kernelsDir returns the directory that Install puts the spec's directory in.
func (s *system) kernelsDir(opts InstallOptions) (string, error) {
	places := 0
	for _, chosen := range []bool{opts.User, opts.SysPrefix != "", opts.Prefix != ""} {
		if chosen {
			places++
		}
	}
	if places > 1 {
		return "", errors.New("only one of user, sys-prefix and prefix can be chosen")
	}
	switch {
	case opts.User:
		return s.join(s.userDir(), "kernels"), nil
	case opts.SysPrefix != "":
		return s.join(opts.SysPrefix, "share", "jupyter", "kernels"), nil
	case opts.Prefix != "":
		return s.join(opts.Prefix, "share", "jupyter", "kernels"), nil
	}
	if dirs := s.systemDirs(); len(dirs) > 0 {
		return s.join(dirs[0], "kernels"), nil
	}
	return "", errNoDir
}

// Install installs gokernel's own kernel spec and returns its directory. One
// with the same name is replaced as a whole; on an error it stays.
func Install(opts InstallOptions) (string, error) {
	dir, err := install(opts)
	if errors.Is(err, fs.ErrPermission) {
		return "", fmt.Errorf("install kernel spec: %w (use --user to install it for yourself only, or --prefix)", err)
	}
	if err != nil {
		return "", fmt.Errorf("install kernel spec: %w", err)
	}
	return dir, nil
}

func install(opts InstallOptions) (string, error) {
	l, err := languageOf(opts)
	if err != nil {
		return "", err
	}
	name := opts.Name
	if name == "" {
		name = l.name
	}
	if err := CheckName(name); err != nil {
		return "", err
	}
	spec, err := Own(opts)
	if err != nil {
		return "", err
	}
	s, err := here()
	if err != nil {
		return "", err
	}
	kernels, err := s.kernelsDir(opts)
	if err != nil {
		return "", err
	}
	if kernels, err = filepath.Abs(kernels); err != nil {
		return "", err
	}
	if err := os.MkdirAll(kernels, 0o755); err != nil {
		return "", err
	}
	// Jupyter takes no directory with a tilde for a kernel spec.
	work, err := os.MkdirTemp(kernels, "~"+DefaultName+"-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work) // what is left of it
	fresh := filepath.Join(work, "new")
	if err := write(fresh, spec); err != nil {
		return "", err
	}
	dir := filepath.Join(kernels, strings.ToLower(name))
	return dir, replace(dir, fresh, filepath.Join(work, "old"))
}

// write writes the directory of a spec.
func write(dir string, spec *Spec) error {
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil { // whatever the umask: others read it
		return err
	}
	logos := path.Join(resourceDir, spec.Language)
	entries, err := resources.ReadDir(logos)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		data, err := resources.ReadFile(path.Join(logos, entry.Name()))
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, entry.Name()), data); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(spec, "", " ")
	if err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, fileName), append(text, '\n'))
}

func writeFile(name string, data []byte) error {
	if err := os.WriteFile(name, data, 0o644); err != nil {
		return err
	}
	return os.Chmod(name, 0o644)
}

// replace moves fresh to dir, and what was there to old. On an error it is
// there again.
func replace(dir, fresh, old string) error {
	err := os.Rename(dir, old)
	if errors.Is(err, fs.ErrNotExist) {
		return os.Rename(fresh, dir)
	}
	if err != nil {
		return err
	}
	if err := os.Rename(fresh, dir); err != nil {
		return errors.Join(err, os.Rename(old, dir))
	}
	return nil
}

// Uninstall removes the kernel spec with a name, the first that is found, and
// returns the directory that it was in. The error wraps [ErrNotFound] when
// there is none. It removes specs of other kernels too: ask [IsOwn] before.
func Uninstall(name string, opts *Options) (string, error) {
	found, err := Find(name, opts)
	if err != nil {
		return "", err
	}
	if err := remove(found.Dir); err != nil {
		return "", fmt.Errorf("remove kernel spec %s: %w", name, err)
	}
	return found.Dir, nil
}

// remove removes a directory, or the link to one.
func remove(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return os.Remove(dir)
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "~"+DefaultName+"-")
	if err != nil {
		return err
	}
	return errors.Join(os.Rename(dir, filepath.Join(work, "old")), os.RemoveAll(work))
}

// IsOwn says whether a spec starts gokernel.
func IsOwn(s *Spec) bool {
	if len(s.Argv) < 2 || s.Argv[1] != "kernel" {
		return false
	}
	base := strings.TrimSuffix(filepath.Base(s.Argv[0]), ".exe")
	return strings.HasPrefix(base, "gokernel")
}
