package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/gokernel/gokernel/session"
)

// execFlags are the flags of gokernel exec.
type execFlags struct {
	codeFile  string
	language  string
	session   string
	keep      bool
	files     []string
	packages  []string
	env       []string
	cwd       string
	downloads []string
	lease     durationFlag
	timeout   durationFlag
	progress  string
	json      bool
}

// A durationFlag is the value of a flag: seconds or a duration, more than 0.
type durationFlag time.Duration

func (d *durationFlag) String() string {
	if *d == 0 {
		return ""
	}
	return time.Duration(*d).String()
}

// Type is what the flag's help calls its value.
func (d *durationFlag) Type() string { return "duration" }

// Set reads the flag's value.
func (d *durationFlag) Set(s string) error {
	v, err := parseDuration(s)
	*d = durationFlag(v)
	return err
}

func (f *execFlags) add(flags *pflag.FlagSet) {
	flags.SortFlags = false
	flags.StringVarP(&f.codeFile, "f", "f", "", "read the code from this `FILE`; - is standard input")
	flags.StringVar(&f.language, "language", "", "language of the code: python or javascript (default: that of -f's name, else the session's, else python)")
	flags.StringVar(&f.session, "session", "", "run in the session with this id or name, which must exist unless --keep is given")
	flags.BoolVar(&f.keep, "keep", false, "keep the session when the code is done; its id is told on stderr")
	flags.StringArrayVar(&f.files, "file", nil, "send a file or directory before the code runs: `PATH[=SOURCE]`; may be repeated")
	flags.StringArrayVar(&f.packages, "package", nil, "install a package before the code runs, as pip or npm name it: `SPEC`; may be repeated")
	flags.StringArrayVar(&f.env, "env", nil, "set an environment variable: `NAME=VALUE`, or NAME for the value that it has here; may be repeated")
	flags.StringVar(&f.cwd, "cwd", "", "working directory of the code: absolute, or below the session's own")
	flags.StringArrayVar(&f.downloads, "download", nil, "bring a file back when the code is done: `PATH[=TARGET]`; may be repeated")
	flags.Var(&f.lease, "lease", "how long a kept session may be idle: seconds, or a duration such as 90m (default 24h)")
	flags.Var(&f.timeout, "timeout", "end the run after this time: seconds, or a duration such as 90s (default: never)")
	flags.StringVar(&f.progress, "progress", "auto", "progress on stderr, one `MODE` of auto (a bar on a terminal), plain, json or none")
	flags.BoolVar(&f.json, "json", false, "print one JSON document about the run, and nothing else, on stdout")
}

// check refuses what is wrong with the flags by themselves.
func (f *execFlags) check(flags *pflag.FlagSet) error {
	for _, name := range []string{"session", "language", "cwd", "f"} {
		if flag := flags.Lookup(name); flag.Changed && flag.Value.String() == "" {
			return usageError("--%s is empty: give a value, or leave it out", name)
		}
	}
	switch f.progress {
	case "auto", "plain", "json", "none":
	default:
		return usageError("--progress %q: use auto, plain, json or none", f.progress)
	}
	if f.lease > 0 && !f.keep && f.session == "" {
		return usageError("--lease is for a session that is kept: give --keep or --session too")
	}
	return nil
}

// execRequest returns the run that the flags and arguments ask for. usesStdin
// reports that standard input is part of it.
func (a *app) execRequest(ctx context.Context, f *execFlags, args []string) (r *session.Request, usesStdin bool, err error) {
	r = &session.Request{
		Language: f.language, Packages: f.packages, Cwd: f.cwd, Session: f.session, KeepAlive: f.keep,
		Lease: time.Duration(f.lease), TimeLimit: time.Duration(f.timeout),
	}
	if r.Env, err = parseEnv(f.env); err != nil {
		return nil, false, err
	}
	if r.Files, err = parseFiles(f.files); err != nil {
		return nil, false, err
	}
	if r.Downloads, err = parseDownloads(f.downloads); err != nil {
		return nil, false, err
	}
	if r.Language == "" {
		r.Language = languageOf(f.codeFile)
	}
	r.Code, usesStdin, err = a.readCode(ctx, f.codeFile, args)
	return r, usesStdin, err
}

