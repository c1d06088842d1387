package session

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

// StateDir returns where this user's sessions live, and makes it if it is
// missing: $XDG_STATE_HOME/gokernel, else ~/.local/state/gokernel; on Windows
// %LOCALAPPDATA%\gokernel. It must belong to this user, be writable by nobody
// else, and not be on a network file system, where neither SQLite's locks nor
// unix sockets work.
func StateDir() (string, error) {
	dir, err := stateDirPath()
	if err != nil {
		return "", err
	}
	return dir, prepareStateDir(dir)
}

func stateDirPath() (string, error) {
	if runtime.GOOS == "windows" {
		base, err := os.UserCacheDir() // %LOCALAPPDATA%
		if err != nil {
			return "", fmt.Errorf("find the state directory: %w", err)
		}
		return filepath.Join(base, "gokernel"), nil
	}
	// The XDG specification wants relative paths ignored.
	if base := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(base) {
		return filepath.Join(base, "gokernel"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil || !filepath.IsAbs(home) {
		return "", errors.New("find the state directory: neither XDG_STATE_HOME nor HOME is an absolute path")
	}
	return filepath.Join(home, ".local", "state", "gokernel"), nil
}

// prepareStateDir makes a state directory, or checks one that is there.
func prepareStateDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("make the state directory: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("state directory: %w", err)
	}
	if err := checkOwner(dir, info); err != nil {
		return err
	}
	kind, err := networkFileSystem(dir)
	if err != nil {
		return fmt.Errorf("state directory %s: find its file system: %w", dir, err)
	}
	if kind != "" {
		return fmt.Errorf("state directory %s is on a network file system (%s), where sessions cannot live; set XDG_STATE_HOME to a directory on a local disk", dir, kind)
	}
	return nil
}
