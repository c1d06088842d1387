package session

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

func TestStateDir(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("the variables are those of unix")
	}
	home, state := t.TempDir(), t.TempDir()
	for _, test := range []struct {
		name, home, xdg, want string
	}{
		{"xdg", home, state, filepath.Join(state, "gokernel")},
		{"home", home, "", filepath.Join(home, ".local", "state", "gokernel")},
		{"relative xdg is ignored", home, "state", filepath.Join(home, ".local", "state", "gokernel")},
		{"neither", "", "", ""},
		{"relative home", "home", "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv("HOME", test.home)
			t.Setenv("XDG_STATE_HOME", test.xdg)
			got, err := StateDir()
			if got != test.want || (err == nil) != (test.want != "") {
				t.Fatalf("got %q, %v, want %q", got, err, test.want)
			}
			if err != nil {
				return
			}
			if info, err := os.Stat(got); err != nil || info.Mode().Perm() != 0o700 {
				t.Errorf("got %v, %v, want a directory with mode 0700", info, err)
			}
		})
	}
}

func TestStateDirThatOthersMayWrite(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes are those of unix")
	}
	for _, mode := range []os.FileMode{0o770, 0o702, 0o777} {
		dir := t.TempDir()
		if err := os.Chmod(dir, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := OpenStore(dir); err == nil || !strings.Contains(err.Error(), "written by others") {
			t.Errorf("mode %#o: got error %v, want one about others", mode, err)
		}
		if entries, _ := os.ReadDir(dir); len(entries) != 0 {
			t.Errorf("mode %#o: got %v in the directory, want nothing", mode, entries)
		}
	}
}

func TestStateDirOfSomebodyElse(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can make one")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 4242, -1); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(dir); err == nil || !strings.Contains(err.Error(), "belongs to user 4242") {
		t.Errorf("got error %v, want one about the owner", err)
	}
}

func TestStateDirThatIsAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(path); err == nil || !strings.Contains(err.Error(), "state directory") {
		t.Errorf("got error %v, want one about the state directory", err)
	}
}
