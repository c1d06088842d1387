package session_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"os"
	"strings"
	"time"

	"github.com/gokernel/gokernel/session"
)

func ExampleRun() {
	resp, err := session.Run(context.Background(), session.Request{Code: "print('hello')\n6 * 7"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(resp.Stdout, resp.Text)
}

func ExampleDefault() {
	m, err := session.Default()
	if err != nil {
		log.Fatal(err)
	}
	sessions, err := m.List(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(len(sessions), "sessions")
}

func ExampleNewManager() {
	m, err := session.NewManager(session.Options{
		Interpreters: map[string]string{"python": "/opt/python/bin/python3"},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Release()
	resp, err := m.Run(context.Background(), session.Request{Code: "import sys; sys.version"})
	fmt.Println(resp.Text, err)
}

// Files, packages and variables go in before the code runs, files come back
// after it.
func ExampleManager_Run() {
	m, err := session.NewManager(session.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer m.Release()
	resp, err := m.Run(context.Background(), session.Request{
		Code: "import os, pandas\n" +
			"pandas.read_csv('in/data.csv').describe().to_csv(os.environ['OUT'])",
		Files:     map[string]session.File{"in/data.csv": {Path: "data.csv"}},
		Packages:  []string{"pandas>=2"},
		Env:       map[string]string{"OUT": "summary.csv"},
		Downloads: []session.Download{{Path: "summary.csv"}},
		OnProgress: func(p session.Progress) {
			fmt.Println(p.Stage, p.Message)
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	if f := resp.Files["summary.csv"]; f.Err == nil {
		os.Stdout.Write(f.Bytes)
	}
	for _, stage := range []session.Stage{session.StageInstalling, session.StageExecuting} {
		fmt.Printf("%s took %.0f%% of the time\n", stage, 100*resp.Timing.Share(stage))
	}
}

// What was collected is there whatever the error.
func ExampleManager_Run_errors() {
	resp, err := session.Run(context.Background(), session.Request{
		Code:      "for i in range(10**12): print(i)",
		TimeLimit: time.Second,
	})
	var invalid *session.InvalidError
	var staged *session.StageError
	switch {
	case err == nil && resp.Success:
		fmt.Println("done")
	case err == nil: // the code raised
		fmt.Println(resp.Error.Name, resp.Error.Value)
	case errors.As(err, &invalid):
		fmt.Println("wrong field:", invalid.Field)
	case errors.As(err, &staged):
		fmt.Println("failed while", staged.Stage)
	case errors.Is(err, session.ErrTimeLimit):
		fmt.Println("time limit, after", len(resp.Stdout), "bytes of output")
	case errors.Is(err, session.ErrDead):
		fmt.Println("the process has died:", resp.Error.Value)
	}
}

// Nothing is started for a request that cannot be right.
func ExampleInvalidError() {
	m, done := scratch()
	defer done()
	_, err := m.Run(context.Background(), session.Request{
		Code:  "print(1)",
		Files: map[string]session.File{"../secret": {Bytes: []byte("x")}},
	})
	var invalid *session.InvalidError
	if errors.As(err, &invalid) {
		fmt.Println(invalid.Field)
		fmt.Println(invalid.Reason)
	}
	// Output:
	// files[../secret]
	// it contains "..", which may leave the working directory; use a path such as data/a.csv
}

// The stage says how far a run came whose code has not been answered.
func ExampleStageError() {
	m, done := scratch()
	defer done()
	_, err := m.Run(context.Background(), session.Request{Code: "x", Session: "nobody"})
	var staged *session.StageError
	if errors.As(err, &staged) {
		fmt.Println(staged.Stage, errors.Is(err, session.ErrNotFound))
	}
	// Output:
	// connecting true
}

// The code's own input() is answered by Input.
func ExampleErrNoAnswer() {
	answers := []string{"Ada"}
	resp, err := session.Run(context.Background(), session.Request{
		Code: "print('hello', input('name? '))",
		Input: func(prompt string, password bool) (string, error) {
			if len(answers) == 0 {
				return "", session.ErrNoAnswer
			}
			answer := answers[0]
			answers = answers[1:]
			return answer, nil
		},
	})
	fmt.Println(resp.Stdout, err)
}

func ExampleManager_Get() {
	m, done := scratch()
	defer done()
	_, err := m.Get(context.Background(), "nobody")
	fmt.Println(errors.Is(err, session.ErrNotFound))
	// Output:
	// true
}

func ExampleManager_Open() {
	m, done := scratch()
	defer done()
	_, err := m.Open(context.Background(), session.OpenRequest{Session: "analysis"})
	fmt.Println(err) // Create would make it
	// Output:
	// no such session: analysis
}

func ExampleManager_List() {
	m, done := scratch()
	defer done()
	sessions, err := m.List(context.Background())
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range sessions {
		fmt.Printf("%s is %s, in %v, with %d bytes, until %v\n", s.ID, s.State, s.Languages, s.Memory, s.Expires)
	}
	fmt.Println(len(sessions), "sessions")
	// Output:
	// 0 sessions
}

// A kept session is there for other processes, until its lease ends.
func ExampleManager_KeepAlive() {
	ctx := context.Background()
	m, err := session.Default()
	if err != nil {
		log.Fatal(err)
	}
	first := session.Request{Code: "x = 41", Session: "analysis", KeepAlive: true, Lease: time.Hour}
	if _, err := m.Run(ctx, first); err != nil {
		log.Fatal(err)
	}
	expires, err := m.KeepAlive(ctx, "analysis", 8*time.Hour)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("ends at", expires)
	resp, err := m.Run(ctx, session.Request{Code: "x + 1", Session: "analysis"})
	fmt.Println(resp.Text, err)
}

func ExampleManager_Close() {
	m, done := scratch()
	defer done()
	err := m.Close(context.Background(), "nobody")
	fmt.Println(err)
	// Output:
	// no such session: nobody
}

func ExampleManager_Release() {
	m, err := session.NewManager(session.Options{})
	if err != nil {
		log.Fatal(err)
	}
	defer func() {
		if err := m.Release(); err != nil { // kept sessions live on
			log.Print(err)
		}
	}()
}

// A run that was begun elsewhere is found again with all that it has written.
func ExampleSession_Wait() {
	ctx := context.Background()
	m, err := session.Default()
	if err != nil {
		log.Fatal(err)
	}
	s, err := m.Get(ctx, "analysis")
	if err != nil {
		log.Fatal(err)
	}
	runs, err := s.Runs(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range runs {
		if r.State == session.RunDone || r.Owner == session.KernelOwner {
			continue
		}
		resp, err := s.Wait(ctx, r.ID)
		fmt.Println(r.ID, resp.Success, resp.Stdout, err)
	}
}

func ExampleSession_Runs() {
	ctx := context.Background()
	s := existing(ctx, "analysis")
	runs, err := s.Runs(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range runs {
		fmt.Println(r.ID, r.State, r.Stage, r.Created)
	}
}

func ExampleSession_InterruptRun() {
	ctx := context.Background()
	s := existing(ctx, "analysis")
	runs, err := s.Runs(ctx)
	if err != nil {
		log.Fatal(err)
	}
	for _, r := range runs {
		if r.State != session.RunDone && time.Since(r.Created) > time.Hour {
			fmt.Println(r.ID, s.InterruptRun(ctx, r.ID))
		}
	}
}

func ExampleSession_Info() {
	ctx := context.Background()
	info, err := existing(ctx, "analysis").Info(ctx)
	switch {
	case errors.Is(err, session.ErrDead):
		fmt.Println(info.Name, "has lost its variables; the next run starts it again")
	case err != nil:
		log.Fatal(err)
	default:
		fmt.Println(info.State, info.CPU, "s,", info.Memory, "bytes,", info.Packages)
	}
}

func ExampleSession_Keep() {
	ctx := context.Background()
	if err := existing(ctx, "analysis").Keep(ctx, 8*time.Hour); err != nil {
		log.Fatal(err)
	}
}

func ExampleSession_Close() {
	ctx := context.Background()
	if err := existing(ctx, "analysis").Close(ctx); err != nil {
		log.Fatal(err)
	}
}

func ExampleSession_Interrupt() {
	ctx := context.Background()
	if err := existing(ctx, "analysis").Interrupt(ctx); err != nil { // whatever runs there
		log.Fatal(err)
	}
}

func ExampleSession_Restart() {
	ctx := context.Background()
	if err := existing(ctx, "analysis").Restart(ctx); err != nil { // files stay
		log.Fatal(err)
	}
}

func ExampleSession_ReadFile() {
	ctx := context.Background()
	n, err := existing(ctx, "analysis").ReadFile(ctx, "out/result.csv", os.Stdout)
	fmt.Println(n, err)
}

func ExampleSession_WriteFile() {
	ctx := context.Background()
	err := existing(ctx, "analysis").WriteFile(ctx, "in/a.csv", strings.NewReader("x,y\n1,2\n"), 0o644)
	fmt.Println(err)
}

func ExampleSession_ListFiles() {
	ctx := context.Background()
	files, err := existing(ctx, "analysis").ListFiles(ctx, "out")
	if err != nil {
		log.Fatal(err)
	}
	for _, f := range files {
		fmt.Println(f.Name, f.Size, f.Dir)
	}
}

func ExampleSession_Command() {
	ctx := context.Background()
	exit, err := existing(ctx, "analysis").Command(ctx, session.Command{
		Argv: []string{"git", "status", "--short"}, Stdout: os.Stdout, Stderr: io.Discard,
	})
	fmt.Println(exit.Code, err)
}

func ExampleValidName() {
	fmt.Println(session.ValidName("analysis-2"))
	fmt.Println(session.ValidName("My Analysis"))
	// Output:
	// <nil>
	// session name "My Analysis" has 'M' in it; only a-z, 0-9, dot, underscore and dash may be
}

// existing returns a session that somebody has made.
func existing(ctx context.Context, name string) *session.Session {
	m, err := session.Default()
	if err != nil {
		log.Fatal(err)
	}
	s, err := m.Get(ctx, name)
	if err != nil {
		log.Fatal(err)
	}
	return s
}

// scratch returns a manager with a state directory of its own.
func scratch() (m *session.Manager, done func()) {
	dir, err := os.MkdirTemp("", "gokernel-")
	if err != nil {
		log.Fatal(err)
	}
	m, err = session.NewManager(session.Options{StateDir: dir})
	if err != nil {
		log.Fatal(err)
	}
	return m, func() {
		if err := errors.Join(m.Release(), os.RemoveAll(dir)); err != nil {
			log.Fatal(err)
		}
	}
}