// languageOf returns the language that a file's name tells, or "".
func languageOf(file string) string {
	switch strings.ToLower(filepath.Ext(file)) {
	case ".py":
		return "python"
	case ".js", ".mjs", ".cjs":
		return "javascript"
	}
	return ""
}

// readCode returns the code: the argument, the file of -f, or standard input for
// "-", and without either of them when it is no terminal.
func (a *app) readCode(ctx context.Context, file string, args []string) (code string, usesStdin bool, err error) {
	what := "-f " + file
	var b []byte
	switch {
	case file != "" && len(args) > 0:
		return "", false, usageError("the code comes from %q and from -f: give one of them", args[0])
	case len(args) > 0 && args[0] != "-":
		what, b = "CODE", []byte(args[0])
	case file != "" && file != "-":
		if filepath.Ext(file) == ".ipynb" {
			return "", false, usageError("-f %s is a notebook: use 'gokernel run'", file)
		}
		if b, err = os.ReadFile(file); err != nil {
			return "", false, usageError("-f: the code cannot be read: %v", err)
		}
	case file == "" && len(args) == 0 && terminalOf(a.stdin) != nil:
		return "", false, usageError("there is no code: give CODE, -f FILE, or - to type it")
	default:
		what, usesStdin = "standard input", true
		if terminalOf(a.stdin) != nil && terminalOf(a.stderr) != nil {
			fmt.Fprintln(a.stderr, "Type the code, then end it with "+endOfInput+" on a line of its own.")
		}
		if b, err = readAll(ctx, a.stdin); err != nil {
			return "", false, fmt.Errorf("reading the code from standard input: %w", err)
		}
	}
	b = bytes.TrimPrefix(b, []byte("\ufeff"))
	if !utf8.Valid(b) {
		return "", false, usageError("%s: the code must be UTF-8 text", what)
	}
	return string(b), usesStdin, nil
}

