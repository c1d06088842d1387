// Command insights runs the same code several times in one session. When it
// takes much longer than it used to, the run says so, and on what evidence.
package main

import (
	"context"
	"fmt"
	"log"

	"github.com/gokernel/gokernel/session"
)

func main() {
	if err := compare(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func compare(ctx context.Context) error {
	const code = "import os, time\ntime.sleep(float(os.environ['SECONDS']))"
	m, err := session.Default()
	if err != nil {
		return err
	}
	first, err := m.Run(ctx, session.Request{Code: "import time", KeepAlive: true})
	if err != nil {
		return err
	}
	defer m.Close(ctx, first.SessionID)

	for _, seconds := range []string{"0.2", "0.2", "0.2", "2"} {
		r, err := m.Run(ctx, session.Request{
			Session: first.SessionID, Code: code, Env: map[string]string{"SECONDS": seconds},
		})
		if err != nil {
			return err
		}
		if len(r.Insights) == 0 {
			fmt.Println("nothing to say")
		}
		for _, i := range r.Insights {
			fmt.Printf("%s: %s\n  evidence: %s\n", i.Stage, i.Finding, i.Evidence)
			if i.Suggestion != "" {
				fmt.Println("  suggestion:", i.Suggestion)
			}
		}
	}
	return nil
}
