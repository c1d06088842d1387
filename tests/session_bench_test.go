package tests

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/gokernel/gokernel/kernel/zmq"
	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session"
	"github.com/gokernel/gokernel/session/agent/install/installtest"
)

// How much is measured.
const (
	benchFirst    = 5   // first runs with a package
	benchReused   = 300 // runs in a session that is there
	benchUpload   = 1 << 30
	benchUploads  = 3
	benchSessions = 100
	benchLists    = 20
)

// TestBenchSession measures the Session API and prints a table; "make bench" runs
// it. Every number is a median.
func TestBenchSession(t *testing.T) {
	if os.Getenv("GOKERNEL_BENCH") == "" {
		t.Skip("measures only for make bench: GOKERNEL_BENCH is not set")
	}
	b := newSessionBench(t)
	b.packages()
	b.zmq()
	b.upload()
	b.list()
	fmt.Printf("\n%s, %d processors\n\n%s\n", runtime.GOOS, runtime.NumCPU(), b.table())
}

// A sessionBench measures on one manager.
type sessionBench struct {
	t    *testing.T
	e    *environment
	m    *session.Manager
	rows [][3]string
}

func newSessionBench(t *testing.T) *sessionBench {
	e := newEnvironment(t)
	env := append(os.Environ(), e.vars...)
	for name, value := range installtest.NewIndex(t, installtest.Wheel{Name: "benchmarked", Version: "1.0"}).Env() {
		env = append(env, name+"="+value)
	}
	m, err := session.NewManager(session.Options{
		StateDir: filepath.Join(e.state, "gokernel"), Agent: e.binary, Interpreters: map[string]string{"python": e.python},
		Env: env,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Release(); err != nil {
			t.Error(err)
		}
	})
	return &sessionBench{t: t, e: e, m: m}
}

func (b *sessionBench) row(what, first, second string) {
	b.rows = append(b.rows, [3]string{what, first, second})
}

func (b *sessionBench) table() string {
	width := 0
	for _, r := range b.rows {
		width = max(width, len(r[0]))
	}
	var out strings.Builder
	fmt.Fprintf(&out, "| %-*s | %10s | %12s |\n| %s | ---------: | -----------: |\n", width, "", "median", "ratio, rate", strings.Repeat("-", width))
	for _, r := range b.rows {
		fmt.Fprintf(&out, "| %-*s | %10s | %12s |\n", width, r[0], r[1], r[2])
	}
	return out.String()
}

// run performs a run that must succeed, and returns how long it took.
func (b *sessionBench) run(r session.Request) (*session.Response, time.Duration) {
	b.t.Helper()
	began := time.Now()
	resp, err := b.m.Run(b.t.Context(), r)
	took := time.Since(began)
	if err != nil || !resp.Success {
		b.t.Fatalf("a run ended with %v, %v", err, resp.Error)
	}
	return resp, took
}

// kept makes a session that stays, and closes it with the test.
func (b *sessionBench) kept() string {
	b.t.Helper()
	r, _ := b.run(session.Request{Code: "1", KeepAlive: true})
	return r.SessionID
}

func (b *sessionBench) close(id string) {
	b.t.Helper()
	if err := b.m.Close(b.t.Context(), id); err != nil {
		b.t.Fatal(err)
	}
}

// packages measures a first run with a package against the same run in the
// session that it has made.
func (b *sessionBench) packages() {
	var first, again []time.Duration
	for range benchFirst {
		request := session.Request{Code: "1", Packages: []string{"benchmarked==1.0"}, KeepAlive: true}
		resp, took := b.run(request)
		first = append(first, took)
		if resp.Timing.Stages[session.StageInstalling] == 0 {
			b.t.Fatal("nothing was installed")
		}
		request.Session = resp.SessionID
		for range 20 { // what is loaded on the first use is another question
			b.run(request)
		}
		for range benchReused / benchFirst {
			_, took := b.run(request)
			again = append(again, took)
		}
		b.close(resp.SessionID)
	}
	b.row("first run with a package", show(median(first)), "")
	b.row("the same run in the kept session", show(median(again)), fmt.Sprintf("%.0fx", ratio(median(first), median(again))))
	b.row("  its p99", show(percentile(again, 99)), "")
}

// zmq measures a run through the library against the same cell through ZeroMQ.
func (b *sessionBench) zmq() {
	id := b.kept()
	defer b.close(id)
	k := startBenchKernel(b.t, b.e)
	defer k.stop()
	var cells, runs []time.Duration
	for i := range benchReused + 20 {
		cell := k.execute("1")
		_, run := b.run(session.Request{Session: id, Code: "1"})
		if i >= 20 {
			cells, runs = append(cells, cell), append(runs, run)
		}
	}
	b.row("a cell `1` through ZeroMQ", show(median(cells)), "")
	b.row("a run `1` through the library", show(median(runs)), fmt.Sprintf("%.2fx", ratio(median(cells), median(runs))))
}

