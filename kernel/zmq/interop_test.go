package zmq

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/protocol"
)

// findPython returns a Python on PATH that has the modules. Without one the test
// is skipped, and fails where everything is meant to be installed.
func findPython(t *testing.T, modules ...string) string {
	t.Helper()
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		python, err := exec.LookPath(filepath.Join(dir, "python3"))
		if err != nil {
			continue
		}
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		err = exec.CommandContext(ctx, python, "-c", "import "+strings.Join(modules, ", ")).Run()
		cancel()
		if err == nil {
			return python
		}
	}
	missing := "no python3 on PATH has the modules " + strings.Join(modules, ", ")
	if os.Getenv("CI") == "true" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}

// echoKernel answers as a kernel does; buffers come back in the reply.
func echoKernel(t *testing.T, c *Conn) {
	var wg sync.WaitGroup
	answer := func(m *protocol.Message) error {
		reply, err := protocol.New(m.Channel, &protocol.Unknown{
			Type: strings.Replace(m.Header.MsgType, "_request", "_reply", 1),
			Raw:  []byte(`{"status":"ok","protocol_version":"5.5","execution_count":1}`),
		}, m)
		if err != nil {
			return err
		}
		reply.Buffers = m.Buffers
		for _, state := range []string{"busy", "idle"} {
			s, err := protocol.New(protocol.IOPub, &protocol.Status{ExecutionState: state}, m)
			if err != nil {
				return err
			}
			if err := c.Send(context.Background(), s); err != nil {
				return err
			}
		}
		return c.Send(context.Background(), reply)
	}
	wg.Go(func() {
		for {
			m, err := c.Recv(context.Background())
			if err != nil {
				return
			}
			if err := answer(m); err != nil && !errors.Is(err, kernel.ErrNoPeer) && !errors.Is(err, net.ErrClosed) {
				t.Error(err)
			}
		}
	})
	t.Cleanup(func() {
		_ = c.Close() // again, and checked, by listen
		wg.Wait()
	})
}

// runCheck runs one check of testdata/interop.py against c.
func runCheck(t *testing.T, python, check string, c *Conn) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "connection.json")
	if err := protocol.WriteConnectionFile(file, c.Info()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, filepath.Join("testdata", "interop.py"), check, file)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s: %v\n%s", check, err, out)
	}
}

// The clients that matter are libzmq's.
func TestPythonClients(t *testing.T) {
	python := findPython(t, "zmq", "jupyter_client")
	for _, check := range []string{"blocking_client", "welcome", "heartbeats", "large", "many", "takeover"} {
		t.Run(check, func(t *testing.T) {
			c := listen(t, nil)
			echoKernel(t, c)
			runCheck(t, python, check, c)
		})
	}
	t.Run("ipc", func(t *testing.T) {
		c, err := Listen(ipcInfo(t), &Options{Linger: -1, Logger: testLogger(t)})
		if err != nil {
			t.Fatal(err)
		}
		echoKernel(t, c)
		runCheck(t, python, "blocking_client", c)
		runCheck(t, python, "many", c)
	})
	t.Run("close", func(t *testing.T) {
		c := listen(t, &Options{})
		var wg sync.WaitGroup
		defer wg.Wait()
		wg.Go(func() {
			for i := range 3000 {
				if err := c.Publish(context.Background(), stream(t, strconv.Itoa(i)), nil); err != nil {
					t.Error(err)
				}
			}
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		runCheck(t, python, "close", c)
	})
}

// The client's end with the kernel that everybody knows.
func TestDialIPykernel(t *testing.T) {
	python := findPython(t, "ipykernel")
	dir := t.TempDir()
	free := listen(t, nil)
	info := free.Info()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "connection.json")
	if err := protocol.WriteConnectionFile(file, info); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python, "-m", "ipykernel_launcher", "-f", file)
	cmd.Env = append(os.Environ(), "HOME="+dir, "IPYTHONDIR="+dir)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer func() {
		cancel()
		<-ended
		if t.Failed() {
			t.Logf("ipykernel: %s", out.Bytes())
		}
	}()
	cl, err := Dial(ctx, info, &DialOptions{Logger: testLogger(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := cl.Close(); err != nil {
			t.Error(err)
		}
	}()
	var printed string
	for _, m := range roundTrip(t, cl, protocol.Shell, &protocol.ExecuteRequest{Code: "print('hello from', 6*7)", StopOnError: true}) {
		if m.Header.MsgType == "stream" {
			printed += text(t, m)
		}
	}
	if printed != "hello from 42\n" {
		t.Errorf("got %q", printed)
	}
	if err := cl.Heartbeat(ctx); err != nil {
		t.Error(err)
	}
	if err := cl.Send(ctx, newMessage(t, protocol.Control, &protocol.ShutdownRequest{})); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("ipykernel ended with %v", err)
		}
		ended <- nil
	case <-ctx.Done():
		t.Error("ipykernel does not end")
	}
}
