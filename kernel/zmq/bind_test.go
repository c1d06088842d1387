package zmq

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/protocol"
)

func ipcInfo(t *testing.T) *protocol.ConnectionInfo {
	t.Helper()
	if runtime.GOOS == "windows" {
		t.Skip("unix sockets have no file mode there")
	}
	info := testInfo()
	info.Transport, info.IP = "ipc", filepath.Join(t.TempDir(), "k")
	return info
}

func TestListenAndDial(t *testing.T) {
	tests := map[string]func(t *testing.T) *protocol.ConnectionInfo{
		"tcp": func(*testing.T) *protocol.ConnectionInfo { return testInfo() },
		"tcp on IPv6": func(t *testing.T) *protocol.ConnectionInfo {
			l, err := net.Listen("tcp", "[::1]:0")
			if err != nil {
				t.Skip("no IPv6 here: ", err)
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			info := testInfo()
			info.IP = "::1"
			return info
		},
		"ipc": ipcInfo,
		"ipc with numbers": func(t *testing.T) *protocol.ConnectionInfo {
			info := ipcInfo(t)
			info.ShellPort, info.IOPubPort, info.StdinPort, info.ControlPort, info.HBPort = 11, 12, 13, 14, 15
			return info
		},
		"not signed": func(*testing.T) *protocol.ConnectionInfo {
			info := testInfo()
			info.Key = ""
			return info
		},
	}
	for name, info := range tests {
		t.Run(name, func(t *testing.T) {
			c, err := Listen(info(t), &Options{Linger: -1, Logger: testLogger(t)})
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := c.Close(); err != nil {
					t.Error(err)
				}
			}()
			serveKernel(t, c)
			cl := dial(t, c, nil)
			roundTrip(t, cl, protocol.Shell, &protocol.ExecuteRequest{Code: "1"})
			if err := cl.Heartbeat(within(t)); err != nil {
				t.Errorf("Heartbeat: %v", err)
			}
			seen := map[protocol.Port]bool{}
			for name, p := range ports(c) {
				if p == 0 || seen[p] {
					t.Errorf("%s: port %d is no port of its own", name, p)
				}
				seen[p] = true
			}
		})
	}
}

func TestSocketFiles(t *testing.T) {
	info := ipcInfo(t)
	c, err := Listen(info, &Options{Linger: -1})
	if err != nil {
		t.Fatal(err)
	}
	files := func() []string {
		fs, err := filepath.Glob(info.IP + "-*")
		if err != nil {
			t.Fatal(err)
		}
		return fs
	}
	if got := files(); len(got) != 5 {
		t.Errorf("got files %q, want five", got)
	}
	for _, f := range files() {
		if st, err := os.Stat(f); err != nil || st.Mode() != fs.ModeSocket|0o600 {
			t.Errorf("%s: got mode %v (%v), want a socket for its owner only", f, st.Mode(), err)
		}
	}
	if _, err := Listen(c.Info(), nil); !errors.Is(err, errInUse) || !strings.Contains(err.Error(), c.Info().IP+"-1") {
		t.Errorf("second Listen: got %v, want an error that names the socket in use", err)
	}
	if got := files(); len(got) != 5 {
		t.Errorf("after a second Listen: got files %q, want five", got)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
	if got := files(); len(got) != 0 {
		t.Errorf("after Close: got files %q, want none", got)
	}
}

// A process that was killed leaves its socket files behind.
func TestStaleSocketIsReplaced(t *testing.T) {
	info := ipcInfo(t)
	info.ShellPort = 7
	path := fmt.Sprint(info.IP, "-7")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	l.SetUnlinkOnClose(false)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Fatalf("no stale file: %v", err)
	}
	c, err := Listen(info, &Options{Linger: -1})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestListenErrors(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := taken.Close(); err != nil {
			t.Error(err)
		}
	}()
	port := protocol.Port(taken.Addr().(*net.TCPAddr).Port)
	with := func(change func(*protocol.ConnectionInfo)) *protocol.ConnectionInfo {
		info := testInfo()
		change(info)
		return info
	}
	file := filepath.Join(t.TempDir(), "k")
	if err := os.WriteFile(file+"-3", []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		info *protocol.ConnectionInfo
		want []string
	}{
		{"no info", nil, []string{"no connection info"}},
		{"port in use", with(func(i *protocol.ConnectionInfo) { i.HBPort = port }), []string{"hb", fmt.Sprint("127.0.0.1:", port), "choose another port"}},
		{"not our address", with(func(i *protocol.ConnectionInfo) { i.IP = "192.0.2.1" }), []string{"shell", "192.0.2.1", "does not have that address"}},
		{"scheme", with(func(i *protocol.ConnectionInfo) { i.SignatureScheme = "rot13" }), []string{"rot13", "use hmac"}},
		{"transport", with(func(i *protocol.ConnectionInfo) { i.Transport = "pgm" }), []string{"pgm", "use tcp or ipc"}},
		{"no path", with(func(i *protocol.ConnectionInfo) { i.Transport, i.IP = "ipc", "" }), []string{"needs a path"}},
		{"long path", with(func(i *protocol.ConnectionInfo) { i.Transport, i.IP = "ipc", strings.Repeat("x", 200) }), []string{"shorter directory"}},
		{"a file is there", with(func(i *protocol.ConnectionInfo) { i.Transport, i.IP, i.IOPubPort = "ipc", file, 3 }), []string{"iopub", file + "-3", "not a socket"}},
		{"no directory", with(func(i *protocol.ConnectionInfo) { i.Transport, i.IP = "ipc", file+"/none/k" }), []string{"shell"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Listen(tt.info, nil)
			if err == nil {
				t.Fatal(errors.Join(errors.New("got no error"), c.Close()))
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got %q, want it to contain %q", err, want)
				}
			}
		})
	}
	if b, err := os.ReadFile(file + "-3"); err != nil || string(b) != "precious" {
		t.Errorf("the file: got %q and error %v, want it untouched", b, err)
	}
	if left, _ := filepath.Glob(file + "-*"); len(left) != 1 {
		t.Errorf("left behind: %q, want the file only", left)
	}
}

// When one socket cannot be had, the others are let go.
func TestListenKeepsNothingOnError(t *testing.T) {
	first := listen(t, nil)
	free := func() protocol.Port {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() {
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		}()
		return protocol.Port(l.Addr().(*net.TCPAddr).Port)
	}
	info := testInfo()
	info.ShellPort, info.HBPort = free(), first.Info().HBPort
	if _, err := Listen(info, nil); !errors.Is(err, errInUse) {
		t.Fatalf("got %v, want in use", err)
	}
	info.HBPort = 0
	c, err := Listen(info, &Options{Linger: -1})
	if err != nil {
		t.Fatalf("the shell port is still taken: %v", err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestClosedDuringDial(t *testing.T) {
	c := listen(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Dial(ctx, c.Info(), nil); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}
