package session

import (
	"context"
	"sync"
)

// theDefault makes the default manager when it is first asked for.
var theDefault = sync.OnceValues(func() (*Manager, error) { return NewManager(Options{}) })

// Default returns the manager that Run uses: that of this user's sessions, in
// StateDir(), with agents that are processes of this machine. It is made when it
// is first asked for and is not to be released while anybody uses it.
func Default() (*Manager, error) { return theDefault() }

// Run is Manager.Run of the default manager.
func Run(ctx context.Context, r Request) (*Response, error) {
	m, err := Default()
	if err != nil {
		return new(Response), err
	}
	return m.Run(ctx, r)
}
