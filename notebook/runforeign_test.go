package notebook_test

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/notebook"
	"github.com/gokernel/gokernel/protocol"
)

// A foreign is a kernel that a test scripts message by message.
type foreign struct {
	t    *testing.T
	conn kernel.Conn
}

// script runs a kernel, which ends with the test.
func script(t *testing.T, serve func(f *foreign, m *protocol.Message) (more bool)) kernel.Conn {
	t.Helper()
	client, end := kernel.Pipe()
	f := &foreign{t, end}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			m, err := end.Recv(context.Background())
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Errorf("Recv: %v", err)
				break
			}
			if !serve(f, m) {
				break
			}
		}
		if err := end.Close(); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
		<-done
	})
	return client
}

func (f *foreign) send(ch protocol.Channel, c protocol.Content, parent *protocol.Message) {
	m, err := protocol.New(ch, c, parent)
	if err != nil {
		f.t.Error(err)
		return
	}
	if err := f.conn.Send(context.Background(), m); err != nil && !errors.Is(err, io.ErrClosedPipe) {
		f.t.Errorf("Send: %v", err)
	}
}

func (f *foreign) status(state string, parent *protocol.Message) {
	f.send(protocol.IOPub, &protocol.Status{ExecutionState: state}, parent)
}

func (f *foreign) reply(parent *protocol.Message, status string) {
	f.send(protocol.Shell, &protocol.ExecuteReply{Reply: protocol.Reply{Status: status, EName: "E", EValue: "v"}}, parent)
}

func (f *foreign) info(m *protocol.Message) {
	f.send(protocol.Shell, &protocol.KernelInfoReply{
		Reply: protocol.Reply{Status: protocol.StatusOK}, LanguageInfo: protocol.LanguageInfo{Name: "fake"},
	}, m)
}

// execute answers kernel_info by itself and all else by answer.
func execute(t *testing.T, answer func(f *foreign, m *protocol.Message) bool) kernel.Conn {
	return script(t, func(f *foreign, m *protocol.Message) bool {
		if m.Header.MsgType == "kernel_info_request" {
			f.info(m)
			f.status(protocol.StateIdle, m)
			return true
		}
		return answer(f, m)
	})
}

func TestRunTakesReplyAndIdleInAnyOrder(t *testing.T) {
	conn := execute(t, func(f *foreign, m *protocol.Message) bool {
		f.status(protocol.StateBusy, m)
		// Others' messages, and what nobody asked for, end nothing.
		f.status(protocol.StateIdle, nil)
		stranger := &protocol.Message{Header: protocol.NewHeader("execute_request")}
		f.status(protocol.StateIdle, stranger)
		f.reply(stranger, protocol.StatusError)
		f.send(protocol.IOPub, &protocol.Unknown{Type: "display_data", Raw: []byte(`{"data":5}`)}, m)
		f.status(protocol.StateIdle, m)
		f.reply(m, protocol.StatusOK)
		return true
	})
	if err := run(t, conn, cells(t, "a", "b"), nil); err != nil {
		t.Errorf("Run: %v", err)
	}
}

func TestRunAsksUntilIOPubIsThere(t *testing.T) {
	asked := 0
	conn := script(t, func(f *foreign, m *protocol.Message) bool {
		if asked++; asked > 1 {
			f.status(protocol.StateIdle, m)
		}
		f.info(m)
		return true
	})
	if err := run(t, conn, cells(t), nil); err != nil || asked < 2 {
		t.Errorf("Run: %v after %d requests, want no error after 2", err, asked)
	}
}

func TestRunKernelIsNotReady(t *testing.T) {
	opts := &notebook.Options{StartTimeout: 20 * time.Millisecond}
	silent := script(t, func(*foreign, *protocol.Message) bool { return true })
	err := run(t, silent, cells(t), opts)
	if err == nil || !strings.Contains(err.Error(), "the kernel was not ready after 20ms") {
		t.Errorf("silent kernel: Run error = %v", err)
	}
	deaf := script(t, func(f *foreign, m *protocol.Message) bool { f.info(m); return true })
	err = run(t, deaf, cells(t), opts)
	if err == nil || !strings.Contains(err.Error(), "nothing comes on iopub") {
		t.Errorf("kernel without iopub: Run error = %v", err)
	}
	gone := script(t, func(*foreign, *protocol.Message) bool { return false })
	if err := run(t, gone, cells(t), nil); !errors.Is(err, notebook.ErrKernelDied) {
		t.Errorf("kernel that ends: Run error = %v, want ErrKernelDied", err)
	}
	broken := script(t, func(f *foreign, m *protocol.Message) bool {
		f.send(protocol.Shell, &protocol.KernelInfoReply{Reply: protocol.Reply{Status: "error", EName: "NoPython", EValue: "none"}}, m)
		f.status(protocol.StateIdle, m)
		return true
	})
	if err := run(t, broken, cells(t), nil); err == nil || !strings.Contains(err.Error(), "NoPython: none") {
		t.Errorf("kernel that says it is broken: Run error = %v", err)
	}
}

