package kernel_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/kernel/kerneltest"
	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// untilInterrupted runs until the session is interrupted.
func untilInterrupted(r *kerneltest.Run) {
	r.Wait(r.Interrupted())
	r.Error("KeyboardInterrupt", "")
}

// AGENT 3: kernel_info is answered at once, from a cache.
func TestKernelInfoIsAnsweredOnShellAndControlAlsoWhileBusy(t *testing.T) {
	c, _, _ := start(t, kerneltest.Config{Handler: untilInterrupted}, nil)
	running := c.Request(protocol.Shell, execute("spin"))
	c.WaitFor("busy", func(m *protocol.Message) bool { return m.Header.MsgType == "status" })
	for _, ch := range []protocol.Channel{protocol.Shell, protocol.Control} {
		m := c.Request(ch, &protocol.KernelInfoRequest{})
		c.Expect(m, "iopub status busy", string(ch)+" kernel_info_reply ok", "iopub status idle")
		var r protocol.KernelInfoReply
		c.Decode(c.Reply(m), &r)
		if r.ProtocolVersion != "5.5" || r.Implementation != "fake" || r.LanguageInfo.Name != "fake" || r.Banner != "a fake language" || len(r.SupportedFeatures) != 0 || r.Debugger {
			t.Errorf("kernel_info_reply on %s = %+v, want the session's runner and no features", ch, r)
		}
	}
	c.Request(protocol.Control, &protocol.InterruptRequest{})
	c.Idle(running)
}

// AGENT 3: busy is published again after the idle of a request that did not queue.
func TestBusyIsPublishedAgainAfterARequestThatDidNotQueue(t *testing.T) {
	c, sess, _ := start(t, kerneltest.Config{Handler: untilInterrupted}, nil)
	running := c.Request(protocol.Shell, execute("spin"))
	c.WaitFor("busy", func(m *protocol.Message) bool { return m.Header.MsgType == "status" })
	info := c.Request(protocol.Shell, &protocol.KernelInfoRequest{})
	c.Idle(info)
	answered := false
	again := c.WaitFor("busy after the idle of kernel_info", func(m *protocol.Message) bool {
		h, err := m.ParentHeader()
		if err != nil {
			t.Errorf("parent of %s: %v", m.Header.MsgType, err)
		}
		idle := strings.Contains(string(m.Content), `"idle"`)
		answered = answered || idle && h.MsgID == info.Header.MsgID
		return answered && !idle
	})
	if h, err := again.ParentHeader(); err != nil || h.MsgID != running.Header.MsgID || !strings.Contains(string(again.Content), `"busy"`) {
		t.Errorf("after the idle of kernel_info came %s under %+v, want busy under what runs", again.Content, h)
	}
	if again.Header.MsgID == c.Messages(running)[0].Header.MsgID {
		t.Error("the second busy has the id of the first, want a fresh one")
	}
	interrupt := c.Request(protocol.Control, &protocol.InterruptRequest{})
	c.Idle(running)
	c.Expect(interrupt, "iopub status busy", "control interrupt_reply ok", "iopub status idle")
	sess.WaitAcked(t)

	// Nothing runs: no busy follows.
	c.Idle(c.Request(protocol.Shell, &protocol.KernelInfoRequest{}))
	c.Idle(c.Request(protocol.Control, &protocol.KernelInfoRequest{}))
	all := c.Transcript(nil)
	if got := all[len(all)-1]; got != "iopub status idle" {
		t.Errorf("the last message is %q, want idle", got)
	}
	if got := c.Transcript(running); got[len(got)-1] != "iopub status idle" {
		t.Errorf("the last under the request that ran is %q, want idle", got[len(got)-1])
	}
}

