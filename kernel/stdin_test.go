package kernel_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gokernel/gokernel/kernel/kerneltest"
	"github.com/gokernel/gokernel/protocol"
)

// asks returns a handler that asks for a line and prints it.
func asks(r *kerneltest.Run) {
	text, err := r.Input("name? ")
	if err != nil {
		r.Error("KeyboardInterrupt", err.Error())
		return
	}
	r.Publish(&protocol.Stream{Name: protocol.Stdout, Text: text})
	r.OK()
}

func TestInputReply(t *testing.T) {
	tests := []struct {
		name     string
		identity string
		parent   func(request, prompt string) string
		answered bool
	}{
		{"with the prompt as parent", "c", func(_, prompt string) string { return prompt }, true},
		{"with the execute_request as parent", "c", func(request, _ string) string { return request }, true},
		{"without a parent, as jupyter_client sends it", "c", func(_, _ string) string { return "" }, true},
		{"with another parent is ignored", "c", func(_, _ string) string { return "else" }, false},
		{"of somebody else is ignored", "d", func(_, prompt string) string { return prompt }, false},
		{"of somebody else without a parent is ignored", "d", func(_, _ string) string { return "" }, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			withTracker(t, kerneltest.Config{Handler: asks}, func(t *testing.T, tr *tracker, sess *kerneltest.Session) {
				m := tr.request(t, protocol.Shell, execute("input()"), "c", "")
				wantAcked(t, sess, 2, cursor(2)) // the prompt is held until it is answered
				prompt := tr.last(&tr.replies)
				if prompt.Header.MsgType != "input_request" || prompt.Channel != protocol.Stdin || string(prompt.Identities[0]) != "c" {
					t.Fatalf("last sent = %s on %s, want the prompt on stdin to c", prompt.Header.MsgType, prompt.Channel)
				}
				tr.request(t, protocol.Stdin, &protocol.InputReply{Value: "Ada"}, test.identity, test.parent(m.Header.MsgID, prompt.Header.MsgID))
				synctest.Wait()
				if got := slices.Contains(tr.types(&tr.iopub), "stream"); got != test.answered {
					t.Errorf("answered = %v, want %v", got, test.answered)
				}
				if test.answered {
					wantAcked(t, sess, 5)
				}
			})
		})
	}
}

func TestInvalidInputReplyLeavesThePrompt(t *testing.T) {
	withTracker(t, kerneltest.Config{Handler: asks}, func(t *testing.T, tr *tracker, sess *kerneltest.Session) {
		tr.request(t, protocol.Shell, execute("input()"), "c", "")
		tr.request(t, protocol.Stdin, &protocol.Unknown{Type: "input_reply", Raw: []byte(`{"value":1}`)}, "c", "")
		wantAcked(t, sess, 2, cursor(2))
		tr.request(t, protocol.Stdin, &protocol.InputReply{Value: "Ada"}, "c", "")
		wantAcked(t, sess, 5)
	})
}

func TestPromptIsOfferedAgainUnderTheSameIDWhenItsClientIsBack(t *testing.T) {
	withTracker(t, kerneltest.Config{Handler: asks}, func(t *testing.T, tr *tracker, sess *kerneltest.Session) {
		tr.leave("c")
		tr.request(t, protocol.Shell, execute("input()"), "c", "")
		wantAcked(t, sess, 2, cursor(2))
		for i := range 2 { // once because it was away, once because it may have lost the first
			tr.arrive("c")
			time.Sleep(time.Millisecond)
			synctest.Wait()
			if got := len(tr.replies); got != i+1 {
				t.Fatalf("%d prompts after %d arrivals, want as many", got, i+1)
			}
		}
		first, second := tr.replies[0].Header, tr.replies[1].Header
		if first.MsgID != second.MsgID || first.Date == second.Date {
			t.Errorf("prompts = %+v and %+v, want the same id and another date", first, second)
		}
		tr.request(t, protocol.Stdin, &protocol.InputReply{Value: "Ada"}, "c", second.MsgID)
		wantAcked(t, sess, 5)
		tr.arrive("c")
		wantAcked(t, sess, 5)
		if got := tr.types(&tr.replies); !slices.Equal(got, []string{"input_request", "input_request", "execute_reply"}) {
			t.Errorf("sent = %q, want nothing more after the answer", got)
		}
	})
}

func TestPromptIsGoneWhenItsRequestHasBeenAnswered(t *testing.T) {
	withTracker(t, kerneltest.Config{Handler: asks}, func(t *testing.T, tr *tracker, sess *kerneltest.Session) {
		tr.request(t, protocol.Shell, execute("input()"), "c", "")
		synctest.Wait()
		tr.request(t, protocol.Control, &protocol.InterruptRequest{}, "c", "")
		wantAcked(t, sess, 5)
		tr.arrive("c")
		wantAcked(t, sess, 5)
		if got := tr.types(&tr.replies); slices.Index(got, "input_request") != 0 || slices.Contains(got[1:], "input_request") {
			t.Errorf("sent = %q, want the prompt once", got)
		}
	})
}

func TestPromptWithPasswordKeepsItsContent(t *testing.T) {
	withTracker(t, kerneltest.Config{}, func(t *testing.T, tr *tracker, sess *kerneltest.Session) {
		f := output()
		f.Channel, f.MsgType, f.Identities = protocol.Stdin, "input_request", [][]byte{[]byte("c")}
		f.Content = []byte(`{"prompt":"key: ","password":true}`)
		sess.Emit(f)
		synctest.Wait()
		if got := string(tr.last(&tr.replies).Content); got != string(f.Content) {
			t.Errorf("content = %s, want %s", got, f.Content)
		}
	})
}
