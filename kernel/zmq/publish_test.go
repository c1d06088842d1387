package zmq

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gokernel/gokernel/protocol"
)

// text returns the text of a stream message.
func text(t testing.TB, m *protocol.Message) string {
	t.Helper()
	c, err := m.Decode()
	if err != nil {
		t.Fatal(err)
	}
	s, ok := c.(*protocol.Stream)
	if !ok {
		t.Fatalf("got a %s, want a stream", m.Header.MsgType)
	}
	return s.Text
}

func TestWelcome(t *testing.T) {
	c := listen(t, &Options{Linger: -1, Session: "the-session"})
	other := connectSub(t, c)
	for _, tt := range []struct{ name, subscribe, topic string }{
		{"everything", "\x00\x01\x01", ""},
		{"a topic", "\x00\x07\x01stream", "stream"},
		{"ZMTP 3.1", "\x04\x10\x09SUBSCRIBEstatus", "status"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := connect(t, c, c.Info().IOPubPort, "SUB", "")
			p.write([]byte(tt.subscribe))
			m := p.message(protocol.IOPub)
			if m.Header.MsgType != "iopub_welcome" || m.Header.Session != "the-session" || m.Header.Username != "kernel" {
				t.Errorf("header: got %+v", m.Header)
			}
			if got, want := string(m.Content), `{"subscription":"`+tt.topic+`"}`; got != want {
				t.Errorf("content: got %s, want %s", got, want)
			}
			if string(m.Parent) != "{}" || len(m.Identities) != 1 || string(m.Identities[0]) != tt.topic {
				t.Errorf("got parent %s and prefix %q, want {} and the topic", m.Parent, m.Identities)
			}
		})
	}
	t.Run("again", func(t *testing.T) {
		p := connectSub(t, c)
		p.subscribe("")
		p.subscribe("\xff\xfe") // cannot be told in JSON
		p.send([]byte("\x02other"))
		p.subscribe("new")
		if m := p.message(protocol.IOPub); string(m.Content) != `{"subscription":"new"}` {
			t.Errorf("got %s, want the welcome to new only", m.Content)
		}
	})
	if err := c.Send(within(t), stream(t, "x")); err != nil {
		t.Fatal(err)
	}
	if got := text(t, other.message(protocol.IOPub)); got != "x" {
		t.Errorf("other subscriber: got %q, want nothing before x", got)
	}
}

func TestTopics(t *testing.T) {
	c := listen(t, nil)
	p := connect(t, c, c.Info().IOPubPort, "SUB", "")
	p.subscribe("stream.stdout")
	p.message(protocol.IOPub)
	status := newMessage(t, protocol.IOPub, &protocol.Status{ExecutionState: "busy"})
	send := func(m *protocol.Message) {
		if err := c.Send(within(t), m); err != nil {
			t.Fatal(err)
		}
	}
	send(status)
	send(stream(t, "1"))
	if m := p.message(protocol.IOPub); text(t, m) != "1" {
		t.Errorf("got %s, want the stream", m.Header.MsgType)
	}
	p.send([]byte("\x00stream.stdout"))
	p.subscribe("kernel.")
	p.message(protocol.IOPub)
	send(stream(t, "2"))
	send(status)
	if m := p.message(protocol.IOPub); m.Header.MsgType != "status" || string(m.Identities[0]) != "kernel.test.status" {
		t.Errorf("got %s on %q, want the status", m.Header.MsgType, m.Identities)
	}
}

func TestSubscriptionLimits(t *testing.T) {
	c := listen(t, nil)
	t.Run("length", func(t *testing.T) {
		p := connect(t, c, c.Info().IOPubPort, "SUB", "")
		p.subscribe(strings.Repeat("x", maxTopic+1))
		p.closed()
	})
	t.Run("number", func(t *testing.T) {
		p := connect(t, c, c.Info().IOPubPort, "SUB", "")
		for i := range maxTopics + 1 {
			p.subscribe(fmt.Sprint(i))
		}
		p.closed()
	})
	eventually(t, "nobody is subscribed", func() bool { return c.Subscribers() == 0 })
}

