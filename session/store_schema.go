package session

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// The registry's version is user_version in the file: thousands are the format,
// the rest counts what was added to it. Additions are tables, and columns with
// defaults; programs name the columns that they use. So an older program goes on
// with a file that a newer one has added to, and nothing is ever migrated under
// it.
const (
	registryFormat  = 1
	registryVersion = registryFormat*1000 + 0
)

// ErrVersion says that a registry was made by a program whose format this one
// does not know.
var ErrVersion = errors.New("the registry has a format that this gokernel does not know; use a newer one or another state directory")

const schema = `
CREATE TABLE IF NOT EXISTS sessions (
	id              TEXT PRIMARY KEY NOT NULL,
	name            TEXT NOT NULL DEFAULT '',
	state           TEXT NOT NULL,
	kept            INTEGER NOT NULL DEFAULT 0,
	language        TEXT NOT NULL DEFAULT '',
	interpreter     TEXT NOT NULL DEFAULT '',
	dir             TEXT NOT NULL DEFAULT '',
	session_dir     TEXT NOT NULL DEFAULT '',
	isolation       TEXT NOT NULL DEFAULT '',
	handle          TEXT NOT NULL DEFAULT '{}',
	connection_file TEXT NOT NULL DEFAULT '',
	front_pid       INTEGER NOT NULL DEFAULT 0,
	created         INTEGER NOT NULL DEFAULT 0,
	ended           INTEGER NOT NULL DEFAULT 0,
	end_reason      TEXT NOT NULL DEFAULT ''
);
CREATE UNIQUE INDEX IF NOT EXISTS sessions_live_name ON sessions (name) WHERE name <> '' AND state <> 'ended';
CREATE INDEX IF NOT EXISTS sessions_name ON sessions (name) WHERE name <> '';
`

// prepare makes what is missing in the file. Several processes may do so at
// once; until ctx ends it waits for them.
func (s *Store) prepare(ctx context.Context) error {
	for wait := time.Millisecond; ; wait = min(2*wait, 50*time.Millisecond) {
		err := s.tryPrepare(ctx)
		// Turning the write-ahead log on does not wait for others by itself.
		if sqliteCode(err)&0xff != codeBusy {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}

func (s *Store) tryPrepare(ctx context.Context) error {
	version, err := s.version(ctx)
	if err != nil {
		return err
	}
	if format := version / 1000; version != 0 && format != registryFormat {
		return fmt.Errorf("%w: format %d instead of %d", ErrVersion, format, registryFormat)
	}
	if version >= registryVersion {
		return nil
	}
	// The log stays on for this file. Where it is not to be had, the older
	// journal does, with more waiting.
	if _, err := s.db.ExecContext(ctx, `PRAGMA journal_mode = wal`); err != nil {
		return fmt.Errorf("turn on the write-ahead log: %w", err)
	}
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("make tables: %w", err)
	}
	_, err = tx.ExecContext(ctx, schema+fmt.Sprintf("PRAGMA user_version = %d;", registryVersion))
	if err != nil {
		return errors.Join(fmt.Errorf("make tables: %w", err), tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("make tables: %w", err)
	}
	return nil
}

func (s *Store) version(ctx context.Context) (int, error) {
	var n int
	if err := s.db.QueryRowContext(ctx, `PRAGMA user_version`).Scan(&n); err != nil {
		return 0, fmt.Errorf("read its version: %w", err)
	}
	return n, nil
}
