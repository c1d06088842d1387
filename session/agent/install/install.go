// Package install brings packages into a session's own folder with the
// installers that the user has: uv or pip for Python, npm for JavaScript. It
// says what is to be started, reads what the installer writes and puts the
// result in its place; starting things is the caller's business.
//
// An installer works in a folder beside the one for packages. What it has made
// is moved in when it has ended well, the metadata by which a package counts as
// installed last of all: whatever cuts an installation short, by then nothing of
// it counts.
package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/gokernel/gokernel/session/wire"
)

// A Job is one installation.
type Job struct {
	// Language is "python" or "javascript".
	Language string
	// Interpreter is the language's program. pip is run with it.
	Interpreter string
	// Folder is where the packages go. It is made if it is missing. Nobody else
	// may install into it meanwhile.
	Folder string
	// Env is the whole environment of the installer, and Dir its working
	// directory. The installer reads its own variables and configuration files.
	Env []string
	Dir string
	// Packages are specifiers that wire.CheckPackage takes.
	Packages []string
}

// A Command is what has to be started: a program with arguments, its whole
// environment and its working directory.
type Command struct {
	Argv []string
	Env  []string
	Dir  string
}

// A Start starts a command, gives what it writes to output, stdout and stderr
// alike, and returns its exit status when it and everything that it has started
// have ended. When ctx ends it ends them and returns an error.
type Start func(ctx context.Context, c Command, output func([]byte)) (status int, err error)

// A Report takes how far an installation is: in words, and with a count of unit.
// A total of 0 means that it is not known. done/total never goes back.
type Report func(message string, done, total int64, unit string)

// unit is what is counted.
const unit = "packages"

// Run installs the packages and returns the normal names of all that were
// installed, or changed, for it. The error of an installer that fails has the
// last of what that wrote, for users; then nothing in the folder has changed.
func (j *Job) Run(ctx context.Context, start Start, report Report) (changed []string, err error) {
	for _, spec := range j.Packages {
		if err := wire.CheckPackage(j.Language, spec); err != nil {
			return nil, err
		}
	}
	w, err := j.prepare(start, report)
	if err != nil {
		return nil, fmt.Errorf("preparing the package folder: %w", err)
	}
	defer func() { err = errors.Join(err, w.close()) }()
	switch {
	case j.Language == "javascript":
		return w.npm(ctx)
	case j.has("uv"):
		return w.uv(ctx)
	}
	return w.pip(ctx)
}

// A work is a job that is being performed.
type work struct {
	*Job
	start   Start
	report  Report
	parent  *os.Root // the directory that the package folder is in
	folder  string   // name in parent
	staging string   // name in parent of the folder that the installer works in
}

// prepare makes the folders, and removes what an installation that was cut short
// has left.
func (j *Job) prepare(start Start, report Report) (*work, error) {
	parent, folder := filepath.Split(filepath.Clean(j.Folder))
	if err := os.MkdirAll(j.Folder, 0o700); err != nil {
		return nil, err
	}
	root, err := os.OpenRoot(parent)
	if err != nil {
		return nil, err
	}
	w := &work{Job: j, start: start, report: report, parent: root, folder: folder, staging: "." + folder + "-staging"}
	err = w.parent.RemoveAll(w.staging)
	if err == nil {
		err = w.parent.MkdirAll(filepath.Join(w.staging, target), 0o700)
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// target is the folder within staging that packages are installed into.
const target = "target"

// close removes what the installer has left.
func (w *work) close() error {
	err := w.parent.RemoveAll(w.staging)
	return errors.Join(err, w.parent.Close())
}

// at returns the path of a file within staging.
func (w *work) at(name string) string {
	return filepath.Join(filepath.Dir(filepath.Clean(w.Folder)), w.staging, name)
}

// call starts an installer. Options of argv are followed by the specifiers.
func (w *work) call(ctx context.Context, r reader, argv, packages []string) error {
	out := newOutput(r, w.report)
	argv = append(argv[:len(argv):len(argv)], "--")
	command := Command{Argv: append(argv, packages...), Env: w.Env, Dir: w.Dir}
	status, err := w.start(ctx, command, out.write)
	out.end()
	if err != nil {
		return err
	}
	if status != 0 {
		return &failure{status: status, tool: r.tool(), packages: w.Packages, wrote: out.text()}
	}
	return nil
}

// A failure is an installer that did not do what it was told.
type failure struct {
	status   int
	tool     string
	packages []string
	wrote    string
}

func (f *failure) Error() string {
	text := fmt.Sprintf("%s did not install %s (exit status %d)", f.tool, list(f.packages), f.status)
	if f.wrote != "" {
		text += "; it wrote:\n" + f.wrote
	}
	return text
}

// list names packages in an error.
func list(packages []string) string {
	const most = 10
	if len(packages) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(packages[:most], ", "), len(packages)-most)
	}
	return strings.Join(packages, ", ")
}

// has reports whether a program is on the PATH of the job's environment.
func (j *Job) has(name string) bool {
	path := ""
	for _, v := range j.Env {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			path = value
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue
		}
		info, err := os.Stat(filepath.Join(dir, name))
		if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o111 != 0 {
			return true
		}
	}
	return false
}