func TestPublishWaitsForSubscriber(t *testing.T) {
	c := listen(t, nil)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	m := stream(t, "early")
	go func() {
		done <- c.Publish(ctx, m, func(int) { t.Error("written is called for a message that was not taken") })
	}()
	eventually(t, "Publish waits", func() bool {
		c.iopub.mu.Lock()
		defer c.iopub.mu.Unlock()
		return c.iopub.waiting == 1
	})
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("canceled: got %v", err)
	}
	written := make(chan int, 1)
	go func() { done <- c.Publish(context.Background(), m, func(n int) { written <- n }) }()
	p := connectSub(t, c)
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if n := <-written; n != 1 {
		t.Errorf("written: got %d, want 1", n)
	}
	if got := text(t, p.message(protocol.IOPub)); got != "early" {
		t.Errorf("got %q, want early", got)
	}
	if err := c.Publish(within(t), newMessage(t, protocol.Shell, &protocol.KernelInfoReply{}), nil); err == nil {
		t.Error("Publish on shell: got no error")
	}
}

func TestWrittenCountsSubscribers(t *testing.T) {
	c := listen(t, nil)
	var ps []*rawPeer
	for range 3 {
		ps = append(ps, connectSub(t, c))
	}
	written := make(chan int, 1)
	if err := c.Publish(within(t), stream(t, "x"), func(n int) { written <- n }); err != nil {
		t.Fatal(err)
	}
	if n := <-written; n != 3 {
		t.Errorf("written: got %d, want 3", n)
	}
	for _, p := range ps {
		if got := text(t, p.message(protocol.IOPub)); got != "x" {
			t.Errorf("got %q, want x", got)
		}
	}
}