// upload measures how a large file goes into a session, and what it costs when it
// is there already.
func (b *sessionBench) upload() {
	id := b.kept()
	defer b.close(id)
	file := filepath.Join(b.t.TempDir(), "large")
	var hashed, sent, again []time.Duration
	for i := range benchUploads {
		writeRandom(b.t, file, benchUpload, uint64(i))
		hashed = append(hashed, hashTime(b.t, file))
		request := session.Request{Session: id, Code: "1", Files: map[string]session.File{"large": {Path: file}}}
		_, took := b.run(request)
		sent = append(sent, took)
		_, took = b.run(request)
		again = append(again, took)
	}
	rate := func(d []time.Duration) string { return fmt.Sprintf("%.0f MB/s", benchUpload/1e6/median(d).Seconds()) }
	b.row("SHA-256 of 1 GiB alone", show(median(hashed)), rate(hashed))
	b.row("upload of 1 GiB", show(median(sent)), rate(sent))
	b.row("the same again, not sent", show(median(again)), rate(again))
}

// list measures what it takes to ask a hundred sessions how they are.
func (b *sessionBench) list() {
	ids := make([]string, benchSessions)
	var wg sync.WaitGroup
	room := make(chan struct{}, runtime.NumCPU())
	for i := range ids {
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			resp, err := b.m.Run(b.t.Context(), session.Request{Code: "1", KeepAlive: true})
			if err != nil {
				b.t.Error(err)
				return
			}
			ids[i] = resp.SessionID
		})
	}
	wg.Wait()
	var took []time.Duration
	for range benchLists {
		began := time.Now()
		list, err := b.m.List(b.t.Context())
		took = append(took, time.Since(began))
		if err != nil || len(list) != benchSessions {
			b.t.Fatalf("listed %d sessions, %v; want %d", len(list), err, benchSessions)
		}
		for _, info := range list {
			if info.State != session.StateIdle || info.Memory == 0 {
				b.t.Fatalf("session %s is %s and has %d bytes; want it idle and measured", info.ID, info.State, info.Memory)
			}
		}
	}
	b.row(fmt.Sprintf("%d kept sessions listed", benchSessions), show(median(took)), "")
}

// A benchKernel is a kernel process and a client of it.
type benchKernel struct {
	t      *testing.T
	cmd    *exec.Cmd
	client *zmq.Client
}

func startBenchKernel(t *testing.T, e *environment) *benchKernel {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kernel.json")
	cmd := exec.Command(e.binary, "kernel", "--python", e.python, "-f", file)
	cmd.Env = append(os.Environ(), e.vars...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	k := &benchKernel{t: t, cmd: cmd}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	info, err := protocol.ReadConnectionFile(file)
	for errors.Is(err, fs.ErrNotExist) && ctx.Err() == nil {
		// The file appears complete when the kernel has bound its ports.
		time.Sleep(5 * time.Millisecond)
		info, err = protocol.ReadConnectionFile(file)
	}
	if err == nil {
		k.client, err = zmq.Dial(ctx, info, nil)
	}
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		t.Fatalf("starting a kernel: %v\n%s", err, &stderr)
	}
	return k
}

func (k *benchKernel) stop() {
	k.t.Helper()
	if err := errors.Join(k.client.Close(), k.cmd.Process.Signal(syscall.SIGTERM)); err != nil {
		k.t.Error(err)
	}
	_ = k.cmd.Wait() // its status is that of the signal
}

// execute runs a cell and returns how long it took until its reply and idle.
func (k *benchKernel) execute(code string) time.Duration {
	k.t.Helper()
	m, err := protocol.New(protocol.Shell, &protocol.ExecuteRequest{Code: code, StoreHistory: true}, nil)
	if err != nil {
		k.t.Fatal(err)
	}
	m.Header.Session = "bench"
	ctx, cancel := context.WithTimeout(k.t.Context(), time.Minute)
	defer cancel()
	began := time.Now()
	if err := k.client.Send(ctx, m); err != nil {
		k.t.Fatal(err)
	}
	for replied, idle := false, false; !replied || !idle; {
		got, err := k.client.Recv(ctx)
		if err != nil {
			k.t.Fatal(err)
		}
		if !bytes.Contains(got.Parent, []byte(m.Header.MsgID)) {
			continue
		}
		var status protocol.Status
		switch got.Header.MsgType {
		case "execute_reply":
			replied = true
		case "status":
			if err := json.Unmarshal(got.Content, &status); err != nil {
				k.t.Fatal(err)
			}
			idle = idle || status.ExecutionState == protocol.StateIdle
		}
	}
	return time.Since(began)
}

// writeRandom makes file of n bytes that differ for each seed.
func writeRandom(t *testing.T, file string, n int64, seed uint64) {
	t.Helper()
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	key := [32]byte{byte(seed), byte(seed >> 8)}
	_, err = io.CopyN(f, rand.NewChaCha8(key), n)
	if err = errors.Join(err, f.Close()); err != nil {
		t.Fatal(err)
	}
}

func hashTime(t *testing.T, file string) time.Duration {
	t.Helper()
	began := time.Now()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(sha256.New(), f); err != nil {
		t.Fatal(err)
	}
	_ = f.Close() // it was only read
	return time.Since(began)
}

func median(all []time.Duration) time.Duration { return percentile(all, 50) }

func percentile(all []time.Duration, p int) time.Duration {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

func show(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%.2f ms", float64(d.Microseconds())/1e3)
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
