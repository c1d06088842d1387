package kernel_test

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gokernel/gokernel/kernel/kerneltest"
	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// output is an output whose request nobody remembers.
func output() *wire.Frame {
	return &wire.Frame{Channel: protocol.IOPub, MsgType: "stream", Content: []byte(`{"name":"stdout","text":"x"}`)}
}

// AGENT 6: delivery over ZeroMQ begins 1 s after the later of the first subscriber and
// the last kernel_info_request, or with the next other request.
func TestGate(t *testing.T) {
	info := func(t *testing.T, tr *tracker) {
		tr.request(t, protocol.Shell, &protocol.KernelInfoRequest{}, "c", "")
	}
	tests := []struct {
		name string
		do   func(t *testing.T, tr *tracker)
		open time.Duration // when the frame must be out; it must not be earlier. <0: not in an hour
	}{
		{"without a subscriber nothing goes out", func(*testing.T, *tracker) {}, -1},
		{"1 s after the first subscriber", func(_ *testing.T, tr *tracker) { tr.subscribe(1) }, time.Second},
		{"1 s after the last kernel_info_request", func(t *testing.T, tr *tracker) {
			tr.subscribe(1)
			for range 3 {
				time.Sleep(500 * time.Millisecond)
				info(t, tr)
			}
		}, 2500 * time.Millisecond},
		{"1 s after a subscriber that comes after kernel_info_request", func(t *testing.T, tr *tracker) {
			info(t, tr)
			time.Sleep(3 * time.Second)
			tr.subscribe(1)
		}, 4 * time.Second},
		{"at once with the next other request", func(t *testing.T, tr *tracker) {
			tr.subscribe(1)
			info(t, tr)
			time.Sleep(100 * time.Millisecond)
			tr.request(t, protocol.Control, &protocol.UsageRequest{}, "c", "")
		}, 100 * time.Millisecond},
		{"with another request, as soon as somebody subscribes", func(t *testing.T, tr *tracker) {
			tr.request(t, protocol.Control, &protocol.UsageRequest{}, "c", "")
			time.Sleep(5 * time.Second)
			tr.subscribe(1)
		}, 5 * time.Second},
		{"a later subscriber does not close it", func(_ *testing.T, tr *tracker) {
			tr.subscribe(1)
			time.Sleep(900 * time.Millisecond)
			tr.subscribe(2)
		}, time.Second},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := newTracker()
				sess := kerneltest.NewSession(t, kerneltest.Config{})
				sess.Emit(output())
				serve(t, sess, tr, nil)
				begin := time.Now()
				synctest.Wait()
				test.do(t, tr)
				out := func() bool {
					synctest.Wait()
					return slices.Contains(tr.types(&tr.iopub), "stream")
				}
				if test.open < 0 {
					time.Sleep(time.Hour)
					if out() {
						t.Error("the frame went out")
					}
					return
				}
				if left := test.open - time.Since(begin); left > 0 {
					if out() {
						t.Fatalf("the frame went out %v early", left)
					}
					time.Sleep(left - time.Millisecond)
					if out() {
						t.Fatal("the frame went out early")
					}
					time.Sleep(time.Millisecond)
				}
				if !out() {
					t.Fatalf("the frame is not out after %v", time.Since(begin))
				}
			})
		})
	}
}

