// Command manage makes a session with a name, finds it again as another process
// would, renews its lease, describes it and closes it.
package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/gokernel/gokernel/session"
)

func main() {
	if err := manage(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func manage(ctx context.Context) error {
	made, err := session.Run(ctx, session.Request{
		Code: "x = 41", Session: "example-manage", KeepAlive: true, Lease: 2 * time.Hour,
	})
	if err != nil {
		return err
	}

	// A manager of its own, as another process has one. All that it knows comes
	// from the registry on disk and from the session's agent.
	m, err := session.NewManager(session.Options{})
	if err != nil {
		return err
	}
	defer m.Release()
	r, err := m.Run(ctx, session.Request{Session: "example-manage", Code: "x + 1"})
	if err != nil {
		return err
	}
	fmt.Println("the same session:", r.SessionID == made.SessionID)
	fmt.Println("x + 1 =", r.Text)

	expires, err := m.KeepAlive(ctx, "example-manage", 6*time.Hour)
	if err != nil {
		return err
	}
	fmt.Println("expires in", time.Until(expires).Round(time.Hour))

	list, err := m.List(ctx)
	if err != nil {
		return err
	}
	for _, info := range list {
		if info.ID == made.SessionID {
			fmt.Println(info.Name, info.State, info.Languages, info.Isolation, info.Runs, "runs")
			fmt.Println("memory measured:", info.Memory > 1<<20)
		}
	}

	if err := m.Close(ctx, "example-manage"); err != nil {
		return err
	}
	_, err = m.Get(ctx, made.SessionID)
	fmt.Println("expired:", errors.Is(err, session.ErrExpired))
	return nil
}
