package protocol

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
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
// Absent and empty transport, ip and signature_scheme get their usual values;
// an absent port is 0. Unknown fields are ignored, but a file that asks for
// encryption, which there is not, is refused.
func ParseConnectionInfo(b []byte) (*ConnectionInfo, error) {
	var file struct {
		ConnectionInfo
		Curve string `json:"curve_publickey"`
	}
	if err := json.Unmarshal(b, &file); err != nil {
		return nil, err
	}
	if file.Curve != "" {
		return nil, errors.New("it asks for CurveZMQ encryption, which is not supported")
	}
	info := &file.ConnectionInfo
	if info.Transport == "" {
		info.Transport = "tcp"
	}
	if info.SignatureScheme == "" {
		info.SignatureScheme = SchemeHMACSHA256
	}
	switch info.Transport {
	case "tcp":
		if info.IP == "" {
			info.IP = "127.0.0.1"
		}
	case "ipc":
		if info.IP == "" {
			return nil, errors.New("transport ipc needs the path of the sockets in ip")
		}
	default:
		return nil, fmt.Errorf("transport %q is not supported: use tcp or ipc", info.Transport)
	}
	if _, err := info.Signer(); err != nil {
		return nil, err
	}
	return info, nil
}

// Signer returns the signer for the key and scheme of c.
func (c *ConnectionInfo) Signer() (*Signer, error) { return NewSigner(c.SignatureScheme, c.Key) }

// Endpoint returns the address of the socket with the given port, in the form
// that ZeroMQ uses: tcp://ip:port or ipc://path-port.
func (c *ConnectionInfo) Endpoint(p Port) string {
	if c.Transport == "ipc" {
		return fmt.Sprintf("ipc://%s-%d", c.IP, p)
	}
	ip := c.IP
	if strings.Contains(ip, ":") && !strings.HasPrefix(ip, "[") {
		ip = "[" + ip + "]" // version 6
	}
	return fmt.Sprintf("tcp://%s:%d", ip, p)
}

// LogValue returns what of c may be logged: everything but the key.
func (c *ConnectionInfo) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("transport", c.Transport), slog.String("ip", c.IP),
		slog.Int("shell_port", int(c.ShellPort)), slog.Int("iopub_port", int(c.IOPubPort)),
		slog.Int("stdin_port", int(c.StdinPort)), slog.Int("control_port", int(c.ControlPort)),
		slog.Int("hb_port", int(c.HBPort)), slog.Bool("signed", c.Key != ""),
		slog.String("signature_scheme", c.SignatureScheme),
	)
}

// WriteConnectionFile writes info to path, readable by its owner only. An
// existing file is replaced at once, never seen half written.
func WriteConnectionFile(path string, info *ConnectionInfo) error {
	b, err := json.MarshalIndent(info, "", "  ")
	if err != nil {
		return fmt.Errorf("write connection file: %w", err)
	}
	// CreateTemp makes files that only their owner may read.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return fmt.Errorf("write connection file: %w", err)
	}
	_, err = f.Write(append(b, '\n'))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write connection file: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