func TestFirstStartIsNoNewsBehindTheGate(t *testing.T) {
	status := func(state string) *wire.Frame {
		return &wire.Frame{Channel: protocol.IOPub, MsgType: "status", Content: fmt.Appendf(nil, `{"execution_state":%q}`, state)}
	}
	asked := status(protocol.StateStarting)
	asked.Parent = []byte(`{"msg_id":"m"}`)
	tests := []struct {
		name   string
		frames []*wire.Frame // before the gate is open
		later  []*wire.Frame // when it is open
		want   []string
	}{
		{"first starting", []*wire.Frame{status("starting"), output()}, nil, []string{"fake-1-2"}},
		{"nothing else", []*wire.Frame{status("starting")}, nil, nil},
		{"after a death", []*wire.Frame{status("starting"), status("restarting"), status("starting")}, nil, []string{"fake-1-2", "fake-1-3"}},
		{"restarting first", []*wire.Frame{status("restarting"), status("starting")}, nil, []string{"fake-1-1", "fake-1-2"}},
		{"of a request", []*wire.Frame{asked}, nil, []string{"fake-1-1"}},
		{"when the gate is open", nil, []*wire.Frame{status("starting")}, []string{"fake-1-1"}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tr := newTracker()
				sess := kerneltest.NewSession(t, kerneltest.Config{})
				for _, f := range test.frames {
					sess.Emit(f)
				}
				serve(t, sess, tr, nil)
				tr.subscribe(1)
				time.Sleep(time.Second)
				synctest.Wait()
				for _, f := range test.later {
					sess.Emit(f)
				}
				wantAcked(t, sess, uint64(len(test.frames)+len(test.later)))
				var got []string
				tr.do(func() {
					for _, m := range tr.iopub {
						got = append(got, m.Header.MsgID)
					}
				})
				if !slices.Equal(got, test.want) {
					t.Errorf("published = %q, want %q", got, test.want)
				}
			})
		})
	}
}

func TestGateHoldsRepliesUntilItHasBeenOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTracker()
		sess := kerneltest.NewSession(t, kerneltest.Config{})
		sess.Emit(&wire.Frame{Channel: protocol.Shell, MsgType: "execute_reply", Identities: [][]byte{[]byte("c")}, Content: []byte(`{"status":"ok"}`)})
		serve(t, sess, tr, nil)
		synctest.Wait()
		if got := tr.types(&tr.replies); len(got) != 0 {
			t.Fatalf("replies behind the gate = %q, want none", got)
		}
		tr.request(t, protocol.Control, &protocol.UsageRequest{}, "c", "")
		synctest.Wait()
		if got := tr.types(&tr.replies); !slices.Contains(got, "execute_reply") {
			t.Errorf("replies = %q, want the execute_reply among them", got)
		}
	})
}

func TestGateClosesForIOPubWhenTheLastSubscriberHasGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTracker()
		sess := kerneltest.NewSession(t, kerneltest.Config{})
		serve(t, sess, tr, nil)
		tr.subscribe(1)
		time.Sleep(time.Second)
		tr.subscribe(0)
		sess.Emit(output())
		sess.Emit(&wire.Frame{Channel: protocol.Shell, MsgType: "execute_reply", Identities: [][]byte{[]byte("c")}, Content: []byte(`{"status":"ok"}`)})
		synctest.Wait()
		if got := tr.types(&tr.replies); !slices.Contains(got, "execute_reply") {
			t.Errorf("replies while nobody subscribes = %q, want the execute_reply", got)
		}
		tr.subscribe(1)
		time.Sleep(time.Second - time.Millisecond)
		synctest.Wait()
		if got := tr.types(&tr.iopub); len(got) != 0 {
			t.Errorf("published within 1 s = %q, want nothing", got)
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if got := tr.types(&tr.iopub); !slices.Equal(got, []string{"stream"}) {
			t.Errorf("published after 1 s = %q, want the stream", got)
		}
	})
}

func TestKernelInfoIsLiveBehindTheGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tr := newTracker()
		serve(t, kerneltest.NewSession(t, kerneltest.Config{}), tr, nil)
		tr.request(t, protocol.Shell, &protocol.KernelInfoRequest{}, "c", "")
		synctest.Wait()
		if got := tr.types(&tr.live); !slices.Equal(got, []string{"status", "status"}) {
			t.Errorf("live on iopub = %q, want busy and idle", got)
		}
		if got := tr.types(&tr.replies); !slices.Equal(got, []string{"kernel_info_reply"}) {
			t.Errorf("replies = %q, want kernel_info_reply", got)
		}
	})
}
