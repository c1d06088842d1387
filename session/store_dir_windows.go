package session

import (
	"fmt"
	"io/fs"
	"path/filepath"

	"golang.org/x/sys/windows"
)

// checkOwner accepts every directory: those below %LOCALAPPDATA% are the user's
// by access lists that they inherit.
func checkOwner(string, fs.FileInfo) error { return nil }

// networkFileSystem returns what network file system dir is on, or "".
func networkFileSystem(dir string) (string, error) {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	root, err := windows.UTF16PtrFromString(filepath.VolumeName(abs) + `\`)
	if err != nil {
		return "", fmt.Errorf("volume of %s: %w", abs, err)
	}
	if windows.GetDriveType(root) == windows.DRIVE_REMOTE {
		return "network drive", nil
	}
	return "", nil
}
