package session

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"

	"github.com/gokernel/gokernel/sandbox"
)

// Errors about sessions. They are wrapped; use errors.Is.
var (
	// ErrNotFound says that there is no such session and, as far as is known,
	// never was.
	ErrNotFound = errors.New("no such session")
	// ErrExpired says that a session has been and is over: closed, ended by its
	// lease or dead.
	ErrExpired = errors.New("has ended")
	// ErrNameTaken says that another session, which lives, has the name.
	ErrNameTaken = errors.New("session name is taken")
)

const (
	registryFile = "registry.db"
	// What has ended is remembered that long, and no more than so many.
	tombstoneAge   = 30 * 24 * time.Hour
	maxTombstones  = 1000
	registryWait   = 10 * time.Second // for other processes
	maxNameLength  = 64
	nameCharacters = "abcdefghijklmnopqrstuvwxyz0123456789._-"
)

// ValidName returns an error unless name may be a session's name: a lower case
// letter or digit and up to 63 more of those, dots, underscores and dashes, and
// not in the form of a generated id.
func ValidName(name string) error {
	switch {
	case name == "":
		return errors.New("session name is empty")
	case len(name) > maxNameLength:
		return fmt.Errorf("session name has %d characters, more than %d", len(name), maxNameLength)
	case strings.ContainsAny(name[:1], "._-"):
		return fmt.Errorf("session name %q does not begin with a letter or digit", name)
	case IsID(name):
		return fmt.Errorf("session name %q has the form of a generated id", name)
	}
	for _, r := range name {
		if !strings.ContainsRune(nameCharacters, r) {
			return fmt.Errorf("session name %q has %q in it; only a-z, 0-9, dot, underscore and dash may be", name, r)
		}
	}
	return nil
}

// A RowState says how far a session is in the registry. Whether its agent still
// runs only the driver knows.
type RowState string

// States of a row.
const (
	RowStarting RowState = "starting" // its agent is being started
	RowLive     RowState = "live"
	RowEnded    RowState = "ended" // a tombstone
)

// A Row is what the registry knows of a session.
type Row struct {
	ID          string
	Name        string // "" if it has none
	State       RowState
	Kept        bool
	Language    string
	Interpreter string
	Dir         string // working directory
	SessionDir  string // the session's own files
	Isolation   string
	Handle      sandbox.Handle // finds the agent; zero while starting
	// ConnectionFile is that of the kernel which owns the session, or "".
	ConnectionFile string
	FrontPID       int // of the process that made it
	Created        time.Time
	Ended          time.Time // zero unless ended
	EndReason      string
}

// Live reports whether the session has not ended.
func (r *Row) Live() bool { return r.State != RowEnded }

// A Store is the registry of the sessions in a state directory: one SQLite file
// that every gokernel process may have open at once. All methods are safe for
// concurrent use, also by several processes. It starts no goroutines that
// outlive Close.
type Store struct {
	db *sql.DB
}

// OpenStore opens the registry in a state directory and makes both if they are
// missing. The directory must belong to this user, be writable by nobody else
// and not be on a network file system.
func OpenStore(stateDir string) (*Store, error) {
	if err := prepareStateDir(stateDir); err != nil {
		return nil, err
	}
	path, err := filepath.Abs(filepath.Join(stateDir, registryFile))
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	// SQLite gives its other files the mode of this one.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	if err := f.Close(); err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	db, err := sql.Open("sqlite", registryURI(path))
	if err != nil {
		return nil, fmt.Errorf("open registry: %w", err)
	}
	db.SetMaxOpenConns(1)
	s := &Store{db: db}
	ctx, cancel := context.WithTimeout(context.Background(), registryWait)
	defer cancel()
	if err := s.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open registry %s: %w", path, err), db.Close())
	}
	return s, nil
}

func registryURI(path string) string {
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "/") {
		path = "/" + path // a drive's letter
	}
	query := url.Values{
		"_pragma": {fmt.Sprintf("busy_timeout(%d)", registryWait.Milliseconds()), "synchronous(normal)"},
		"_txlock": {"immediate"},
	}
	return (&url.URL{Scheme: "file", Path: path, RawQuery: query.Encode()}).String()
}

// Close closes the registry.
func (s *Store) Close() error {
	if err := s.db.Close(); err != nil {
		return fmt.Errorf("close registry: %w", err)
	}
	return nil
}

const columns = `id, name, state, kept, language, interpreter, dir, session_dir, isolation, handle, connection_file,
	front_pid, created, ended, end_reason`

// Create adds a session. The error wraps ErrNameTaken when one that has not
// ended has the same name.
func (s *Store) Create(ctx context.Context, r *Row) error {
	if r.Name != "" {
		if err := ValidName(r.Name); err != nil {
			return err
		}
	}
	handle, err := json.Marshal(r.Handle)
	if err != nil {
		return fmt.Errorf("add session %s to the registry: %w", r.ID, err)
	}
	_, err = s.db.ExecContext(ctx, `INSERT INTO sessions (`+columns+`) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)`,
		r.ID, r.Name, string(r.State), r.Kept, r.Language, r.Interpreter, r.Dir, r.SessionDir, r.Isolation, string(handle),
		r.ConnectionFile, r.FrontPID, toMicro(r.Created), toMicro(r.Ended), r.EndReason)
	if code := sqliteCode(err); code == codeUnique && r.Name != "" {
		return fmt.Errorf("%w: %s", ErrNameTaken, r.Name)
	}
	if err != nil {
		return fmt.Errorf("add session %s to the registry: %w", r.ID, err)
	}
	return nil
}

