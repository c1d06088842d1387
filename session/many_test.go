//go:build linux || darwin

package session_test

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/gokernel/gokernel/session"
	"github.com/gokernel/gokernel/session/agent/agenttest"
)

// runs is how many runs TestManyRuns performs. A thousand take minutes.
var runs = flag.Int("runs", 40, "how many short unkept runs to perform")

// peers D7: short unkept runs, 40, or a thousand with -runs 1000, leave no
// process, file, socket or registry row, however they end.
func TestManyRuns(t *testing.T) {
	n := *runs
	if testing.Short() {
		n = min(n, 30)
	}
	state := t.TempDir()
	m := scripted(t, state)
	descriptors := openDescriptors()
	requests := []session.Request{ // each ends in another way
		script("print x"), script("fail E"), script("kill"), script("child"),
		{Language: "script", Downloads: []session.Download{{Path: "none"}}},
		{Code: "print x", Language: "script", Files: map[string]session.File{"a": {Bytes: []byte("a")}}},
	}
	var ids sync.Map
	numbers := make(chan int, n)
	for i := range n {
		numbers <- i
	}
	close(numbers)
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for i := range numbers {
				resp, err := m.Run(t.Context(), requests[i%len(requests)])
				if dies := i%len(requests) == 2; (err != nil) != dies {
					t.Errorf("run %d: %v", i, err)
				}
				ids.Store(resp.SessionID, true)
			}
		})
	}
	callers.Wait()
	made := 0
	ids.Range(func(id, _ any) bool {
		made++
		if left := agenttest.Marked(marker + id.(string)); len(left) > 0 {
			t.Errorf("of session %v processes are left: %v", id, left)
		}
		return true
	})
	if made != n {
		t.Errorf("%d sessions for %d runs", made, n)
	}
	if after := openDescriptors(); after > descriptors {
		t.Errorf("%d descriptors are open, before there were %d", after, descriptors)
	}
	store, err := session.OpenStore(state)
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	if rows, err := store.List(t.Context(), true); err != nil || len(rows) != 0 {
		t.Errorf("%d rows are left in the registry (%v)", len(rows), err)
	}
	err = filepath.WalkDir(state, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(state, path)
		if err == nil && !d.IsDir() && (d.Type()&os.ModeSocket != 0 || strings.HasPrefix(name, "sessions"+string(filepath.Separator))) {
			t.Errorf("%s is left", name)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if entries, err := os.ReadDir(filepath.Join(state, "sessions")); err != nil || len(entries) != 0 {
		t.Errorf("%d directories of sessions are left (%v)", len(entries), err)
	}
}

// openDescriptors returns how many descriptors this process has, 0 where that is
// not known.
func openDescriptors() int {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return 0
	}
	return len(entries)
}
