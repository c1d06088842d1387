//go:build unix

package agent

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/agent/agenttest"
	"github.com/gokernel/gokernel/session/agent/files"
	"github.com/gokernel/gokernel/session/wire"
)

// A carrier is a transfer connection under test.
type carrier struct {
	t    *testing.T
	conn net.Conn
	r    *wire.Reader
}

// carry opens a transfer connection.
func (h *held) carry() *carrier {
	h.t.Helper()
	conn, r, _, err := h.hello(wire.Hello{Link: wire.LinkTransfer})
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = conn.Close() })
	return &carrier{t: h.t, conn: conn, r: r}
}

// say sends a packet.
func (c *carrier) say(head any, parts ...string) {
	c.t.Helper()
	var b [][]byte
	for _, part := range parts {
		b = append(b, []byte(part))
	}
	p, err := wire.NewPacket(head, b...)
	if err == nil {
		_, err = p.WriteTo(c.conn)
	}
	if err != nil {
		c.t.Fatalf("saying %v: %v", head, err)
	}
}

func (c *carrier) data(text string) {
	c.t.Helper()
	c.say(wire.Data{Type: wire.TypeData}, text)
}

// hear returns what comes until an end, by the name that it has.
func (c *carrier) hear() (out map[string]string, end *wire.End) {
	c.t.Helper()
	out = map[string]string{}
	for {
		name, part, end := c.next()
		if end != nil {
			return out, end
		}
		out[name] += part
	}
}

// next returns the next data, or the end.
func (c *carrier) next() (name, part string, end *wire.End) {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	p, err := c.r.Read()
	if err != nil {
		c.t.Fatalf("waiting for an answer: %v", err)
	}
	end = new(wire.End)
	if err := json.Unmarshal(p.Head, end); err != nil {
		c.t.Fatal(err)
	}
	if end.Type == wire.TypeEnd {
		return "", "", end
	}
	var d wire.Data
	if err := json.Unmarshal(p.Head, &d); err != nil || d.Type != wire.TypeData {
		c.t.Fatalf("got %s, want data or an end", p.Head)
	}
	return d.Name, string(p.Part(0)), nil
}

func (c *carrier) put(t wire.Transfer, content string) *wire.End {
	c.t.Helper()
	t.Type = wire.TypePut
	c.say(t)
	for rest := content; rest != ""; {
		n := min(len(rest), 100<<10)
		c.data(rest[:n])
		rest = rest[n:]
	}
	c.say(wire.End{Type: wire.TypeEnd, Size: int64(len(content))})
	_, end := c.hear()
	return end
}

func (c *carrier) get(t wire.Transfer) (string, *wire.End) {
	c.t.Helper()
	t.Type = wire.TypeGet
	c.say(t)
	out, end := c.hear()
	return out[""], end
}

func (c *carrier) command(h wire.CommandHead) (stdout, stderr string, end *wire.End) {
	c.t.Helper()
	h.Type = wire.TypeCommand
	c.say(h)
	out, end := c.hear()
	return out[protocol.Stdout], out[protocol.Stderr], end
}

// ended waits until the agent has closed the connection.
func (c *carrier) ended(what string) {
	c.t.Helper()
	_ = c.conn.SetReadDeadline(time.Now().Add(patience))
	for {
		if _, err := c.r.Read(); err != nil {
			if errors.Is(err, os.ErrDeadlineExceeded) {
				c.t.Errorf("%s: the connection is still open", what)
			}
			return
		}
	}
}

// wantEnd checks an end that says how a file was put.
func wantEnd(t *testing.T, what string, end *wire.End, content string) {
	t.Helper()
	want := files.SumBytes([]byte(content))
	if end.Error != "" || end.Code != "" || end.Size != want.Size || end.SHA256 != want.SHA256 {
		t.Errorf("%s: got %+v, want %+v", what, end, want)
	}
}