func TestKernelInfoWaitsForTheLanguageWithoutBlockingAnythingElse(t *testing.T) {
	up := make(chan struct{})
	asked := make(chan struct{}, 8)
	c, _, _ := start(t, kerneltest.Config{Runner: func(ctx context.Context) (*wire.Runner, error) {
		asked <- struct{}{}
		select {
		case <-up:
			return kerneltest.Runner(), nil
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}}, nil)
	shell := c.Request(protocol.Shell, &protocol.KernelInfoRequest{})
	control := c.Request(protocol.Control, &protocol.KernelInfoRequest{})
	<-asked
	c.Execute("runs meanwhile")
	c.Reply(c.Request(protocol.Control, &protocol.UsageRequest{}))
	if got := len(c.Messages(shell)) + len(c.Messages(control)); got != 0 {
		t.Errorf("%d messages for kernel_info before the language is up, want none", got)
	}
	close(up)
	c.Expect(shell, "iopub status busy", "shell kernel_info_reply ok", "iopub status idle")
	c.Expect(control, "iopub status busy", "control kernel_info_reply ok", "iopub status idle")
	c.Reply(c.Request(protocol.Shell, &protocol.KernelInfoRequest{}))
	if got := len(asked); got != 0 {
		t.Errorf("the session was asked again %d times, want the cached answer", got)
	}
}

func TestKernelInfoOfALanguageThatCannotStartSaysWhyAndAsksAgain(t *testing.T) {
	broken := make(chan error, 2)
	broken <- errors.New("python3: no such file")
	broken <- nil
	c, _, _ := start(t, kerneltest.Config{Runner: func(context.Context) (*wire.Runner, error) {
		if err := <-broken; err != nil {
			return nil, err
		}
		return kerneltest.Runner(), nil
	}}, &kernel.Options{Version: "9.9"})
	var r protocol.KernelInfoReply
	c.Decode(c.Reply(c.Request(protocol.Shell, &protocol.KernelInfoRequest{})), &r)
	if r.Status != "ok" || r.Implementation != "gokernel" || r.ImplementationVersion != "9.9" || r.LanguageInfo.Name != "text" ||
		r.LanguageInfo.FileExtension != ".txt" || !strings.Contains(r.Banner, "python3: no such file") {
		t.Errorf("kernel_info_reply = %+v, want ok with a generic language and why", r)
	}
	c.Decode(c.Reply(c.Request(protocol.Shell, &protocol.KernelInfoRequest{})), &r)
	if r.LanguageInfo.Name != "fake" {
		t.Errorf("language after it was repaired = %q, want fake", r.LanguageInfo.Name)
	}
}

func TestInterruptThatFailsOrHangsIsAnErrorReply(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTracker()
		hang := true
		sess := kerneltest.NewSession(t, kerneltest.Config{Interrupt: func(ctx context.Context) error {
			if hang {
				<-ctx.Done()
				return ctx.Err()
			}
			return errors.New("nobody to interrupt")
		}})
		serve(t, sess, tr, nil)
		for _, want := range []string{`"ename":"Timeout"`, `nobody to interrupt`} {
			tr.request(t, protocol.Control, &protocol.InterruptRequest{}, "c", "")
			time.Sleep(10 * time.Second)
			synctest.Wait()
			m := tr.last(&tr.replies)
			if m.Header.MsgType != "interrupt_reply" || !strings.Contains(string(m.Content), want) {
				t.Errorf("%s = %s, want %s in it", m.Header.MsgType, m.Content, want)
			}
			hang = false
		}
	})
}

// AGENT 1: what shutdown_request does to owned and kept sessions.
func TestShutdown(t *testing.T) {
	tests := []struct {
		name    string
		kept    bool
		restart bool
		channel protocol.Channel
		calls   []string
	}{
		{"owned: the caller closes", false, false, protocol.Control, nil},
		{"owned with restart: the caller closes", false, true, protocol.Control, nil},
		{"kept: detach", true, false, protocol.Control, []string{"detach"}},
		{"kept with restart: restart and detach", true, true, protocol.Control, []string{"restart", "detach"}},
		{"on shell, as old clients do", true, false, protocol.Shell, []string{"detach"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, sess, wait := start(t, kerneltest.Config{Kept: test.kept}, nil)
			m := c.Request(test.channel, &protocol.ShutdownRequest{Restart: test.restart})
			if err := wait(); !errors.Is(err, kernel.ErrShutdown) {
				t.Errorf("Serve = %v, want ErrShutdown", err)
			}
			if got := sess.Calls(); !slices.Equal(got, test.calls) {
				t.Errorf("calls = %q, want %q", got, test.calls)
			}
			c.WaitFor("shutdown_reply on iopub", func(r *protocol.Message) bool {
				return r.Channel == protocol.IOPub && r.Header.MsgType == "shutdown_reply"
			})
			c.Expect(m, "iopub status busy", string(test.channel)+" shutdown_reply ok", "iopub status idle", "iopub shutdown_reply ok")
			var r protocol.ShutdownReply
			if c.Decode(c.Reply(m), &r); r.Restart != test.restart {
				t.Errorf("restart in the reply = %v, want %v", r.Restart, test.restart)
			}
		})
	}
}

func TestShutdownEndsWithinItsTimeWhenTheSessionHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTracker()
		sess := kerneltest.NewSession(t, kerneltest.Config{Kept: true, Restart: func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		wait := serve(t, sess, tr, nil)
		begin := time.Now()
		tr.request(t, protocol.Control, &protocol.ShutdownRequest{Restart: true}, "c", "")
		if err := wait(); !errors.Is(err, kernel.ErrShutdown) {
			t.Errorf("Serve = %v, want ErrShutdown", err)
		}
		if took := time.Since(begin); took > 1500*time.Millisecond {
			t.Errorf("Serve ended after %v, want at most 1.5 s of the 2.5 s there are", took)
		}
	})
}

func TestTooManyRequestsAreRefusedNotLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTracker()
		release := make(chan struct{})
		sess := kerneltest.NewSession(t, kerneltest.Config{Interrupt: func(ctx context.Context) error {
			<-release
			return nil
		}})
		serve(t, sess, tr, nil)
		const n = 1200 // more than fit into the control queue
		for range n {
			tr.request(t, protocol.Control, &protocol.InterruptRequest{}, "c", "")
		}
		synctest.Wait()
		close(release)
		synctest.Wait()
		refused := 0
		for _, m := range tr.replies {
			if strings.Contains(string(m.Content), "TooManyRequests") {
				refused++
			}
		}
		if len(tr.replies) != n || refused == 0 || refused == n {
			t.Errorf("%d replies, %d of them refusals; want %d and some", len(tr.replies), refused, n)
		}
	})
}