// publishUntilFull publishes to subscribers of which none reads until there is
// no room, and returns how many messages were taken.
func publishUntilFull(t *testing.T, c *Conn, written func(int)) int {
	t.Helper()
	pad := strings.Repeat("x", 20_000)
	for i := 0; ; i++ {
		ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
		err := c.Publish(ctx, stream(t, fmt.Sprint(i, " ", pad)), written)
		cancel()
		if errors.Is(err, context.DeadlineExceeded) {
			return i
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// A subscriber that does not read, alone, makes Publish wait, with a bounded
// queue, for longer than the grace period; then everything arrives in order.
func TestStuckSoleSubscriber(t *testing.T) {
	const bound = 512 << 10
	c := listen(t, &Options{Linger: -1, QueueBytes: bound, Grace: 20 * time.Millisecond})
	p := connectSub(t, c)
	var written atomic.Int64
	n := publishUntilFull(t, c, func(n int) {
		if n != 1 {
			t.Errorf("written: got %d, want 1", n)
		}
		written.Add(1)
	})
	c.iopub.mu.Lock()
	for p := range c.iopub.subs {
		if queued, _ := p.load(time.Now()); queued > bound {
			t.Errorf("%d bytes are queued, more than the bound of %d", queued, bound)
		}
	}
	c.iopub.mu.Unlock()
	for i := range n {
		if got, _, _ := strings.Cut(text(t, p.message(protocol.IOPub)), " "); got != fmt.Sprint(i) {
			t.Fatalf("message %d: got %s", i, got)
		}
	}
	eventually(t, "all are said to be written", func() bool { return written.Load() == int64(n) })
}

// One that went away has got nothing: written says so.
func TestWrittenWhenSubscriberGoes(t *testing.T) {
	c := listen(t, &Options{Linger: -1, QueueBytes: 512 << 10})
	p := connectSub(t, c)
	var mu sync.Mutex
	counts := map[int]int{}
	n := publishUntilFull(t, c, func(n int) {
		mu.Lock()
		defer mu.Unlock()
		counts[n]++
	})
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "written was called for all", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return counts[0]+counts[1] == n
	})
	mu.Lock()
	defer mu.Unlock()
	if counts[0] == 0 || len(counts) > 2 {
		t.Errorf("got %v, want some that reached nobody", counts)
	}
}

// One subscriber that reads gets everything in order while another is stuck;
// the stuck one is cut off after the grace period.
func TestStuckSubscriberHoldsNobodyBack(t *testing.T) {
	const messages, bound = 8_000, 2 << 20
	c := listen(t, &Options{Linger: -1, QueueBytes: bound, Grace: 300 * time.Millisecond})
	stuck := connectSub(t, c)
	well := connectSub(t, c)
	read := make(chan error, 1)
	go func() {
		for i := range messages {
			frames, err := well.read()
			if err != nil {
				read <- fmt.Errorf("message %d: %w", i, err)
				return
			}
			if want := fmt.Sprintf(`"text":"%d `, i); !strings.Contains(string(frames[6]), want) {
				read <- fmt.Errorf("message %d: got %.40s", i, frames[6])
				return
			}
		}
		read <- nil
	}()
	pad := strings.Repeat("x", 2_000)
	var last sync.WaitGroup
	var alone atomic.Int64
	for i := range messages {
		last.Add(1)
		err := c.Publish(within(t), stream(t, fmt.Sprintf("%d %s", i, pad)), func(n int) {
			if n == 1 {
				alone.Add(1)
			}
			last.Done()
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	last.Wait()
	if alone.Load() == 0 {
		t.Error("the stuck subscriber was counted to the end")
	}
	stuck.closed()
	eventually(t, "only one is subscribed", func() bool { return c.Subscribers() == 1 })
}

// Two that read as fast as they can are both served to the end, though one is
// slower and there is more to read than any queue holds.
func TestSlowerSubscriberIsServed(t *testing.T) {
	const messages = 2_000
	c := listen(t, &Options{Linger: -1, QueueBytes: 512 << 10, Grace: patience})
	pad := strings.Repeat("x", 32<<10)
	read := make(chan error, 2)
	for _, pause := range []time.Duration{0, time.Millisecond} {
		p := connectSub(t, c)
		go func() {
			for i := range messages {
				frames, err := p.read()
				if err == nil && !strings.Contains(string(frames[6]), fmt.Sprintf(`"text":"%d `, i)) {
					err = fmt.Errorf("got %.40s", frames[6])
				}
				if err != nil {
					read <- fmt.Errorf("pause %v, message %d: %w", pause, i, err)
					return
				}
				time.Sleep(pause) // that is what makes it slow
			}
			read <- nil
		}()
	}
	for i := range messages {
		if err := c.Publish(within(t), stream(t, fmt.Sprint(i, " ", pad)), nil); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		if err := <-read; err != nil {
			t.Error(err)
		}
	}
}

// A stuck subscriber whose queue has room is not waited for either, but it is
// not cut off: it may come back, and has missed nothing.
func TestLateSubscriberComesBack(t *testing.T) {
	c := listen(t, &Options{Linger: -1, QueueBytes: 64 << 20, Grace: 50 * time.Millisecond})
	late := connectSub(t, c)
	well := connectSub(t, c)
	pad := strings.Repeat("x", 1<<20)
	const messages = 30 // more than the system buffers for a connection
	var counts [messages]atomic.Int64
	var all sync.WaitGroup
	for i := range messages {
		all.Add(1)
		err := c.Publish(within(t), stream(t, fmt.Sprint(i, " ", pad)), func(n int) { counts[i].Store(int64(n)); all.Done() })
		if err != nil {
			t.Fatal(err)
		}
		well.message(protocol.IOPub)
	}
	all.Wait() // the late one has read nothing
	if n := counts[messages-1].Load(); n != 1 {
		t.Errorf("last message: written to %d, want 1", n)
	}
	for i := range messages {
		if got, _, _ := strings.Cut(text(t, late.message(protocol.IOPub)), " "); got != fmt.Sprint(i) {
			t.Fatalf("late subscriber, message %d: got %s", i, got)
		}
	}
	eventually(t, "the late one is counted again", func() bool {
		n := make(chan int, 1)
		if err := c.Publish(within(t), stream(t, "again"), func(k int) { n <- k }); err != nil {
			t.Fatal(err)
		}
		return <-n == 2
	})
}

// Live messages never wait; who has twice the bound in its queue is cut off.
func TestSendNeverBlocks(t *testing.T) {
	c := listen(t, &Options{Linger: -1, QueueBytes: 256 << 10})
	stuck := connectSub(t, c)
	n := publishUntilFull(t, c, nil)
	// The queue is full, but a small message still goes in.
	for i := range 3 {
		if err := c.Send(within(t), stream(t, fmt.Sprint("live", i))); err != nil {
			t.Fatal(err)
		}
	}
	for range n {
		stuck.message(protocol.IOPub)
	}
	for i := range 3 {
		if got := text(t, stuck.message(protocol.IOPub)); got != fmt.Sprint("live", i) {
			t.Errorf("got %q, want live%d", got, i)
		}
	}
	publishUntilFull(t, c, nil)
	pad := strings.Repeat("x", 100_000)
	for range 10 {
		if err := c.Send(within(t), stream(t, pad)); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the stuck one is cut off", func() bool { return c.Subscribers() == 0 })
}

func TestPublishInOrderFromManyCallers(t *testing.T) {
	c := listen(t, nil)
	p := connectSub(t, c)
	const callers, each = 8, 200
	var wg sync.WaitGroup
	for k := range callers {
		wg.Go(func() {
			for i := range each {
				if err := c.Publish(context.Background(), stream(t, fmt.Sprint(k, " ", i)), nil); err != nil {
					t.Error(err)
				}
			}
		})
	}
	var next [callers]int
	for range callers * each {
		var k, i int
		if _, err := fmt.Sscan(text(t, p.message(protocol.IOPub)), &k, &i); err != nil {
			t.Fatal(err)
		}
		if i != next[k] {
			t.Fatalf("caller %d: got %d, want %d", k, i, next[k])
		}
		next[k]++
	}
	wg.Wait()
}

// What was published before Close arrives, also at one who reads slowly.
func TestCloseDelivers(t *testing.T) {
	for _, n := range []int{1, 500, 3000} {
		for _, slow := range []bool{false, true} {
			t.Run(fmt.Sprintf("%d slow=%v", n, slow), func(t *testing.T) {
				c := listen(t, &Options{Linger: patience})
				p := connectSub(t, c)
				p.send([]byte("\x01never read by the kernel")) // unread bytes make a close a reset
				for i := range n {
					if err := c.Publish(within(t), stream(t, fmt.Sprint(i, " ", strings.Repeat("x", 2000))), nil); err != nil {
						t.Fatal(err)
					}
				}
				closed := make(chan error, 1)
				go func() { closed <- c.Close() }()
				if slow {
					<-c.closing // nothing has been read yet
				}
				for i := 0; i < n; {
					m := p.message(protocol.IOPub)
					if m.Header.MsgType == "iopub_welcome" {
						continue
					}
					if got, _, _ := strings.Cut(text(t, m), " "); got != fmt.Sprint(i) {
						t.Fatalf("message %d: got %s", i, got)
					}
					i++
				}
				p.closed()
				if err := p.Close(); err != nil {
					t.Fatal(err)
				}
				if err := <-closed; err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// Close waits for a peer that does not read no longer than the linger time.
func TestCloseGivesUp(t *testing.T) {
	c := listen(t, &Options{Linger: 50 * time.Millisecond, QueueBytes: 512 << 10})
	connectSub(t, c)
	dialRaw(t, c, c.Info().ShellPort)
	publishUntilFull(t, c, nil)
	done := make(chan error, 1)
	go func() { done <- c.Close() }()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("Close hangs")
	}
}
