package files

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// A full disk is an error that names the file; what was there stays, and nothing
// is left of what did not fit.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=1m,mode=0700", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("no file system can be mounted: %v: %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
			t.Errorf("umount: %v: %s", err, out)
		}
	})
	checkDiskFull(t, dir)
}

// The same where the size of files is limited.
func TestFileTooLarge(t *testing.T) {
	const variable = "GOKERNEL_TEST_LIMITED"
	if dir := os.Getenv(variable); dir != "" {
		limit := &syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, limit); err != nil {
			t.Fatal(err)
		}
		checkDiskFull(t, dir)
		return
	}
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "-test.run=^TestFileTooLarge$", "-test.count=1") // no test log: it is a file too
	cmd.Env = append(os.Environ(), variable+"="+t.TempDir())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v:\n%s", err, out)
	}
}

func checkDiskFull(t *testing.T, dir string) {
	t.Helper()
	w, err := Open(dir, new(Sweeper))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	if err := w.Put("sub/data", 0, []byte("old")); err != nil {
		t.Fatal(err)
	}
	p, err := w.Create("sub/data", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Discard()
	block := make([]byte, 256<<10)
	for i := 0; err == nil && i < 8; i++ {
		_, err = p.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EFBIG) || !strings.HasPrefix(err.Error(), "writing sub/data: ") || strings.Contains(err.Error(), partPrefix) {
		t.Errorf("Write to a full disk = %v, want an error that says so and names the file", err)
	}
	p.Discard()
	if got := content(t, filepath.Join(dir, "sub", "data")); got != "old" {
		t.Errorf("the file has %d bytes, want it as it was", len(got))
	}
	if got := tree(t, dir); got != "sub\nsub/data" {
		t.Errorf("there is:\n%s\nwant the file only", got)
	}
	if err := w.Put("sub/data", 0, []byte("new")); err != nil {
		t.Errorf("Put when there is room again = %v", err)
	}
}
