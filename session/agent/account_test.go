package agent

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestAccount(t *testing.T) {
	dir := t.TempDir()
	created := time.Date(2026, 1, 2, 3, 4, 5, 6000, time.UTC)
	a, err := openAccount(dir, created)
	if err != nil || !a.created.Equal(created) || a.executed != 0 {
		t.Fatalf("a new account: %+v, %v; want one of now", a, err)
	}
	for _, n := range []int{7, 123456, 8} {
		if err := a.count(n); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
	a, err = openAccount(dir, created.Add(time.Hour))
	if err != nil || !a.created.Equal(created) || a.executed != 8 {
		t.Errorf("opened again: created %v, executed %d, %v; want %v, 8", a.created, a.executed, err, created)
	}
	if err := a.close(); err != nil {
		t.Fatal(err)
	}
}

// Code of the session's user can reach the file: whatever is in it, the agent
// lives.
func TestAccountDamaged(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for name, text := range map[string]string{
		"cut":        "created 1",
		"other":      "ceci n'est pas un compte, et elle est assez longue pour un",
		"no time":    "created 0000000000000000000 executed 0000000000000000003\n",
		"negative":   "created -000000000000000004 executed -000000000000000003\n",
		"too large":  "created 9999999999999999999 executed 9999999999999999999\n",
		"just zeros": string(make([]byte, accountSize)),
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "account"), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			a, err := openAccount(dir, now)
			if err == nil || !a.created.Equal(now) || a.executed != 0 {
				t.Errorf("got created %v, executed %d, %v; want a new one and an error", a.created, a.executed, err)
			}
			if err := a.count(2); err != nil {
				t.Error(err)
			}
			if err := a.close(); err != nil {
				t.Error(err)
			}
			if a, err = openAccount(dir, now.Add(time.Hour)); err != nil || !a.created.Equal(now) || a.executed != 2 {
				t.Errorf("opened again: created %v, executed %d, %v; want %v, 2", a.created, a.executed, err, now)
			}
			if err := a.close(); err != nil {
				t.Error(err)
			}
		})
	}
	if a, err := openAccount(filepath.Join(t.TempDir(), "missing"), now); err == nil || a.count(3) != nil || a.executed != 3 {
		t.Errorf("without a directory: %+v, %v; want one in memory and why", a, err)
	}
}

func FuzzAccount(f *testing.F) {
	f.Add([]byte("created 0001767323045000000 executed 0000000000000000003\n"))
	f.Add([]byte("created 1"))
	f.Fuzz(func(t *testing.T, text []byte) {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "account"), text, 0o600); err != nil {
			t.Fatal(err)
		}
		now := time.UnixMicro(1)
		a, _ := openAccount(dir, now)
		created, executed := a.created, a.executed
		if executed < 0 || created.UnixMicro() <= 0 {
			t.Errorf("%q: created %v, executed %d", text, created, executed)
		}
		if err := a.close(); err != nil {
			t.Fatal(err)
		}
		if a, _ = openAccount(dir, now.Add(1)); !a.created.Equal(created) || a.executed != executed {
			t.Errorf("%q: another opens as created %v, executed %d; want %v, %d", text, a.created, a.executed, created, executed)
		}
		_ = a.close()
	})
}
