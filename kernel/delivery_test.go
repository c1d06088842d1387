package kernel_test

import (
	"context"
	"errors"
	"fmt"
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

func cursor(n uint64) wire.Cursor { return wire.Cursor{Epoch: 1, Number: n} }

// withTracker runs f in a bubble with an open gate and one subscriber.
func withTracker(t *testing.T, cfg kerneltest.Config, f func(t *testing.T, tr *tracker, sess *kerneltest.Session)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		tr := newTracker()
		sess := kerneltest.NewSession(t, cfg)
		serve(t, sess, tr, nil)
		tr.subscribe(1)
		time.Sleep(time.Second)
		synctest.Wait()
		f(t, tr, sess)
	})
}

func wantAcked(t *testing.T, sess *kerneltest.Session, upto uint64, held ...wire.Cursor) {
	t.Helper()
	time.Sleep(50 * time.Millisecond)
	synctest.Wait()
	gotUpto, gotHeld := sess.Acked()
	if gotUpto.Number != upto || !slices.Equal(gotHeld, held) {
		t.Errorf("acknowledged up to %d but %v, want %d but %v", gotUpto.Number, gotHeld, upto, held)
	}
}

// AGENT 6: a frame is acknowledged when it has been written.
func TestFramesAreAcknowledgedWhenWritten(t *testing.T) {
	withTracker(t, kerneltest.Config{}, func(t *testing.T, tr *tracker, sess *kerneltest.Session) {
		tr.do(func() { tr.manual = true })
		sess.Emit(output())
		sess.Emit(output())
		wantAcked(t, sess, 0)
		tr.write(1)
		wantAcked(t, sess, 2)
	})
}

// AGENT 6: a frame that comes twice has the same msg_id and a new date.
func TestFramesWrittenToNobodyArePublishedAgainInOrderWithTheSameIDAndANewDate(t *testing.T) {
	withTracker(t, kerneltest.Config{}, func(t *testing.T, tr *tracker, sess *kerneltest.Session) {
		tr.do(func() { tr.manual = true })
		sess.Emit(output())
		sess.Emit(output())
		synctest.Wait()
		tr.subscribe(0)
		tr.write(0)
		wantAcked(t, sess, 0)
		tr.do(func() { tr.manual = false })
		tr.subscribe(1)
		time.Sleep(time.Second)
		wantAcked(t, sess, 2)
		var ids []string
		dates := map[string]bool{}
		for _, m := range tr.iopub {
			ids = append(ids, m.Header.MsgID)
			dates[m.Header.MsgID+m.Header.Date] = true
		}
		if want := []string{"fake-1-1", "fake-1-2", "fake-1-1", "fake-1-2"}; !slices.Equal(ids, want) {
			t.Errorf("published = %q, want %q", ids, want)
		}
		if len(dates) != 4 {
			t.Errorf("%d different ids and dates, want 4", len(dates))
		}
	})
}

func TestFailedPublishIsTriedAgain(t *testing.T) {
	withTracker(t, kerneltest.Config{}, func(t *testing.T, tr *tracker, sess *kerneltest.Session) {
		tr.do(func() { tr.publishErr = errors.New("out of luck") })
		sess.Emit(output())
		sess.Emit(output())
		time.Sleep(time.Second)
		wantAcked(t, sess, 2)
		if got := tr.iopub[0].Header.MsgID; got != "fake-1-1" {
			t.Errorf("first published = %q, want the one that failed", got)
		}
	})
}

func TestStaleStatusIsNotPublishedAfterALaterOne(t *testing.T) {
	withTracker(t, kerneltest.Config{}, func(t *testing.T, tr *tracker, sess *kerneltest.Session) {
		tr.do(func() { tr.manual = true })
		for _, state := range []string{"busy", "idle"} {
			sess.Emit(&wire.Frame{Channel: protocol.IOPub, MsgType: "status", Content: fmt.Appendf(nil, `{"execution_state":%q}`, state)})
		}
		synctest.Wait()
		busy, idle := tr.unwritten[0], tr.unwritten[1]
		idle(1)
		busy(0)
		wantAcked(t, sess, 2)
		if got := len(tr.iopub); got != 2 {
			t.Errorf("%d messages published, want 2: a busy after idle would stay for ever", got)
		}
	})
}

// AGENT 3: an absent address blocks nothing else.
func TestRepliesToAnAbsentAddressAreHeldAndBlockNothing(t *testing.T) {
	withTracker(t, kerneltest.Config{}, func(t *testing.T, tr *tracker, sess *kerneltest.Session) {
		tr.leave("away")
		tr.request(t, protocol.Shell, execute("a"), "away", "") // frames 1 to 5, reply 4
		tr.request(t, protocol.Shell, execute("b"), "here", "")
		wantAcked(t, sess, 10, cursor(4))
		if got := tr.last(&tr.replies); string(got.Identities[0]) != "here" {
			t.Errorf("reply went to %s, want here", got.Identities[0])
		}
		tr.arrive("somebody else")
		wantAcked(t, sess, 10, cursor(4))
		tr.arrive("away")
		wantAcked(t, sess, 10)
		if got := tr.last(&tr.replies); string(got.Identities[0]) != "away" || got.Header.MsgID != "fake-1-4" {
			t.Errorf("reply = %s to %s, want fake-1-4 to away", got.Header.MsgID, got.Identities[0])
		}
	})
}