// wantError checks an end that says why something has failed.
func wantError(t *testing.T, what string, end *wire.End, code, text string) {
	t.Helper()
	if end.Code != code || !strings.Contains(end.Error, text) {
		t.Errorf("%s: got %q with code %q, want code %q and an error that says %q", what, end.Error, end.Code, code, text)
	}
}

// in makes dir the working directory of a session.
func in(dir string) func(*wire.Config) { return func(c *wire.Config) { c.Dir = dir } }

func text(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// names returns what is in a directory, on one line.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return strings.Join(all, " ")
}

// eventually waits until ok.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) { // nothing tells when
		if time.Now().After(end) {
			t.Fatalf("not seen: %s", what)
		}
	}
}

func TestTransferByPath(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), in(dir))
	c := h.carry()
	large := strings.Repeat("0123456789abcdef", 200_000) // some packets
	wantEnd(t, "put", c.put(wire.Transfer{Path: "sub/a.txt", Mode: 0o600}, large), large)
	if got := text(t, dir+"/sub/a.txt"); got != large {
		t.Errorf("the file has %d bytes, want %d", len(got), len(large))
	}
	if info, err := os.Stat(dir + "/sub/a.txt"); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file has mode %v, %v, want 0600", info.Mode(), err)
	}
	got, end := c.get(wire.Transfer{Path: "sub/a.txt"})
	wantEnd(t, "get", end, large)
	if got != large {
		t.Errorf("got %d bytes, want %d", len(got), len(large))
	}
	wantEnd(t, "an empty file", c.put(wire.Transfer{Path: "empty"}, ""), "")
	got, end = c.get(wire.Transfer{Path: "empty"})
	wantEnd(t, "an empty file", end, got)

	// None of these takes anything away from the connection.
	_, end = c.get(wire.Transfer{Path: "no/such"})
	wantError(t, "get of nothing", end, wire.CodeNotExist, "reading no/such: file does not exist")
	_, end = c.get(wire.Transfer{Path: "../x"})
	wantError(t, "get from outside", end, wire.CodeBad, `".."`)
	_, end = c.get(wire.Transfer{Path: "sub"})
	wantError(t, "get of a directory", end, wire.CodeFailed, "it is a directory")
	wantError(t, "put outside", c.put(wire.Transfer{Path: "/etc/x"}, large), wire.CodeBad, "absolute")
	wantError(t, "put over a directory", c.put(wire.Transfer{Path: "sub"}, large), wire.CodeFailed, "directory")
	wantError(t, "put for no run", c.put(wire.Transfer{Run: "r9", Index: 0}, large), wire.CodeBad, `run "r9"`)
	_, end = c.get(wire.Transfer{Run: "r9", Index: 0})
	wantError(t, "get for no run", end, wire.CodeBad, `run "r9"`)
	wantEnd(t, "put after all", c.put(wire.Transfer{Path: "b"}, "b"), "b")
	if got := names(t, dir); got != "b empty sub" {
		t.Errorf("there is %s, want the files only", got)
	}
}