// SetHandle notes that the session's agent runs and how it is found. The error
// wraps ErrNotFound or ErrExpired when there is no such session any more.
func (s *Store) SetHandle(ctx context.Context, id string, h sandbox.Handle) error {
	handle, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("note the agent of session %s: %w", id, err)
	}
	return s.update(ctx, id, `state = ?, handle = ?`, string(RowLive), string(handle))
}

// SetKept notes whether the session stands by itself. Errors are as for
// SetHandle.
func (s *Store) SetKept(ctx context.Context, id string, kept bool) error {
	return s.update(ctx, id, `kept = ?`, kept)
}

// update changes a session that has not ended.
func (s *Store) update(ctx context.Context, id, set string, args ...any) error {
	result, err := s.db.ExecContext(ctx, `UPDATE sessions SET `+set+` WHERE id = ? AND state <> 'ended'`, append(args, id)...)
	if err != nil {
		return fmt.Errorf("change session %s in the registry: %w", id, err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 1 {
		return err
	}
	r, err := s.Get(ctx, id)
	if err != nil {
		return err
	}
	return fmt.Errorf("session %s %w: %s", id, ErrExpired, r.EndReason)
}

// End notes that a session is over, and why, in words for users. Its name is free
// then. What has ended is remembered for 30 days, the last 1000 of them. Ending
// one that has ended changes nothing and is no error.
func (s *Store) End(ctx context.Context, id, reason string) error {
	now := time.Now()
	err := s.update(ctx, id, `state = 'ended', ended = ?, end_reason = ?`, toMicro(now), reason)
	if errors.Is(err, ErrExpired) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = s.db.ExecContext(ctx, `DELETE FROM sessions WHERE state = 'ended' AND (ended < ? OR id IN
		(SELECT id FROM sessions WHERE state = 'ended' ORDER BY ended DESC, rowid DESC LIMIT -1 OFFSET ?))`,
		toMicro(now.Add(-tombstoneAge)), maxTombstones)
	if err != nil {
		return fmt.Errorf("forget sessions that ended long ago: %w", err)
	}
	return nil
}

// Get returns the session with this id, also one that has ended. The error wraps
// ErrNotFound when there is none.
func (s *Store) Get(ctx context.Context, id string) (*Row, error) {
	return s.one(ctx, id, `WHERE id = ?`, id)
}

// ByName returns the session with this name that has not ended, else the one
// that ended last. The error wraps ErrNotFound when there is none.
func (s *Store) ByName(ctx context.Context, name string) (*Row, error) {
	if name == "" {
		return nil, fmt.Errorf("%w: it has no name", ErrNotFound)
	}
	return s.one(ctx, name, `WHERE name = ? ORDER BY state = 'ended', ended DESC, rowid DESC LIMIT 1`, name)
}

// ByConnectionFile returns the sessions that have not ended and were made for the
// kernel with this connection file, oldest first.
func (s *Store) ByConnectionFile(ctx context.Context, path string) ([]*Row, error) {
	if path == "" {
		return nil, nil
	}
	return s.rows(ctx, `WHERE connection_file = ? AND state <> 'ended' ORDER BY created, rowid`, path)
}

// List returns the sessions that have not ended, or all, oldest first.
func (s *Store) List(ctx context.Context, all bool) ([]*Row, error) {
	if all {
		return s.rows(ctx, `ORDER BY created, rowid`)
	}
	return s.rows(ctx, `WHERE state <> 'ended' ORDER BY created, rowid`)
}

// Delete removes a session as if it had never been. One that is not there is no
// error.
func (s *Store) Delete(ctx context.Context, id string) error {
	if _, err := s.db.ExecContext(ctx, `DELETE FROM sessions WHERE id = ?`, id); err != nil {
		return fmt.Errorf("remove session %s from the registry: %w", id, err)
	}
	return nil
}

func (s *Store) one(ctx context.Context, what, where string, args ...any) (*Row, error) {
	list, err := s.rows(ctx, where, args...)
	if err != nil {
		return nil, err
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, what)
	}
	return list[0], nil
}

func (s *Store) rows(ctx context.Context, where string, args ...any) (list []*Row, err error) {
	rows, err := s.db.QueryContext(ctx, `SELECT `+columns+` FROM sessions `+where, args...)
	if err != nil {
		return nil, fmt.Errorf("read registry: %w", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		r := new(Row)
		var handle string
		var created, ended int64
		err := rows.Scan(&r.ID, &r.Name, &r.State, &r.Kept, &r.Language, &r.Interpreter, &r.Dir, &r.SessionDir, &r.Isolation,
			&handle, &r.ConnectionFile, &r.FrontPID, &created, &ended, &r.EndReason)
		if err != nil {
			return nil, fmt.Errorf("read registry: %w", err)
		}
		if err := json.Unmarshal([]byte(handle), &r.Handle); err != nil {
			return nil, fmt.Errorf("read registry: handle of session %s: %w", r.ID, err)
		}
		r.Created, r.Ended = fromMicro(created), fromMicro(ended)
		list = append(list, r)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read registry: %w", err)
	}
	return list, nil
}

// Times are microseconds since 1970 in the registry, 0 for none.

func toMicro(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicro(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n)
}

// SQLite's codes.
const (
	codeBusy   = 5
	codeUnique = 2067
)

// sqliteCode returns SQLite's extended code of an error, or 0.
func sqliteCode(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}
