//go:build unix

package agent

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
)

// A pipe in place of a file is not waited for.
func TestInstalledPipe(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{"python/piped-2.dist-info/METADATA", "javascript/node_modules/piped/package.json"} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := syscall.Mkfifo(name, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := installedIn(dir), []string{"piped==2"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}
