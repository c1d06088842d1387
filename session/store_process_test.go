package session

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gokernel/gokernel/sandbox"
)

const (
	storeChildDir = "GOKERNEL_TEST_STORE_DIR"
	childRounds   = 15
	childNames    = 3
)

// TestStoreChild is not a test of its own but what the processes of
// TestManyProcesses do.
func TestStoreChild(t *testing.T) {
	dir := os.Getenv(storeChildDir)
	if dir == "" {
		t.Skip("it is run by TestManyProcesses")
	}
	for i := range childRounds {
		// As short processes do, open it each time.
		s, err := OpenStore(dir)
		if err != nil {
			t.Fatal(err)
		}
		r := testRow(fmt.Sprintf("name-%d", i%childNames))
		r.FrontPID = os.Getpid()
		err = s.Create(t.Context(), r)
		switch {
		case errors.Is(err, ErrNameTaken):
			fmt.Println("CHILD taken", r.Name)
		case err != nil:
			t.Fatal(err)
		default:
			useRow(t, s, r)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	fmt.Println("CHILD done")
}

// useRow does to a session what a front does, and ends it.
func useRow(t *testing.T, s *Store, r *Row) {
	ctx := t.Context()
	if err := s.SetHandle(ctx, r.ID, sandbox.Handle{Driver: "local", ID: r.ID}); err != nil {
		t.Fatal(err)
	}
	rows, err := s.List(ctx, false)
	if err != nil {
		t.Fatal(err)
	}
	owner := make(map[string]string)
	for _, row := range rows {
		if other, ok := owner[row.Name]; ok {
			t.Errorf("sessions %s and %s have the name %s", other, row.ID, row.Name)
		}
		owner[row.Name] = row.ID
	}
	if owner[r.Name] != r.ID {
		t.Errorf("got session %q for the name %s, want %s", owner[r.Name], r.Name, r.ID)
	}
	if got, err := s.ByName(ctx, r.Name); err != nil || got.ID != r.ID || got.FrontPID != os.Getpid() {
		t.Errorf("got %+v, %v for the name %s, want %s", got, err, r.Name, r.ID)
	}
	if err := s.End(ctx, r.ID, "done"); err != nil {
		t.Fatal(err)
	}
	fmt.Println("CHILD ended", r.ID)
}

func TestManyProcesses(t *testing.T) {
	// DESIGN.md section 3: every gokernel process may open the registry.
	dir := t.TempDir()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	const processes = 4
	var mu sync.Mutex
	ended, taken, done := 0, 0, 0
	var wg sync.WaitGroup
	for range processes {
		wg.Go(func() {
			cmd := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestStoreChild$", "-test.v")
			cmd.Env = append(os.Environ(), storeChildDir+"="+dir)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("child: %v\n%s", err, out)
			}
			mu.Lock()
			defer mu.Unlock()
			for lines := bufio.NewScanner(strings.NewReader(string(out))); lines.Scan(); {
				switch f := strings.Fields(lines.Text()); {
				case len(f) < 2 || f[0] != "CHILD":
				case f[1] == "ended":
					ended++
				case f[1] == "taken":
					taken++
				case f[1] == "done":
					done++
				}
			}
		})
	}
	wg.Wait()
	if done != processes || ended+taken != processes*childRounds || ended == 0 {
		t.Errorf("got %d children done, %d sessions and %d names taken, want %d and together %d", done, ended, taken, processes, processes*childRounds)
	}
	s := openTestStore(t, dir)
	all, err := s.List(t.Context(), true)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range all {
		if r.Live() {
			t.Errorf("session %s is still %s", r.ID, r.State)
		}
	}
	if len(all) != ended {
		t.Errorf("got %d tombstones, want %d", len(all), ended)
	}
}

func TestOpenedAtOnce(t *testing.T) {
	// Twenty kernels start at once in a new state directory.
	dir := t.TempDir()
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			s, err := OpenStore(dir)
			if err != nil {
				t.Error(err)
				return
			}
			if err := s.Create(t.Context(), testRow("")); err != nil {
				t.Error(err)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	rows, err := openTestStore(t, dir).List(t.Context(), false)
	if err != nil || len(rows) != 20 {
		t.Errorf("got %d sessions, %v, want 20", len(rows), err)
	}
}