func TestALaterFrontDeliversWhatWasHeldAndWhatWasNotAcknowledgedUnderTheSameIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sess := kerneltest.NewSession(t, kerneltest.Config{Kept: true})
		first := newTracker()
		ctx, cancel := context.WithCancelCause(t.Context())
		done := make(chan error)
		go func() { done <- kernel.New(sess, nil).Serve(ctx, first) }()
		first.subscribe(1)
		first.leave("away")
		first.request(t, protocol.Shell, execute("a"), "away", "") // frames 1 to 5
		wantAcked(t, sess, 5, cursor(4))
		first.do(func() { first.manual = true })
		sess.Emit(output())
		synctest.Wait()
		cancel(errTestOver)
		if err := <-done; !errors.Is(err, errTestOver) {
			t.Fatalf("Serve = %v, want its context's cause", err)
		}

		sess.Reattach()
		second := newTracker()
		serve(t, sess, second, nil)
		second.subscribe(1)
		time.Sleep(time.Second)
		wantAcked(t, sess, 6)
		if got := second.last(&second.replies).Header.MsgID; got != "fake-1-4" {
			t.Errorf("reply = %q, want the one held, fake-1-4", got)
		}
		if got := second.last(&second.iopub).Header.MsgID; got != "fake-1-6" || len(second.iopub) != 1 {
			t.Errorf("published = %q and %d in all, want fake-1-6 only", got, len(second.iopub))
		}
		if a, b := first.last(&first.iopub).Header, second.last(&second.iopub).Header; a.Session == b.Session {
			t.Errorf("header.session of both fronts = %q, want each its own", a.Session)
		}
	})
}

func TestHeldRepliesAreBoundedAndPromptsAreKept(t *testing.T) {
	withTracker(t, kerneltest.Config{}, func(t *testing.T, tr *tracker, sess *kerneltest.Session) {
		tr.leave("away")
		away := [][]byte{[]byte("away")}
		prompt := sess.Emit(&wire.Frame{Channel: protocol.Stdin, MsgType: "input_request", Identities: away, Content: []byte("{}")})
		var last wire.Cursor
		for range 5000 {
			last = sess.Emit(&wire.Frame{Channel: protocol.Shell, MsgType: "execute_reply", Identities: away, Content: []byte("{}")})
		}
		time.Sleep(time.Second)
		synctest.Wait()
		upto, held := sess.Acked()
		if upto != last || len(held) != 4096 || held[0] != prompt || held[4095] != last {
			t.Errorf("acknowledged up to %v with %d held from %v to %v; want %v, 4096 with the prompt first and the last reply last",
				upto, len(held), held[0], held[len(held)-1], last)
		}
	})
}

func TestRepliesOvertakeOutputsOnlyWhileNobodySubscribes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTracker()
		sess := kerneltest.NewSession(t, kerneltest.Config{})
		serve(t, sess, tr, nil)
		tr.request(t, protocol.Shell, execute("a"), "c", "")
		synctest.Wait()
		if got := tr.types(&tr.replies); !slices.Equal(got, []string{"execute_reply"}) {
			t.Errorf("replies without a subscriber = %q, want the execute_reply", got)
		}
		tr.do(func() { tr.manual = true })
		tr.subscribe(1)
		synctest.Wait()
		if got, want := tr.types(&tr.iopub), []string{"status", "execute_input", "stream", "status"}; !slices.Equal(got, want) {
			t.Errorf("published = %q, want %q", got, want)
		}
		tr.write(1)
		wantAcked(t, sess, 5)
	})
}

func TestPublishThatWaitsForRoomDoesNotBlockControl(t *testing.T) {
	c, conn := kernel.Pipe()
	big := strings.Repeat("x", 1<<20)
	full, interrupted := make(chan struct{}), make(chan struct{})
	sess := kerneltest.NewSession(t, kerneltest.Config{Handler: func(r *kerneltest.Run) {
		for range 64 {
			r.Publish(&protocol.Stream{Name: protocol.Stdout, Text: big})
		}
		close(full)
		r.Wait(r.Interrupted())
		close(interrupted)
		r.OK()
	}})
	serve(t, sess, conn, nil)
	for _, content := range []protocol.Content{execute("x"), &protocol.InterruptRequest{}} {
		ch := protocol.Shell
		if content.MsgType() == "interrupt_request" {
			ch = protocol.Control
		}
		m, err := protocol.New(ch, content, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := c.Send(t.Context(), m); err != nil { // and the client reads nothing
			t.Fatal(err)
		}
		<-full
	}
	select {
	case <-interrupted:
	case <-time.After(kerneltest.Timeout):
		t.Fatal("the interrupt did not arrive while the client was not reading")
	}
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// plain hides that a Conn is a Tracker.
type plain struct{ kernel.Conn }

func TestOnAConnThatIsNoTrackerWhatIsSentCountsAsDelivered(t *testing.T) {
	client, conn := kernel.Pipe()
	sess := kerneltest.NewSession(t, kerneltest.Config{})
	sess.Emit(output())
	serve(t, sess, plain{conn}, nil)
	sess.WaitAcked(t)
	c := kerneltest.NewClient(t, client)
	m, _ := c.Execute("x")
	c.Expect(m, "iopub status busy", "iopub execute_input", "iopub stream", "shell execute_reply ok", "iopub status idle")
}
