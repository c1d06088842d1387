//go:build unix

package process

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/gokernel/gokernel/sandbox"
)

// check says what is wrong with a command, better than the system would, and
// returns the path of its program.
func check(cmd sandbox.Command) (argv0 string, err error) {
	if len(cmd.Argv) == 0 || cmd.Argv[0] == "" {
		return "", errors.New("start command: no program given")
	}
	for i, f := range cmd.Files {
		if f == nil {
			return "", fmt.Errorf("start %s: descriptor %d is no file", cmd.Argv[0], i+3)
		}
	}
	if cmd.Dir != "" {
		info, err := os.Stat(cmd.Dir)
		if err == nil && !info.IsDir() {
			err = fmt.Errorf("%s: %w", cmd.Dir, syscall.ENOTDIR)
		}
		if err != nil {
			return "", fmt.Errorf("start %s: working directory: %w", cmd.Argv[0], err)
		}
	}
	argv0, err = lookPath(cmd)
	if err != nil {
		return "", fmt.Errorf("start %s: %w", cmd.Argv[0], err)
	}
	return argv0, nil
}

// lookPath finds the program of a command by the PATH of its environment, not
// by our own.
func lookPath(cmd sandbox.Command) (string, error) {
	name := cmd.Argv[0]
	if strings.Contains(name, "/") {
		return name, nil
	}
	path := ""
	for _, v := range cmd.Env {
		if value, ok := strings.CutPrefix(v, "PATH="); ok {
			path = value
		}
	}
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue // relative to a directory that nobody has chosen
		}
		file := filepath.Join(dir, name)
		if info, err := os.Stat(file); err == nil && !info.IsDir() && unix.Access(file, unix.X_OK) == nil {
			return file, nil
		}
	}
	return "", fmt.Errorf("%w %q", exec.ErrNotFound, path)
}

// explain adds to the error of a start what the system does not say.
func explain(argv0 string, err error) error {
	if !errors.Is(err, fs.ErrNotExist) || !filepath.IsAbs(argv0) {
		return err
	}
	if _, statErr := os.Stat(argv0); statErr == nil {
		return fmt.Errorf("%w: the file exists, but the interpreter or loader that it names does not", err)
	}
	return err
}

func signalName(sig syscall.Signal) string {
	if name := unix.SignalName(sig); name != "" {
		return name
	}
	return "signal " + strconv.Itoa(int(sig))
}
