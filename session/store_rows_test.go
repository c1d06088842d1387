package session

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/uuid"

	"github.com/gokernel/gokernel/sandbox"
)

func openTestStore(t testing.TB, dir string) *Store {
	t.Helper()
	s, err := OpenStore(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func testRow(name string) *Row {
	id := uuid.NewString()
	return &Row{
		ID: id, Name: name, State: RowStarting, Kept: true, Language: "python", Interpreter: "/usr/bin/python3",
		Dir: "/home/x", SessionDir: "/state/" + id, Isolation: "process", ConnectionFile: "/run/kernel-1.json",
		FrontPID: 42, Created: time.UnixMicro(1700000000000001),
	}
}

func mustCreate(t testing.TB, s *Store, r *Row) *Row {
	t.Helper()
	if err := s.Create(t.Context(), r); err != nil {
		t.Fatal(err)
	}
	return r
}

func ids(rows []*Row) []string {
	list := []string{}
	for _, r := range rows {
		list = append(list, r.ID)
	}
	return list
}

func TestRowsComeBackAsTheyWere(t *testing.T) {
	dir := t.TempDir()
	ctx := t.Context()
	s := openTestStore(t, dir)
	want := mustCreate(t, s, testRow("work"))
	h := sandbox.Handle{Driver: "local", ID: want.ID, State: []byte(`{"socket":"x"}`)}
	if err := s.SetHandle(ctx, want.ID, h); err != nil {
		t.Fatal(err)
	}
	if err := s.SetKept(ctx, want.ID, false); err != nil {
		t.Fatal(err)
	}
	want.Handle, want.State, want.Kept = h, RowLive, false
	other := openTestStore(t, dir) // as another process would
	for name, get := range map[string]func() (*Row, error){
		"id":   func() (*Row, error) { return other.Get(ctx, want.ID) },
		"name": func() (*Row, error) { return other.ByName(ctx, "work") },
	} {
		got, err := get()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if diff := cmp.Diff(got, want); diff != "" {
			t.Errorf("by %s (-got +want):\n%s", name, diff)
		}
	}
}

func TestNamesAreUniqueAmongTheLiving(t *testing.T) {
	// AGENT.md section 1: a name is unique in a state directory.
	ctx := t.Context()
	s := openTestStore(t, t.TempDir())
	first := mustCreate(t, s, testRow("work"))
	if err := s.Create(ctx, testRow("work")); !errors.Is(err, ErrNameTaken) {
		t.Errorf("got error %v, want %v", err, ErrNameTaken)
	}
	mustCreate(t, s, testRow(""))
	mustCreate(t, s, testRow("")) // no name is no name
	if err := s.Create(ctx, first); err == nil {
		t.Error("the same id was added twice")
	}
	if err := s.End(ctx, first.ID, "it was closed"); err != nil {
		t.Fatal(err)
	}
	got, err := s.ByName(ctx, "work")
	if err != nil || got.Live() || got.ID != first.ID || got.EndReason != "it was closed" || got.Ended.IsZero() {
		t.Errorf("got %+v, %v, want the tombstone", got, err)
	}
	second := mustCreate(t, s, testRow("work"))
	if got, err := s.ByName(ctx, "work"); err != nil || got.ID != second.ID {
		t.Errorf("got %v, %v, want the living one", got, err)
	}
	if err := s.End(ctx, second.ID, "again"); err != nil {
		t.Fatal(err)
	}
	if got, err := s.ByName(ctx, "work"); err != nil || got.ID != second.ID {
		t.Errorf("got %v, %v, want the newest tombstone", got, err)
	}
}

func TestErrorsTellWhatASessionIs(t *testing.T) {
	ctx := t.Context()
	s := openTestStore(t, t.TempDir())
	r := mustCreate(t, s, testRow("work"))
	if err := s.End(ctx, r.ID, "its lease ran out"); err != nil {
		t.Fatal(err)
	}
	if err := s.End(ctx, r.ID, "another reason"); err != nil {
		t.Errorf("ending twice: %v", err)
	}
	for _, test := range []struct {
		what string
		err  error
		want error
	}{
		{"handle of one that has ended", s.SetHandle(ctx, r.ID, sandbox.Handle{}), ErrExpired},
		{"kept of one that has ended", s.SetKept(ctx, r.ID, true), ErrExpired},
		{"handle of none", s.SetHandle(ctx, "none", sandbox.Handle{}), ErrNotFound},
		{"end of none", s.End(ctx, "none", ""), ErrNotFound},
		{"get none", second(s.Get(ctx, "none")), ErrNotFound},
		{"no such name", second(s.ByName(ctx, "none")), ErrNotFound},
		{"no name", second(s.ByName(ctx, "")), ErrNotFound},
		{"bad name", s.Create(ctx, testRow("Bad Name")), nil},
	} {
		if test.want != nil && !errors.Is(test.err, test.want) || test.err == nil {
			t.Errorf("%s: got error %v, want %v", test.what, test.err, test.want)
		}
	}
	if err := s.SetKept(ctx, r.ID, true); !strings.Contains(err.Error(), "its lease ran out") {
		t.Errorf("got error %q, want the first reason in it", err)
	}
	if err := s.Delete(ctx, r.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(ctx, r.ID); !errors.Is(err, ErrNotFound) {
		t.Errorf("got error %v after Delete, want %v", err, ErrNotFound)
	}
	if err := s.Delete(ctx, r.ID); err != nil {
		t.Errorf("deleting twice: %v", err)
	}
}

func second(_ *Row, err error) error { return err }

func TestLists(t *testing.T) {
	ctx := t.Context()
	s := openTestStore(t, t.TempDir())
	a, b, c := testRow("a"), testRow("b"), testRow("c")
	b.Created = a.Created.Add(-time.Hour)
	c.ConnectionFile = ""
	for _, r := range []*Row{a, b, c} {
		mustCreate(t, s, r)
	}
	ended := mustCreate(t, s, testRow("d"))
	if err := s.End(ctx, ended.ID, "x"); err != nil {
		t.Fatal(err)
	}
	list := func(rows []*Row, err error) []string {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return ids(rows)
	}
	for _, test := range []struct {
		name      string
		got, want []string
	}{
		{"living", list(s.List(ctx, false)), []string{b.ID, a.ID, c.ID}},
		{"all", list(s.List(ctx, true)), []string{b.ID, a.ID, c.ID, ended.ID}},
		{"connection file", list(s.ByConnectionFile(ctx, "/run/kernel-1.json")), []string{b.ID, a.ID}},
		{"other connection file", list(s.ByConnectionFile(ctx, "/run/kernel-2.json")), []string{}},
		{"no connection file", list(s.ByConnectionFile(ctx, "")), []string{}},
	} {
		if diff := cmp.Diff(test.got, test.want); diff != "" {
			t.Errorf("%s (-got +want):\n%s", test.name, diff)
		}
	}
}

func TestTombstonesAreForgotten(t *testing.T) {
	ctx := t.Context()
	s := openTestStore(t, t.TempDir())
	old := mustCreate(t, s, testRow("old"))
	if err := s.End(ctx, old.ID, "x"); err != nil {
		t.Fatal(err)
	}
	_, err := s.db.ExecContext(ctx, `UPDATE sessions SET ended = ?`, toMicro(time.Now().Add(-tombstoneAge-time.Hour)))
	if err != nil {
		t.Fatal(err)
	}
	// More than are remembered, made at once for speed.
	_, err = s.db.ExecContext(ctx, `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i < ?)
		INSERT INTO sessions (id, state, ended) SELECT 'n'||i, 'ended', ?+i FROM n`, maxTombstones+10, toMicro(time.Now())-1e6)
	if err != nil {
		t.Fatal(err)
	}
	living := mustCreate(t, s, testRow("living"))
	last := mustCreate(t, s, testRow("last"))
	if err := s.End(ctx, last.ID, "x"); err != nil {
		t.Fatal(err)
	}
	rows, err := s.List(ctx, true)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := len(rows), maxTombstones+1; got != want {
		t.Errorf("got %d rows, want %d", got, want)
	}
	for id, want := range map[string]bool{old.ID: false, "n1": false, "n11": false, "n12": true, "n1010": true, living.ID: true, last.ID: true} {
		if _, err := s.Get(ctx, id); (err == nil) != want {
			t.Errorf("%s: got %v, want it there: %v", id, err, want)
		}
	}
}

func TestValidName(t *testing.T) {
	for _, test := range []struct {
		name string
		want string // in the error; "" for none
	}{
		{"a", ""}, {"0", ""}, {"my-work_2.1", ""}, {strings.Repeat("a", 64), ""},
		{"", "empty"}, {strings.Repeat("a", 65), "65 characters"}, {"-a", "does not begin"}, {".a", "does not begin"}, {"_a", "does not begin"},
		{"A", "only a-z"}, {"a b", "only a-z"}, {"a/b", "only a-z"}, {"ä", "only a-z"}, {"a\x00", "only a-z"},
		{uuid.NewString(), "generated id"},
	} {
		err := ValidName(test.name)
		if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: got error %v, want %q", test.name, err, test.want)
		}
	}
}

func TestRegistryFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "with ?#% and ä", "state")
	s := openTestStore(t, dir)
	mustCreate(t, s, testRow("work"))
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if mode := info.Mode().Perm(); mode != 0o600 {
			t.Errorf("got mode %#o of %s, want 0600", mode, e.Name())
		}
		names = append(names, e.Name())
	}
	if diff := cmp.Diff(names, []string{"registry.db", "registry.db-shm", "registry.db-wal"}); diff != "" {
		t.Errorf("files (-got +want):\n%s", diff)
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("got mode %v, want 0700 (%v)", info.Mode(), err)
	}
}

