package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
)

// SchemeHMACSHA256 is the signature scheme that connection files name by default.
const SchemeHMACSHA256 = "hmac-sha256"

// ConnectionInfo is the content of a connection file: where a kernel's sockets
// are and how messages are signed ("Connection files" in the specification).
type ConnectionInfo struct {
	Transport       string `json:"transport"` // tcp or ipc
	IP              string `json:"ip"`        // with ipc the path that the ports are appended to
	ShellPort       Port   `json:"shell_port"`
	IOPubPort       Port   `json:"iopub_port"`
	StdinPort       Port   `json:"stdin_port"`
	ControlPort     Port   `json:"control_port"`
	HBPort          Port   `json:"hb_port"`
	Key             string `json:"key"` // empty means that messages are not signed
	SignatureScheme string `json:"signature_scheme"`
	KernelName      string `json:"kernel_name,omitempty"`
	JupyterSession  string `json:"jupyter_session,omitempty"`
}

// A Port is a port number. In JSON it may also be a string (JEP 106).
type Port int

// UnmarshalJSON accepts a number or a string with a number in it.
func (p *Port) UnmarshalJSON(b []byte) error {
	s := string(b)
	if len(s) > 0 && s[0] == '"' {
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%s is not a port", b)
	}
	*p = Port(n)
	return nil
}

// ReadConnectionFile reads and checks the connection file at path.
func ReadConnectionFile(path string) (*ConnectionInfo, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("connection file: %w", err)
	}
	info, err := ParseConnectionInfo(b)
	if err != nil {
		return nil, fmt.Errorf("connection file %s: %w", path, err)
	}
	return info, nil
}

// ParseConnectionInfo decodes and checks the content of a connection file.
// Absent transport, ip and signature_scheme get their usual values.
func ParseConnectionInfo(b []byte) (*ConnectionInfo, error) {
	info := &ConnectionInfo{Transport: "tcp", IP: "127.0.0.1", SignatureScheme: SchemeHMACSHA256}
	if err := json.Unmarshal(b, info); err != nil {
		return nil, err
	}
	if info.Transport != "tcp" && info.Transport != "ipc" {
		return nil, fmt.Errorf("transport %q is not supported: use tcp or ipc", info.Transport)
	}
	return info, nil
}

// Endpoint returns the address of the socket with the given port, in the form
// that ZeroMQ uses: tcp://ip:port or ipc://path-port.
func (c *ConnectionInfo) Endpoint(p Port) string {
	if c.Transport == "ipc" {
		return fmt.Sprintf("ipc://%s-%d", c.IP, p)
	}
	return fmt.Sprintf("tcp://%s:%d", c.IP, p)
}

// WriteConnectionFile writes info to path, readable by its owner only. An
// existing file is replaced at once, never seen half written.
func WriteConnectionFile(path string, info *ConnectionInfo) error {
	b, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return err
	}
	tmp := path + ".tmp" + strconv.Itoa(os.Getpid())
	if err := os.WriteFile(tmp, append(b, '\n'), 0o600); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		if rerr := os.Remove(tmp); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			return errors.Join(err, rerr)
		}
		return err
	}
	return nil
}