// A put that is cut leaves what was there.
func TestPutIsCut(t *testing.T) {
	dir := t.TempDir()
	write := func(text string) {
		if err := os.WriteFile(dir+"/a", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("old")
	h := hold(t, t.TempDir(), in(dir))
	for what, cut := range map[string]func(*carrier){
		"by the connection": func(c *carrier) { _ = c.conn.Close() },
		"by an error":       func(c *carrier) { c.say(wire.End{Type: wire.TypeEnd, Error: "cannot be read"}); c.ended("an error") },
		"by a wrong size":   func(c *carrier) { c.say(wire.End{Type: wire.TypeEnd, Size: 99}); c.ended("a wrong size") },
		"by another put": func(c *carrier) {
			c.say(wire.Transfer{Type: wire.TypePut, Path: "b"})
			c.ended("another put")
		},
		"by a command": func(c *carrier) {
			c.say(wire.CommandHead{Type: wire.TypeCommand, Argv: []string{"true"}})
			c.ended("a command")
		},
		"by data in two parts": func(c *carrier) { c.say(wire.Data{Type: wire.TypeData}, "x", "y"); c.ended("two parts") },
		"by data in no part":   func(c *carrier) { c.say(wire.Data{Type: wire.TypeData}); c.ended("no part") },
		"by too much in one": func(c *carrier) {
			// It need not be read to its end, so it may not be taken whole.
			p, _ := wire.NewPacket(wire.Data{Type: wire.TypeData}, make([]byte, transferPacket+1))
			_, _ = p.WriteTo(c.conn)
			c.ended("too much")
		},
		"by what is no packet": func(c *carrier) { _, _ = io.WriteString(c.conn, "GET / HTTP/1.1\r\n\r\n"); c.ended("no packet") },
	} {
		c := h.carry()
		c.say(wire.Transfer{Type: wire.TypePut, Path: "a"})
		c.data("new")
		eventually(t, "the part of "+what, func() bool { return strings.Contains(names(t, dir), ".part") })
		cut(c)
		eventually(t, "the end of "+what, func() bool { return names(t, dir) == "a" })
		if got := text(t, dir+"/a"); got != "old" {
			t.Errorf("cut %s: the file has %q, want it as it was", what, got)
		}
	}
}

func TestManyTransfersAtOnce(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), in(dir))
	type going struct {
		c    *carrier
		text string
	}
	var all []going
	for i := range 8 {
		g := going{h.carry(), strings.Repeat(strconv.Itoa(i), 300_000)}
		g.c.say(wire.Transfer{Type: wire.TypePut, Path: fmt.Sprintf("f%d", i)})
		all = append(all, g)
	}
	for range 2 {
		for _, g := range all {
			g.c.data(g.text[:len(g.text)/2])
		}
	}
	for i, g := range all {
		g.c.say(wire.End{Type: wire.TypeEnd, Size: int64(len(g.text))})
		_, end := g.c.hear()
		wantEnd(t, "put", end, g.text)
		if got := text(t, fmt.Sprintf("%s/f%d", dir, i)); got != g.text {
			t.Errorf("f%d has %d bytes, want its own", i, len(got))
		}
	}
	for range maxTransfers - len(all) {
		h.carry()
	}
	if _, _, _, err := h.hello(wire.Hello{Link: wire.LinkTransfer}); err == nil || !strings.Contains(err.Error(), "64 transfer connections") {
		t.Errorf("one connection too many = %v, want it refused", err)
	}
	_ = all[0].c.conn.Close()
	eventually(t, "room for another", func() bool {
		conn, _, _, err := h.hello(wire.Hello{Link: wire.LinkTransfer})
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
}

func TestList(t *testing.T) {
	dir := t.TempDir()
	if err := os.Mkdir(dir+"/many", 0o755); err != nil {
		t.Fatal(err)
	}
	for i := range wire.MaxList + 10 {
		if err := os.WriteFile(fmt.Sprintf("%s/many/%0200d", dir, i), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	h := hold(t, t.TempDir(), in(dir))
	list := func(path, after string) (all []wire.FileInfo, err error) {
		raw, err := h.call("", "", wire.CallList, wire.ListArgs{Path: path, After: after})
		if err == nil {
			err = json.Unmarshal(raw, &all)
		}
		return all, err
	}
	if all, err := list("", ""); err != nil || len(all) != 1 || all[0].Name != "many" || !all[0].Dir {
		t.Errorf("list = %v, %v, want the directory", all, err)
	}
	first, err := list("many", "")
	if err != nil || len(first) != wire.MaxList {
		t.Fatalf("list of many = %d, %v, want %d", len(first), err, wire.MaxList)
	}
	if rest, err := list("many", first[len(first)-1].Name); err != nil || len(rest) != 10 || rest[9].Name != fmt.Sprintf("%0200d", wire.MaxList+9) {
		t.Errorf("list of the others = %d, %v, want 10", len(rest), err)
	}
	for path, says := range map[string]string{"no": "listing no: file does not exist", "..": `".."`} {
		if _, err := list(path, ""); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("list of %q = %v, want an error that says %q", path, err, says)
		}
	}
}

// AGENT 1: a transfer holds a kept session, and its end begins the lease anew. A
// connection that is just open does neither.
func TestTransferHoldsSession(t *testing.T) {
	h := hold(t, t.TempDir(), func(c *wire.Config) { c.Lease = time.Hour })
	c := h.carry()
	if first := h.info().Expires; first.IsZero() {
		t.Errorf("the lease is held by a connection that is just open")
	}
	c.say(wire.Transfer{Type: wire.TypePut, Path: "a"})
	eventually(t, "that the lease is held", func() bool { return h.info().Expires.IsZero() })
	before := time.Now()
	c.say(wire.End{Type: wire.TypeEnd})
	c.hear()
	eventually(t, "that the lease is not held", func() bool { return !h.info().Expires.IsZero() })
	if info := h.info(); info.Expires.Before(before.Add(time.Hour)) || info.LastActive.Before(before) {
		t.Errorf("after the transfer the lease ends at %v and the session was active at %v, want both counted from its end at %v",
			info.Expires, info.LastActive, before)
	}
}

// What an agent that was killed has left of a put goes with the next one.
func TestKilledAgentLeavesNothing(t *testing.T) {
	dir, state := t.TempDir(), t.TempDir()
	h := hold(t, state, in(dir))
	h.attach("k", wire.KernelOwner, wire.Cursor{}).until("- status starting")
	h.stop()
	left := ".gokernel-0011223344556677.part"
	touch(t, dir+"/"+left)
	h = hold(t, state, in(dir))
	h.attach("k", wire.KernelOwner, wire.Cursor{}).until("- status restarting")
	if got := names(t, dir); got != "" {
		t.Errorf("there is %s, want nothing", got)
	}
}

func TestCommand(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), func(c *wire.Config) { c.Dir, c.Env = dir, append(agenttest.Env(), "A=session", "B=session") })
	if err := os.Mkdir(dir+"/there", 0o755); err != nil {
		t.Fatal(err)
	}
	c := h.carry()
	sh := func(script string) []string { return []string{"sh", "-c", script} }
	for what, test := range map[string]struct {
		head           wire.CommandHead
		stdout, stderr string
		exit           wire.Exit
	}{
		"outputs":   {wire.CommandHead{Argv: sh("echo one; echo two >&2; echo three")}, "one\nthree\n", "two\n", wire.Exit{}},
		"status":    {wire.CommandHead{Argv: sh("exit 7")}, "", "", wire.Exit{Code: 7}},
		"signal":    {wire.CommandHead{Argv: sh("kill -TERM $$")}, "", "", wire.Exit{Code: -1, Signal: "SIGTERM"}},
		"directory": {wire.CommandHead{Argv: sh("pwd -P")}, real(t, dir) + "\n", "", wire.Exit{}},
		"below it":  {wire.CommandHead{Argv: sh("pwd -P"), Cwd: "new/one"}, real(t, dir) + "/new/one\n", "", wire.Exit{}},
		"elsewhere": {wire.CommandHead{Argv: sh("pwd -P"), Cwd: "/"}, "/\n", "", wire.Exit{}},
		"environment": {
			wire.CommandHead{Argv: sh("echo $A $B $C"), Env: map[string]string{"B": "command", "C": "new"}},
			"session command new\n", "", wire.Exit{},
		},
		"no shell": {wire.CommandHead{Argv: []string{"echo", "$A; *", "`pwd`"}}, "$A; * `pwd`\n", "", wire.Exit{}},
		"no input": {wire.CommandHead{Argv: []string{"cat"}}, "", "", wire.Exit{}},
		"much": {
			wire.CommandHead{Argv: sh("i=0; while [ $i -lt 5000 ]; do echo 0123456789012345678901234567890123456789; i=$((i+1)); done")},
			strings.Repeat("0123456789012345678901234567890123456789\n", 5000), "", wire.Exit{},
		},
		"background": {wire.CommandHead{Argv: sh("sleep 1000 & echo done")}, "done\n", "", wire.Exit{}},
	} {
		stdout, stderr, end := c.command(test.head)
		if end.Exit == nil {
			t.Errorf("%s: got %+v, want an exit", what, end)
		} else if stdout != test.stdout || stderr != test.stderr || *end.Exit != test.exit {
			t.Errorf("%s: got %.80q, %.80q, %+v, want %.80q, %.80q, %+v", what, stdout, stderr, *end.Exit, test.stdout, test.stderr, test.exit)
		}
	}
	for what, test := range map[string]struct {
		head wire.CommandHead
		says string
	}{
		"no program":     {wire.CommandHead{}, "without a program"},
		"no name":        {wire.CommandHead{Argv: []string{"", "x"}}, "without a program"},
		"a NUL":          {wire.CommandHead{Argv: []string{"echo", "a\x00b"}}, "NUL"},
		"a variable":     {wire.CommandHead{Argv: []string{"true"}, Env: map[string]string{"A=B": "x"}}, `"A=B"`},
		"what is absent": {wire.CommandHead{Argv: []string{"no-such-program-here"}}, "no-such-program-here"},
		"outside":        {wire.CommandHead{Argv: []string{"true"}, Cwd: "../x"}, `".."`},
		"nowhere":        {wire.CommandHead{Argv: []string{"true"}, Cwd: dir + "/nowhere"}, "working directory"},
	} {
		if _, _, end := c.command(test.head); end.Code == "" || !strings.Contains(end.Error, test.says) || end.Exit != nil {
			t.Errorf("%s: got %+v, want an error that says %q", what, end, test.says)
		}
	}
}

func real(t *testing.T, dir string) string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// What a command writes comes while it runs, and code in the queue does not
// wait for it.
func TestCommandStreams(t *testing.T) {
	dir := t.TempDir()
	h := hold(t, t.TempDir(), in(dir))
	p := h.attach("k", wire.KernelOwner, wire.Cursor{})
	c := h.carry()
	c.say(wire.CommandHead{Type: wire.TypeCommand, Argv: []string{"sh", "-c", "echo begun; until [ -e go ]; do sleep 0.01; done; echo ended"}})
	if name, part, end := c.next(); end != nil || name != protocol.Stdout || part != "begun\n" {
		t.Fatalf("got %q of %q, %+v, want what it has written while it runs", part, name, end)
	}
	p.execute("r1", "print here")
	p.until("r1 execute_reply ok")
	touch(t, dir+"/go")
	if out, end := c.hear(); out[protocol.Stdout] != "ended\n" || end.Exit == nil || end.Exit.Code != 0 {
		t.Errorf("got %q, %+v, want the rest", out, end)
	}
}

func gone(pid int) bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) }

