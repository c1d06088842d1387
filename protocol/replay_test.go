package protocol

import (
	"errors"
	"fmt"
	"sync"
	"testing"
)

func TestReplay(t *testing.T) {
	s := newSigner(t, "", "secret")
	frames := func(n int) [][]byte {
		f, err := EncodeFrames(&Message{Channel: Shell, Header: Header{MsgID: fmt.Sprint(n), MsgType: "x"}}, s)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	var r Replay
	first := frames(0)
	if err := r.Check(first); err != nil {
		t.Fatalf("first time: %v", err)
	}
	if err := r.Check(first); !errors.Is(err, ErrReplay) {
		t.Errorf("second time: %v, want %v", err, ErrReplay)
	}
	for i := 1; i <= replayHistory; i++ {
		if err := r.Check(frames(i)); err != nil {
			t.Fatalf("message %d: %v", i, err)
		}
	}
	if got := len(r.seen); got != replayHistory {
		t.Errorf("%d signatures are remembered, want %d", got, replayHistory)
	}
	if err := r.Check(frames(replayHistory)); !errors.Is(err, ErrReplay) {
		t.Errorf("newest again: %v, want %v", err, ErrReplay)
	}
	if err := r.Check(first); err != nil {
		t.Errorf("oldest again: %v, want it forgotten", err)
	}
}

func TestReplayOff(t *testing.T) {
	s := newSigner(t, "", "secret")
	signed, err := EncodeFrames(sample(), s)
	if err != nil {
		t.Fatal(err)
	}
	unsigned, err := EncodeFrames(sample(), nil)
	if err != nil {
		t.Fatal(err)
	}
	var off *Replay
	var on Replay
	for range 2 {
		if err := off.Check(signed); err != nil {
			t.Errorf("nil Replay: %v", err)
		}
		if err := on.Check(unsigned); err != nil {
			t.Errorf("unsigned message: %v", err)
		}
	}
}

func TestReplayConcurrently(t *testing.T) {
	s := newSigner(t, "", "secret")
	frames, err := EncodeFrames(sample(), s)
	if err != nil {
		t.Fatal(err)
	}
	var r Replay
	var wg sync.WaitGroup
	passed := make(chan struct{}, 8)
	for range cap(passed) {
		wg.Go(func() {
			if _, err := DecodeFrames(frames, s, Shell); err != nil {
				t.Error(err)
			}
			if r.Check(frames) == nil {
				passed <- struct{}{}
			}
		})
	}
	wg.Wait()
	if got := len(passed); got != 1 {
		t.Errorf("%d of %d copies passed, want 1", got, cap(passed))
	}
}
