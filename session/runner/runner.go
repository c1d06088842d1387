// Package runner holds the programs that evaluate code inside a session, one
// for each language, and writes them to disk for an agent to start. What such a
// program and the agent say to each other is docs/runner.md; the package
// runnertest checks that a program keeps to it.
package runner

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
)

//go:embed python/run.py python/gokernel_runner/*.py javascript/run.cjs javascript/src/*.cjs
var files embed.FS

// A Language is a language that sessions can run.
type Language struct {
	// Name is the language's name in lower case, as in a kernel spec.
	Name string
	// Interpreter is the command that is looked up on PATH when the user names none.
	Interpreter string

	dir   string   // in files
	main  string   // the program's entry, relative to dir
	flags []string // of the interpreter, before the entry
}

// Python returns the language Python, 3.9 and newer.
func Python() Language {
	// -u: what C code prints is not kept in a buffer.
	return Language{Name: "python", Interpreter: "python3", dir: "python", main: "run.py", flags: []string{"-u"}}
}

// JavaScript returns the language JavaScript on Node.js, 18 and newer.
func JavaScript() Language {
	return Language{Name: "javascript", Interpreter: "node", dir: "javascript", main: "run.cjs"}
}

// Languages returns all languages by name.
func Languages() map[string]Language {
	languages := map[string]Language{}
	for _, l := range []Language{Python(), JavaScript()} {
		languages[l.Name] = l
	}
	return languages
}

// Install makes sure that the language's program is under dir and returns the
// absolute path of its entry. The program lies in a directory named after its
// content, so that several versions of gokernel may share dir; what is there is
// not written again and keeps what the interpreter has compiled. Several
// processes may install at once.
func (l Language) Install(dir string) (program string, err error) {
	source, err := l.source()
	if err != nil {
		return "", fmt.Errorf("read embedded %s runner: %w", l.Name, err)
	}
	dir, err = filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("install %s runner: %w", l.Name, err)
	}
	target := filepath.Join(dir, l.Name+"-"+hash(source))
	program = filepath.Join(target, l.main)
	if complete(target, source) {
		return program, nil
	}
	if err := l.write(dir, target, source); err != nil {
		return "", fmt.Errorf("install %s runner: %w", l.Name, err)
	}
	return program, nil
}

// Command returns the argument vector that starts a program returned by
// [Language.Install] with an interpreter.
func (l Language) Command(interpreter, program string) []string {
	return slices.Concat([]string{interpreter}, l.flags, []string{program})
}

// A file is one file of a program, with a slash-separated relative name.
type file struct {
	name string
	data []byte
}

// source returns the program's files, sorted by name.
func (l Language) source() ([]file, error) {
	var list []file
	err := fs.WalkDir(files, l.dir, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := files.ReadFile(name)
		if err != nil {
			return err
		}
		list = append(list, file{name[len(l.dir)+1:], data})
		return nil
	})
	return list, err
}

func hash(source []file) string {
	h := sha256.New()
	for _, f := range source {
		fmt.Fprintf(h, "%s %d\n", f.name, len(f.data))
		h.Write(f.data)
	}
	return hex.EncodeToString(h.Sum(nil))[:16]
}

// complete reports whether target has every file as it should be. A file that
// was cut or edited is found by its size and content.
func complete(target string, source []file) bool {
	return !slices.ContainsFunc(source, func(f file) bool {
		data, err := os.ReadFile(filepath.Join(target, filepath.FromSlash(f.name)))
		return err != nil || string(data) != string(f.data)
	})
}

// write puts the program into a directory beside target and renames it, so that
// nobody ever sees half a program.
func (l Language) write(dir, target string, source []file) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(dir, "."+l.Name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	// MkdirTemp makes it private; a session may run as another user.
	if err := os.Chmod(temp, 0o755); err != nil {
		return err
	}
	for _, f := range source {
		name := filepath.Join(temp, filepath.FromSlash(path.Clean(f.name)))
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(name, f.data, 0o644); err != nil {
			return err
		}
	}
	// What is damaged is moved aside first: a directory that is not empty cannot
	// be replaced. When another process was faster its program is used.
	for range 3 {
		err = os.Rename(temp, target)
		if err == nil || complete(target, source) {
			return nil
		}
		old := temp + ".old"
		if renamed := os.Rename(target, old); renamed != nil && !errors.Is(renamed, fs.ErrNotExist) {
			return renamed
		}
		defer os.RemoveAll(old)
	}
	return err
}
