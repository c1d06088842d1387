package session

import "sync"

// maxRecent is how many sessions a manager finds again without the registry.
const maxRecent = 256

// A recent holds kept sessions that runs have used, by the name or id that they
// gave, so that the next run need not look them up. One that has ended since is
// found out by attaching to it, for its agent is gone. Safe for concurrent use.
type recent struct {
	mu       sync.Mutex // guards the field below
	sessions map[string]*Session
}

// get returns a session that was put for key, or nil.
func (c *recent) get(key string) *Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.sessions[key]
	if s == nil {
		return nil
	}
	return s.copy()
}

// put remembers s for key.
func (c *recent) put(key string, s *Session) {
	if key == "" || !s.Kept() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sessions == nil || len(c.sessions) >= maxRecent {
		c.sessions = map[string]*Session{}
	}
	c.sessions[key] = s.copy()
}

// forget forgets what was put for key.
func (c *recent) forget(key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.sessions, key)
}

// copy returns a Session for the same session that has made and started nothing.
func (s *Session) copy() *Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	row := *s.row
	return &Session{m: s.m, id: s.id, row: &row, spec: s.spec}
}
