package kernel

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

func TestQueueIsBoundedInNumberAndBytes(t *testing.T) {
	tests := []struct {
		name  string
		sizes []int
		want  []bool
	}{
		{"in number", []int{1, 1, 1, 1}, []bool{true, true, true, false}},
		{"in bytes", []int{6, 4, 1}, []bool{true, true, false}},
		{"one always fits", []int{100, 1}, []bool{true, false}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			q := newQueue[int](3, 10)
			for i, size := range test.sizes {
				if got := q.put(i, size); got != test.want[i] {
					t.Errorf("put %d of size %d = %v, want %v", i, size, got, test.want[i])
				}
			}
			for i := range test.sizes {
				if !test.want[i] {
					continue
				}
				if got, err := q.get(t.Context()); got != i || err != nil {
					t.Errorf("get = %d, %v; want %d", got, err, i)
				}
			}
			if !q.put(9, 10) {
				t.Error("an empty queue has no room")
			}
		})
	}
}

func TestQueueGetWaitsUntilItsContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := newQueue[int](3, 10)
		ctx, cancel := context.WithCancel(t.Context())
		result := make(chan error)
		go func() {
			_, err := q.get(ctx)
			result <- err
		}()
		synctest.Wait()
		cancel()
		if err := <-result; !errors.Is(err, context.Canceled) {
			t.Errorf("get = %v, want context.Canceled", err)
		}
	})
}

func TestAcknowledgementsNeverGoBack(t *testing.T) {
	d := &delivery{wake: make(chan struct{}, 1), room: make(chan struct{}, 1)}
	for _, n := range []uint64{5, 3} { // 3 was held by an earlier front
		if !d.add(t.Context(), &wire.Frame{Cursor: wire.Cursor{Epoch: 1, Number: n}, Kind: wire.KindProgress}) {
			t.Fatal("add = false")
		}
	}
	if d.upto.Number != 5 || len(d.items) != 0 {
		t.Errorf("delivered up to %d with %d left, want 5 and none", d.upto.Number, len(d.items))
	}
}

func TestHostUsage(t *testing.T) {
	h := newHostUsage()
	tests := []struct {
		stat string
		want float64
	}{
		{"cpu  100 0 100 700 100 0 0 0 50 0\ncpu0 1", 0}, // nothing to compare with
		{"cpu  150 0 100 740 110 0 0 0 99 0\n", 50},
		{"cpu  150 0 100 740 110 0 0 0 99 0\n", 0}, // no time has passed
		{"cpu  1 0 1 1 1 0 0 0 0 0\n", 0},          // a clock that went back
		{"garbage", 0},
	}
	for _, test := range tests {
		if got := h.cpu([]byte(test.stat)); got != test.want {
			t.Errorf("cpu(%q) = %v, want %v", test.stat, got, test.want)
		}
	}
	m := memory([]byte("MemTotal:  1000 kB\nMemAvailable:   250 kB\nbroken\nMemFree: x kB\n"))
	if m["total"] != uint64(1000<<10) || m["available"] != uint64(250<<10) || m["percent"] != 75.0 || m["free"] != uint64(0) {
		t.Errorf("memory = %v, want 75 percent of 1000 KiB used", m)
	}
}

func TestErrorRepliesHaveTheTypeOfTheirRequest(t *testing.T) {
	for _, msgType := range []string{
		"execute_request", "inspect_request", "complete_request", "history_request", "comm_info_request", "kernel_info_request",
		"shutdown_request", "interrupt_request", "connect_request", "usage_request", "is_complete_request",
	} {
		c := errorReply(msgType, "Name", "why")
		want := msgType[:len(msgType)-len("request")] + "reply"
		if c == nil || c.MsgType() != want {
			t.Errorf("errorReply(%s) = %v, want a %s", msgType, c, want)
			continue
		}
		raw, err := protocol.EncodeContent(c)
		if err != nil {
			t.Errorf("encoding %s: %v", want, err)
		}
		back, err := protocol.DecodeContent("interrupt_reply", raw)
		if r, ok := back.(*protocol.InterruptReply); err != nil || !ok || r.EName != "Name" || r.EValue != "why" || len(r.Traceback) == 0 {
			t.Errorf("%s = %s, %v; want ename, evalue and traceback", want, raw, err)
		}
	}
	for _, msgType := range []string{"comm_open", "no_such_request", "debug_request"} {
		if c := errorReply(msgType, "Name", "why"); c != nil {
			t.Errorf("errorReply(%s) = %v, want none", msgType, c)
		}
	}
}