func TestRegistryVersions(t *testing.T) {
	// AGENT.md section 5: the registry carries a version, changes only add, and
	// nothing is migrated under another process.
	for _, test := range []struct {
		name  string
		setup string
		want  string
	}{
		{"newer, with more in it", `ALTER TABLE sessions ADD COLUMN added TEXT NOT NULL DEFAULT 'x'; CREATE TABLE more (a);
			PRAGMA user_version = ` + fmt.Sprint(registryVersion+1), ""},
		{"another format", fmt.Sprintf(`PRAGMA user_version = %d`, registryVersion+1000), "format 2 instead of 1"},
		{"not ours", `DROP TABLE sessions; CREATE TABLE sessions (x); PRAGMA user_version = 0`, "make tables"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			older := openTestStore(t, dir)
			r := mustCreate(t, older, testRow("work"))
			if _, err := older.db.ExecContext(t.Context(), test.setup); err != nil {
				t.Fatal(err)
			}
			version, err := older.version(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			s, err := OpenStore(dir)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("got error %v, want %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			mustCreate(t, s, testRow("more"))
			if _, err := s.Get(t.Context(), r.ID); err != nil {
				t.Error(err)
			}
			if got, err := s.version(t.Context()); err != nil || got != version {
				t.Errorf("got version %d (%v), want %d as it was", got, err, version)
			}
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			mustCreate(t, older, testRow("older"))
		})
	}
}

func TestDamagedRegistry(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, registryFile), []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenStore(dir); err == nil || !strings.Contains(err.Error(), registryFile) {
		t.Errorf("got error %v, want one that names the file", err)
	}
}

func TestCancelledContext(t *testing.T) {
	s := openTestStore(t, t.TempDir())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Create(ctx, testRow("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("got error %v, want %v", err, context.Canceled)
	}
	mustCreate(t, s, testRow("x"))
}

func BenchmarkOpenStore(b *testing.B) {
	dir := b.TempDir()
	openTestStore(b, dir)
	for b.Loop() {
		s, err := OpenStore(dir)
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
