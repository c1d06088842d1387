package protocol

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseConnectionInfo(t *testing.T) {
	usual := ConnectionInfo{Transport: "tcp", IP: "127.0.0.1", SignatureScheme: "hmac-sha256"}
	with := func(change func(c *ConnectionInfo)) ConnectionInfo {
		c := usual
		change(&c)
		return c
	}
	tests := []struct {
		file string
		want ConnectionInfo
		err  string // part of the error
	}{
		{`{}`, usual, ""},
		{`{"transport":"","ip":"","signature_scheme":"","key":null}`, usual, ""},
		{`{"shell_port":1,"iopub_port":"65535","future":[1]}`, with(func(c *ConnectionInfo) { c.ShellPort, c.IOPubPort = 1, 65535 }), ""},
		{`{"transport":"ipc","ip":"/run/k"}`, with(func(c *ConnectionInfo) { c.Transport, c.IP = "ipc", "/run/k" }), ""},
		{`{"curve_publickey":null}`, usual, ""},
		{`{"transport":"ipc"}`, usual, "needs the path"},
		{`{"transport":"inproc"}`, usual, `transport "inproc"`},
		{`{"signature_scheme":"hmac-crc"}`, usual, `"hmac-crc"`},
		{`{"curve_publickey":"rq:rM"}`, usual, "CurveZMQ"},
		{`{"shell_port":65536}`, usual, "65536 is not a port"},
		{`{"shell_port":-1}`, usual, "-1 is not a port"},
		{`{"shell_port":"http"}`, usual, `"http" is not a port`},
		{`{"shell_port":1.5}`, usual, "1.5 is not a port"},
		{`{"key":1}`, usual, "key"},
		{`[]`, usual, "array"},
		{``, usual, "end of JSON"},
	}
	for _, tt := range tests {
		got, err := ParseConnectionInfo([]byte(tt.file))
		if tt.err != "" {
			if err == nil || !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%s: %v, %v, want an error with %q", tt.file, got, err, tt.err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", tt.file, err)
			continue
		}
		if diff := cmp.Diff(*got, tt.want); diff != "" {
			t.Errorf("%s (-got +want):\n%s", tt.file, diff)
		}
	}
}

func TestEndpoint(t *testing.T) {
	for want, c := range map[string]ConnectionInfo{
		"tcp://127.0.0.1:5": {Transport: "tcp", IP: "127.0.0.1"},
		"tcp://[::1]:5":     {Transport: "tcp", IP: "::1"},
		"tcp://*:5":         {Transport: "tcp", IP: "*"},
		"ipc:///run/a:b-5":  {Transport: "ipc", IP: "/run/a:b"},
	} {
		if got := c.Endpoint(5); got != want {
			t.Errorf("endpoint = %s, want %s", got, want)
		}
	}
}

func TestConnectionFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kernel.json")
	if err := os.WriteFile(path, []byte("old"), 0o666); err != nil {
		t.Fatal(err)
	}
	want := &ConnectionInfo{
		Transport: "tcp", IP: "127.0.0.1", ShellPort: 1, IOPubPort: 2, StdinPort: 3, ControlPort: 4, HBPort: 5,
		Key: "k", SignatureScheme: "hmac-sha256", KernelName: "n", JupyterSession: "s",
	}
	if err := WriteConnectionFile(path, want); err != nil {
		t.Fatal(err)
	}
	got, err := ReadConnectionFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("connection file (-got +want):\n%s", diff)
	}
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
		t.Errorf("mode = %v, want -rw-------", info.Mode())
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("%v are there, want the file only", entries)
	}
}

func TestConnectionFileThatCannotBeWritten(t *testing.T) {
	dir := t.TempDir()
	if err := WriteConnectionFile(filepath.Join(dir, "none", "kernel.json"), &ConnectionInfo{}); err == nil {
		t.Error("written into a directory that does not exist")
	}
	path := filepath.Join(dir, "kernel.json")
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := WriteConnectionFile(path, &ConnectionInfo{}); err == nil {
		t.Error("written over a directory")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 {
		t.Errorf("%v are left, want the directory only", entries)
	}
	if _, err := ReadConnectionFile(filepath.Join(dir, "absent.json")); err == nil || !strings.Contains(err.Error(), "absent.json") {
		t.Errorf("reading an absent file: %v, want an error that names it", err)
	}
}

func TestKeyIsNotLogged(t *testing.T) {
	var b bytes.Buffer
	slog.New(slog.NewTextHandler(&b, nil)).Info("listening", "connection", &ConnectionInfo{IP: "127.0.0.1", Key: "topsecret"})
	if got := b.String(); strings.Contains(got, "topsecret") || !strings.Contains(got, "127.0.0.1") {
		t.Errorf("log = %s, want the address and no key", got)
	}
}