func TestRunKernelDies(t *testing.T) {
	tests := map[string]func(f *foreign, m *protocol.Message) bool{
		"connection ends": func(*foreign, *protocol.Message) bool { return false },
		"dead":            func(f *foreign, _ *protocol.Message) bool { f.status(protocol.StateDead, nil); return true },
		"restarting":      func(f *foreign, _ *protocol.Message) bool { f.status(protocol.StateRestarting, nil); return true },
		// As our kernel has it; the first cell's error is allowed, the second finds nothing.
		"restarting after the error": func(f *foreign, m *protocol.Message) bool {
			f.reply(m, protocol.StatusError)
			f.status(protocol.StateRestarting, nil)
			f.status(protocol.StateIdle, m)
			return true
		},
	}
	for name, answer := range tests {
		t.Run(name, func(t *testing.T) {
			executed := 0
			conn := execute(t, func(f *foreign, m *protocol.Message) bool { executed++; return answer(f, m) })
			err := run(t, conn, cells(t, "a", "b"), &notebook.Options{AllowErrors: true})
			if !errors.Is(err, notebook.ErrKernelDied) || !strings.HasPrefix(err.Error(), "cell ") {
				t.Errorf("Run error = %v, want ErrKernelDied with the cell", err)
			}
			if executed != 1 {
				t.Errorf("%d cells were sent, want 1", executed)
			}
		})
	}
}

func TestRunAborted(t *testing.T) {
	conn := execute(t, func(f *foreign, m *protocol.Message) bool {
		f.reply(m, protocol.StatusAborted)
		f.status(protocol.StateIdle, m)
		return true
	})
	err := run(t, conn, cells(t, "a"), nil)
	if err == nil || err.Error() != "cell 1 (id c1): Aborted: the kernel did not run the cell" {
		t.Errorf("Run error = %v", err)
	}
}

func TestRunCellThatDoesNotStop(t *testing.T) {
	unable := errors.New("no process to signal")
	conn := execute(t, func(*foreign, *protocol.Message) bool { return true })
	interrupts := 0
	opts := &notebook.Options{Timeout: time.Millisecond, Interrupt: func(context.Context) error { interrupts++; return unable }}
	err := run(t, conn, cells(t, "a"), opts)
	var late *notebook.TimeoutError
	if !errors.As(err, &late) || late.Stopped || interrupts != 1 {
		t.Errorf("Run error = %v after %d interrupts, want a TimeoutError of a cell that did not stop", err, interrupts)
	}
}

func TestRunSendsWidgetOutputsBack(t *testing.T) {
	var got []string
	conn := execute(t, func(f *foreign, m *protocol.Message) bool {
		if m.Header.MsgType == "comm_msg" {
			got = append(got, string(m.Content))
			return true
		}
		state := `{"state":{"_model_module":"@jupyter-widgets/output","_model_name":"OutputModel","outputs":[],"msg_id":""}}`
		f.send(protocol.IOPub, &protocol.CommOpen{CommID: "o", TargetName: "jupyter.widget", Data: []byte(state)}, m)
		hook := `{"method":"update","state":{"msg_id":"` + m.Header.MsgID + `"}}`
		f.send(protocol.IOPub, &protocol.CommMsg{CommID: "o", Data: []byte(hook)}, m)
		f.send(protocol.IOPub, &protocol.Stream{Name: "stdout", Text: "captured"}, m)
		f.reply(m, protocol.StatusOK)
		f.status(protocol.StateIdle, m)
		return true
	})
	nb := cells(t, "a", "b")
	if err := run(t, conn, nb, nil); err != nil {
		t.Fatal(err)
	}
	want := `{"comm_id":"o","data":{"buffer_paths":[],"method":"update","state":{"outputs":[{"name":"stdout","output_type":"stream","text":"captured"}]}}}`
	if len(got) == 0 || got[0] != want {
		t.Errorf("the kernel got %q, want %q first", got, want)
	}
	if len(nb.Cells[0].Outputs) != 0 || !strings.Contains(string(nb.Metadata["widgets"]), "captured") {
		t.Errorf("outputs %+v, widgets %s; want the text in the widget", nb.Cells[0].Outputs, nb.Metadata["widgets"])
	}
}