// beginCommand starts a command that writes its pid and that of a child, and
// returns them.
func (c *carrier) beginCommand() (pids []int) {
	c.t.Helper()
	c.say(wire.CommandHead{Type: wire.TypeCommand, Argv: []string{"sh", "-c", "sleep 1000 & echo $$ $!; wait"}})
	_, part, _ := c.next()
	for _, word := range strings.Fields(part) {
		pid, err := strconv.Atoi(word)
		if err != nil {
			c.t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	if len(pids) != 2 {
		c.t.Fatalf("got %q, want two pids", part)
	}
	return pids
}

// A command ends, with what it has started, when its front goes, when that says
// something meanwhile, and with the session.
func TestCommandEnds(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	for what, end := range map[string]func(*carrier){
		"the connection": func(c *carrier) { _ = c.conn.Close() },
		"a packet":       func(c *carrier) { c.data("input?"); c.ended("a packet") },
	} {
		c := h.carry()
		pids := c.beginCommand()
		end(c)
		for _, pid := range pids {
			eventually(t, "the end of a command by "+what, func() bool { return gone(pid) })
		}
	}
	c := h.carry()
	pids := c.beginCommand()
	h.stop()
	for _, pid := range pids {
		eventually(t, "the end of a command by its session", func() bool { return gone(pid) })
	}
	c.ended("the session's end")
}

// A front that does not read what a command writes stops that, and nothing else.
func TestCommandWithoutReader(t *testing.T) {
	h := hold(t, t.TempDir(), nil)
	c := h.carry()
	c.say(wire.CommandHead{Type: wire.TypeCommand, Argv: []string{"sh", "-c", "echo $$; exec yes"}})
	_, part, _ := c.next()
	first, _, _ := strings.Cut(part, "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		t.Fatal(err)
	}
	if got, end := h.carry().get(wire.Transfer{Path: "no"}); got != "" || end.Code != wire.CodeNotExist {
		t.Errorf("another connection got %q, %+v, want its answer", got, end)
	}
	_ = c.conn.Close()
	eventually(t, "its end", func() bool { return gone(pid) })
}

// Whatever comes on a transfer connection, it is answered or ends, and nothing
// is written outside.
func FuzzTransfer(f *testing.F) {
	for _, seed := range []string{
		`{"type":"put","path":"a"}`, `{"type":"put","path":"../a","mode":511}`, `{"type":"get","path":"a"}`,
		`{"type":"put","run":"r","index":-1}`, `{"type":"get","run":"r","index":99999999999}`, `{"type":"data"}`,
		`{"type":"end","size":3}`, `{"type":"end","size":-1,"error":"x"}`, `{"type":"end","size":1e99}`, `[]`, `null`, ``, `{`,
	} {
		f.Add([]byte(seed), []byte(seed), []byte("abc"))
		f.Add([]byte(`{"type":"put","path":"b"}`), []byte(seed), []byte("abc"))
	}
	parent := f.TempDir()
	dir := parent + "/work"
	if err := os.Mkdir(dir, 0o755); err != nil {
		f.Fatal(err)
	}
	a := &Agent{
		config: &wire.Config{Dir: dir}, queue: newQueue(), tick: make(chan struct{}, 1), log: slog.New(slog.DiscardHandler),
	}
	f.Fuzz(func(t *testing.T, first, second, data []byte) {
		var in bytes.Buffer
		for _, p := range []*wire.Packet{{Head: first}, {Head: second, Parts: [][]byte{data}}, {Head: second}, {Head: []byte(`{"type":"end","size":3}`)}} {
			if p.Type() == wire.TypeCommand {
				t.Skip("it would be run")
			}
			if _, err := p.WriteTo(&in); err != nil {
				t.Skip(err)
			}
		}
		ours, theirs := net.Pipe()
		served := make(chan error, 1)
		go func() {
			served <- a.serveTransfer(t.Context(), theirs, wire.NewReader(&in, 0), &wire.Welcome{Type: wire.TypeWelcome})
		}()
		_, readErr := io.Copy(io.Discard, ours)
		if err := <-served; err == nil || readErr != nil {
			t.Errorf("serving ended with %v and reading with %v, want an end by an error", err, readErr)
		}
		if a.transfers != 0 || a.links.Load() != 0 {
			t.Errorf("%d transfers and %d connections are left, want none", a.transfers, a.links.Load())
		}
		err := filepath.WalkDir(parent, func(name string, d fs.DirEntry, err error) error {
			if err == nil && (strings.HasSuffix(name, ".part") || !d.IsDir() && !strings.HasPrefix(name, dir+"/")) {
				t.Errorf("%s is left", name)
			}
			return err
		})
		if err != nil {
			t.Error(err)
		}
	})
}
