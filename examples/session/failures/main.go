// Command failures shows how a run can go wrong, and what it still holds then.
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
	ctx := context.Background()

	// Code that raises is an answer, not an error of Go.
	r, err := session.Run(ctx, session.Request{Code: "print('before')\n1 / 0"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("raised %s: %s, after printing %q\n", r.Error.Name, r.Error.Value, r.Stdout)

	// Bad input is refused before anything starts, with the field's name.
	_, err = session.Run(ctx, session.Request{Code: "1", Files: map[string]session.File{"../out.txt": {Bytes: []byte("x")}}})
	var invalid *session.InvalidError
	if errors.As(err, &invalid) {
		fmt.Println("refused", invalid.Field)
	}

	// A session that is not there.
	_, err = session.Run(ctx, session.Request{Code: "1", Session: "nobody-made-this"})
	fmt.Println("not found:", errors.Is(err, session.ErrNotFound))

	// A time limit. What was printed until then is there.
	r, err = session.Run(ctx, session.Request{
		Code: "import time\nprint('working', flush=True)\ntime.sleep(600)", TimeLimit: 10 * time.Second,
	})
	fmt.Printf("time limit: %v, after printing %q\n", errors.Is(err, session.ErrTimeLimit), r.Stdout)

	// Packages that cannot be installed. Err has what the installer said.
	_, err = session.Run(ctx, session.Request{Code: "1", Packages: []string{"no-package-has-this-name==0.0.1"}})
	var failed *session.StageError
	if errors.As(err, &failed) {
		fmt.Println("failed while", failed.Stage)
	}

	// A caller that gives up. The session, which was not kept, is closed.
	short, cancel := context.WithCancel(ctx)
	r, err = session.Run(short, session.Request{
		Code:   "import time\nprint('started', flush=True)\ntime.sleep(600)",
		Stdout: writerFunc(func(b []byte) { cancel() }),
	})
	fmt.Printf("cancelled: %v, after printing %q\n", errors.Is(err, context.Canceled), r.Stdout)
}

// A writerFunc is called with what is written.
type writerFunc func([]byte)

func (f writerFunc) Write(b []byte) (int, error) {
	f(b)
	return len(b), nil
}