// readAll reads r to its end. When ctx ends it leaves behind a goroutine that
// still waits for r.
func readAll(ctx context.Context, r io.Reader) ([]byte, error) {
	type result struct {
		b   []byte
		err error
	}
	done := make(chan result, 1)
	go func() {
		b, err := io.ReadAll(r)
		done <- result{b, err}
	}()
	select {
	case got := <-done:
		return got.b, got.err
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// parseEnv reads NAME=VALUE, or NAME for the value of this process. Errors name
// no values.
func parseEnv(list []string) (map[string]string, error) {
	env := map[string]string{}
	for _, v := range list {
		name, value, given := strings.Cut(v, "=")
		switch {
		case name == "":
			return nil, usageError("--env: a variable without a name: give NAME=VALUE")
		case strings.ContainsRune(v, 0):
			return nil, usageError("--env %s: neither name nor value can hold a zero byte", strings.ToValidUTF8(name, "?"))
		case !given:
			if value, given = os.LookupEnv(name); !given {
				return nil, usageError("--env %s: it is not set here: give %s=VALUE", name, name)
			}
		}
		if !utf8.ValidString(name) || !utf8.ValidString(value) {
			return nil, usageError("--env %s: name and value must be UTF-8", strings.ToValidUTF8(name, "?"))
		}
		env[name] = value
	}
	return env, nil
}

// parseFiles reads PATH[=SOURCE], where PATH is in the session and SOURCE is here.
func parseFiles(list []string) (map[string]session.File, error) {
	files := map[string]session.File{}
	for _, v := range list {
		to, source, given := strings.Cut(v, "=")
		if !given {
			source = to
			to = ownPath(to)
		}
		if to == "" || source == "" {
			return nil, usageError("--file %q: give PATH or PATH=SOURCE", v)
		}
		if given && strings.HasSuffix(to, "/") {
			to = path.Join(to, filepath.Base(source))
		}
		to = path.Clean(to)
		if !inside(to) {
			return nil, usageError("--file %q: %s leaves the working directory: give a relative path below it", v, to)
		}
		if err := addFile(files, to, source); err != nil {
			return nil, usageError("--file %q: %w", v, err)
		}
	}
	return files, nil
}

// ownPath returns where a file goes of which only the place here is given: to the
// same place below the working directory, or there under its base name when its
// place is not below.
func ownPath(source string) string {
	if source == "" || inside(path.Clean(filepath.ToSlash(source))) {
		return filepath.ToSlash(source)
	}
	if abs, err := filepath.Abs(source); err == nil { // ".." has a name too
		source = abs
	}
	return filepath.Base(source)
}

// inside reports whether a clean path with slashes stays below where it begins.
func inside(p string) bool {
	return filepath.IsLocal(filepath.FromSlash(p)) && !strings.Contains(p, "\x00")
}

// addFile adds source to files under the path to; of a directory all that is in it.
func addFile(files map[string]session.File, to, source string) error {
	info, err := os.Stat(source)
	if err != nil {
		return err
	}
	switch {
	case info.IsDir():
		return addDirectory(files, to, source)
	case !info.Mode().IsRegular():
		return fmt.Errorf("%s is neither a file nor a directory", source)
	case to == ".":
		return errors.New("a file needs a name: give the path that it is to have")
	}
	if _, twice := files[to]; twice {
		return fmt.Errorf("%s is sent twice", to)
	}
	f, err := os.Open(source)
	if err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	files[to] = session.File{Path: source}
	return nil
}

// addDirectory adds the files below a directory. Links to files count as files;
// links to directories are refused, for they may go round in circles.
func addDirectory(files map[string]session.File, to, source string) error {
	source, err := filepath.EvalSymlinks(source)
	if err != nil {
		return err
	}
	return filepath.WalkDir(source, func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if entry.Type()&fs.ModeSymlink != 0 {
			if info, err := os.Stat(name); err == nil && info.IsDir() {
				return fmt.Errorf("%s is a link to a directory: send that with a --file of its own", name)
			}
		}
		below, err := filepath.Rel(source, name)
		if err != nil {
			return err
		}
		return addFile(files, path.Join(to, filepath.ToSlash(below)), name)
	})
}

// parseDownloads reads PATH[=TARGET], where PATH is in the session and TARGET is
// here.
func parseDownloads(list []string) ([]session.Download, error) {
	var downloads []session.Download
	seen, targets := map[string]bool{}, map[string]bool{}
	for _, v := range list {
		from, target, given := strings.Cut(v, "=")
		from = path.Clean(from)
		switch {
		case v == "" || strings.HasPrefix(v, "=") || given && target == "":
			return nil, usageError("--download %q: give PATH or PATH=TARGET", v)
		case !inside(from) || from == ".":
			return nil, usageError("--download %q: %s is not below the working directory: give the relative path of a file", v, from)
		case seen[from]:
			return nil, usageError("--download %q: %s is brought back twice", v, from)
		}
		seen[from] = true
		if !given {
			target = filepath.FromSlash(from)
		}
		target, err := targetFile(target, from, !given)
		if err != nil {
			return nil, usageError("--download %q: %w", v, err)
		}
		if targets[target] {
			return nil, usageError("--download %q: two files would become %s", v, target)
		}
		targets[target] = true
		downloads = append(downloads, session.Download{Path: from, Target: target})
	}
	return downloads, nil
}

// targetFile returns the file here that from becomes: target, or a file in it
// when it is a directory. Its directory must exist, unless it may be made.
func targetFile(target, from string, mayMake bool) (string, error) {
	into := strings.HasSuffix(target, "/") || strings.HasSuffix(target, string(filepath.Separator))
	if info, err := os.Stat(target); err == nil && info.IsDir() {
		if mayMake {
			return "", fmt.Errorf("%s is a directory here: give PATH=TARGET", target)
		}
		into = true
	}
	if into {
		target = filepath.Join(target, path.Base(from))
	}
	target, err := filepath.Abs(target)
	if err != nil {
		return "", err
	}
	info, err := os.Stat(filepath.Dir(target))
	switch {
	case mayMake && errors.Is(err, fs.ErrNotExist):
		return target, nil
	case err != nil:
		return "", fmt.Errorf("the directory of %s: %w", target, err)
	case !info.IsDir():
		return "", fmt.Errorf("%s is no directory", filepath.Dir(target))
	}
	return target, nil
}
