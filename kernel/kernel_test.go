package kernel_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/gokernel/gokernel/kernel"
	"github.com/gokernel/gokernel/kernel/kerneltest"
	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

func TestExecuteIsBusyOutputsReplyIdle(t *testing.T) {
	c, sess, _ := start(t, kerneltest.Config{}, nil)
	m, reply := c.Execute("1 + 1")
	c.Expect(m, "iopub status busy", "iopub execute_input", "iopub stream", "shell execute_reply ok", "iopub status idle")
	if reply.ExecutionCount == nil || *reply.ExecutionCount != 1 {
		t.Errorf("execution_count = %v, want 1", reply.ExecutionCount)
	}
	sess.WaitAcked(t)
}

func TestMessagesCarryTheKernelsHeader(t *testing.T) {
	c, sess, _ := start(t, kerneltest.Config{ID: "s"}, &kernel.Options{Username: "ada"})
	m, _ := c.Execute("x")
	ids := map[string]bool{}
	session := c.Messages(m)[0].Header.Session
	for i, r := range c.Messages(m) {
		h := r.Header
		if want := fmt.Sprintf("s-1-%d", i+1); h.MsgID != want {
			t.Errorf("msg_id of %s = %q, want %q", h.MsgType, h.MsgID, want)
		}
		if h.Session != session || h.Session == "" || h.Username != "ada" || h.Version != protocol.Version || h.Date == "" {
			t.Errorf("header of %s = %+v, want session %q, user ada, version %s and a date", h.MsgType, h, session, protocol.Version)
		}
		ids[h.MsgID] = true
	}
	if session == sess.ID() {
		t.Errorf("header.session = %q, want the front's own", session)
	}
}

func TestQueuedRequestsGoToTheSessionAsTheyCame(t *testing.T) {
	c, sess, _ := start(t, kerneltest.Config{}, nil)
	tests := []struct {
		channel protocol.Channel
		content protocol.Content
		reply   string
	}{
		{protocol.Shell, execute("x"), "shell execute_reply ok"},
		{protocol.Control, execute("x"), "control execute_reply ok"},
		{protocol.Shell, &protocol.CompleteRequest{Code: "x"}, "shell complete_reply ok"},
		{protocol.Shell, &protocol.InspectRequest{Code: "x"}, "shell inspect_reply ok"},
		{protocol.Shell, &protocol.IsCompleteRequest{Code: "x"}, "shell is_complete_reply ok"},
		{protocol.Shell, &protocol.HistoryRequest{HistAccessType: "tail"}, "shell history_reply ok"},
		{protocol.Control, &protocol.CommInfoRequest{}, "control comm_info_reply ok"},
		{protocol.Shell, &protocol.CommOpen{CommID: "c", TargetName: "t", Data: json.RawMessage("{}")}, ""},
		{protocol.Shell, &protocol.CommMsg{CommID: "c", Data: json.RawMessage("{}")}, ""},
		{protocol.Shell, &protocol.CommClose{CommID: "c", Data: json.RawMessage("{}")}, ""},
	}
	for i, test := range tests {
		m, err := protocol.New(test.channel, test.content, nil)
		if err != nil {
			t.Fatal(err)
		}
		m.Metadata = []byte(`{"cellId":"7"}`)
		m.Buffers = [][]byte{{1}, {}}
		c.Send(m)
		c.Idle(m)
		got := c.Transcript(m)
		if test.reply != "" && !slices.Contains(got, test.reply) {
			t.Errorf("transcript of %s = %q, want %q in it", test.content.MsgType(), got, test.reply)
		}
		if test.reply == "" && slices.ContainsFunc(got, func(l string) bool { return strings.Contains(l, "_reply") }) {
			t.Errorf("transcript of %s = %q, want no reply", test.content.MsgType(), got)
		}
		r := sess.Requests()[i]
		header, err := m.HeaderJSON()
		if err != nil {
			t.Fatal(err)
		}
		if r.MsgType != m.Header.MsgType || string(r.Content) != string(m.Content) || string(r.Metadata) != string(m.Metadata) ||
			len(r.Buffers) != 2 || r.Origin.Channel != test.channel || string(r.Origin.Header) != string(header) {
			t.Errorf("request %d = %+v, want what was sent: %+v", i, r, m)
		}
	}
	ids := map[string]bool{}
	for _, r := range sess.Requests() {
		ids[r.ID] = true
	}
	if len(ids) != len(tests) {
		t.Errorf("%d different request ids, want %d", len(ids), len(tests))
	}
}

func TestOriginCarriesTheReturnAddressAndRepliesGoThere(t *testing.T) {
	c, sess, _ := start(t, kerneltest.Config{}, nil)
	m, err := protocol.New(protocol.Shell, execute("x"), nil)
	if err != nil {
		t.Fatal(err)
	}
	m.Identities = [][]byte{[]byte("peer"), []byte("hop")}
	c.Send(m)
	reply := c.Reply(m)
	for what, got := range map[string][][]byte{"origin": sess.Requests()[0].Origin.Identities, "reply": reply.Identities} {
		if fmt.Sprintf("%s", got) != "[peer hop]" {
			t.Errorf("identities of the %s = %s, want [peer hop]", what, got)
		}
	}
}

func TestRequestsNameTheLastFramePublished(t *testing.T) {
	c, sess, _ := start(t, kerneltest.Config{}, nil)
	c.Execute("a") // frames 1 to 5
	sess.WaitAcked(t)
	c.Execute("b")
	r := sess.Requests()
	if !r[0].Published.IsZero() {
		t.Errorf("published at the first request = %v, want none", r[0].Published)
	}
	if want := (wire.Cursor{Epoch: 1, Number: 5}); r[1].Published != want {
		t.Errorf("published at the second request = %v, want %v", r[1].Published, want)
	}
}

func TestInvalidRequestIsRefusedWithTheFieldAndDisturbsNothing(t *testing.T) {
	c, sess, _ := start(t, kerneltest.Config{}, nil)
	tests := []struct {
		msgType, content, field string
		want                    []string
	}{
		{"execute_request", `{"code":7}`, "code", []string{"iopub status busy", "iopub error", "shell execute_reply error", "iopub status idle"}},
		{"complete_request", `{"code":"x","cursor_pos":"far"}`, "cursor_pos", []string{"iopub status busy", "shell complete_reply error", "iopub status idle"}},
		{"is_complete_request", `{}`, "code", []string{"iopub status busy", "shell is_complete_reply unknown", "iopub status idle"}},
		{"comm_msg", `{"comm_id":1,"data":{}}`, "", []string{"iopub status busy", "iopub status idle"}},
	}
	for _, test := range tests {
		m := c.Send(&protocol.Message{Channel: protocol.Shell, Header: protocol.NewHeader(test.msgType), Content: []byte(test.content)})
		c.Expect(m, test.want...)
		if test.field == "" {
			continue
		}
		var reply protocol.Reply
		c.Decode(c.Reply(m), &reply)
		if reply.EName != "InvalidRequest" || !strings.Contains(reply.EValue, test.field) {
			t.Errorf("%s refused with %q: %q, want InvalidRequest and the field %q", test.msgType, reply.EName, reply.EValue, test.field)
		}
	}
	if got := len(sess.Requests()); got != 0 {
		t.Errorf("the session got %d of the invalid requests", got)
	}
	c.Execute("still alive")
}

func TestUnknownTypesAreBusyIdleWithoutReply(t *testing.T) {
	c, _, _ := start(t, kerneltest.Config{}, nil)
	for _, msgType := range []string{"create_subshell_request", "list_subshell_request", "no_such_request", "execute_reply"} {
		m := c.Send(&protocol.Message{Channel: protocol.Control, Header: protocol.NewHeader(msgType)})
		c.Expect(m, "iopub status busy", "iopub status idle")
	}
}

func TestDebugRequestIsAnsweredWithSuccessFalse(t *testing.T) {
	c, _, _ := start(t, kerneltest.Config{}, nil)
	m := c.Request(protocol.Control, &protocol.DebugRequest{Raw: []byte(`{"type":"request","seq":3,"command":"debugInfo"}`)})
	c.Idle(m)
	var r struct {
		Type       string `json:"type"`
		RequestSeq int    `json:"request_seq"`
		Command    string `json:"command"`
		Success    *bool  `json:"success"`
	}
	c.Decode(c.Reply(m), &r)
	if r.Type != "response" || r.RequestSeq != 3 || r.Command != "debugInfo" || r.Success == nil || *r.Success {
		t.Errorf("debug_reply = %+v, want the response to request 3 without success", r)
	}
}

func TestConnectRequestIsAnsweredWithThePorts(t *testing.T) {
	info := &protocol.ConnectionInfo{ShellPort: 1, IOPubPort: 2, StdinPort: 3, ControlPort: 4, HBPort: 5}
	c, _, _ := start(t, kerneltest.Config{}, &kernel.Options{Connection: info})
	var r protocol.ConnectReply
	c.Decode(c.Reply(c.Request(protocol.Shell, &protocol.ConnectRequest{})), &r)
	if r.ShellPort != 1 || r.IOPubPort != 2 || r.StdinPort != 3 || r.ControlPort != 4 || r.HBPort != 5 {
		t.Errorf("connect_reply = %+v, want the ports 1 to 5", r)
	}
}

func TestUsageRequestIsAnsweredFromTheSession(t *testing.T) {
	c, _, _ := start(t, kerneltest.Config{}, nil)
	m := c.Request(protocol.Control, &protocol.UsageRequest{})
	c.Idle(m)
	var r protocol.UsageReply
	c.Decode(c.Reply(m), &r)
	if r.PID != 4711 || r.KernelMemory != 1<<20 || r.KernelCPU != 12.5 || r.CPUCount < 1 || r.Hostname == "" {
		t.Errorf("usage_reply = %+v, want what the session says", r)
	}
	if len(r.HostVirtualMemory) == 0 || r.HostVirtualMemory[0] != '{' {
		t.Errorf("host_virtual_memory = %s, want an object", r.HostVirtualMemory)
	}
}

func TestLateOutputKeepsItsParentAfterIdle(t *testing.T) {
	runs := make(chan *kerneltest.Run, 2)
	c, _, _ := start(t, kerneltest.Config{Handler: func(r *kerneltest.Run) { runs <- r; r.OK() }}, nil)
	first, _ := c.Execute("1")
	second, _ := c.Execute("2")
	(<-runs).Publish(&protocol.Stream{Name: protocol.Stdout, Text: "late"})
	c.WaitFor("late output", func(m *protocol.Message) bool { return m.Header.MsgType == "stream" })
	c.Expect(first, "iopub status busy", "shell execute_reply ok", "iopub status idle", "iopub stream")
	c.Expect(second, "iopub status busy", "shell execute_reply ok", "iopub status idle")
}

func TestStatusWithoutParentIsForwarded(t *testing.T) {
	c, sess, _ := start(t, kerneltest.Config{}, nil)
	c.Execute("opens the gate")
	sess.Emit(&wire.Frame{Channel: protocol.IOPub, MsgType: "status", Content: []byte(`{"execution_state":"restarting"}`)})
	m := c.WaitFor("restarting", func(m *protocol.Message) bool { return strings.Contains(string(m.Content), "restarting") })
	if h, err := m.ParentHeader(); err != nil || h.MsgID != "" {
		t.Errorf("parent = %+v, %v; want none", h, err)
	}
}

func TestProgressFramesAreDeliveredToNobodyAndAcknowledged(t *testing.T) {
	c, sess, _ := start(t, kerneltest.Config{}, nil)
	sess.Emit(&wire.Frame{Kind: wire.KindProgress, Channel: protocol.IOPub, Content: []byte("{}")})
	m, _ := c.Execute("x")
	sess.WaitAcked(t)
	if got, want := len(c.Messages(nil)), len(c.Messages(m)); got != want {
		t.Errorf("%d messages, want the %d of the execute", got, want)
	}
}

func TestPanicInAHandlerIsAnErrorReplyAndIdle(t *testing.T) {
	c, _, _ := start(t, kerneltest.Config{SubmitError: func(r *wire.Request) error {
		if strings.Contains(string(r.Content), "boom") {
			panic("boom")
		}
		return nil
	}}, nil)
	m := c.Request(protocol.Shell, execute("boom"))
	c.Idle(m)
	var r protocol.Reply
	c.Decode(c.Reply(m), &r)
	if r.Status != "error" || r.EName != "InternalError" || strings.Contains(r.EValue, "boom") {
		t.Errorf("reply = %+v, want InternalError without the panic's text", r)
	}
	c.Execute("fine")
}

func TestRequestThatTheSessionRefusesIsAnsweredWithWhy(t *testing.T) {
	c, _, _ := start(t, kerneltest.Config{SubmitError: func(*wire.Request) error { return errors.New("the queue is full") }}, nil)
	m, r := c.Execute("x")
	c.Expect(m, "iopub status busy", "iopub error", "shell execute_reply error", "iopub status idle")
	if r.EValue != "the queue is full" {
		t.Errorf("evalue = %q, want the session's words", r.EValue)
	}
	silent := c.Request(protocol.Shell, &protocol.ExecuteRequest{Code: "x", Silent: true})
	c.Expect(silent, "iopub status busy", "shell execute_reply error", "iopub status idle")
}

func TestFencedKernelStaysUpAnswersKernelInfoAndRefusesTheRest(t *testing.T) {
	c, sess, wait := start(t, kerneltest.Config{Kept: true}, nil)
	c.Reply(c.Request(protocol.Shell, &protocol.KernelInfoRequest{}))
	sess.Fence()
	m, r := c.Execute("x")
	c.Expect(m, "iopub status busy", "iopub error", "shell execute_reply error", "iopub status idle")
	if r.EName != "Fenced" || !strings.Contains(r.EValue, "another kernel") {
		t.Errorf("refused with %q: %q, want Fenced and that another kernel has it", r.EName, r.EValue)
	}
	var info protocol.KernelInfoReply
	c.Decode(c.Reply(c.Request(protocol.Control, &protocol.KernelInfoRequest{})), &info)
	if info.Status != "ok" || info.LanguageInfo.Name != "fake" {
		t.Errorf("kernel_info = %+v, want the language as before", info)
	}
	for _, content := range []protocol.Content{&protocol.CompleteRequest{Code: "x"}, &protocol.HistoryRequest{HistAccessType: "tail"}} {
		var reply protocol.Reply
		c.Decode(c.Reply(c.Request(protocol.Shell, content)), &reply)
		if reply.EName != "Fenced" {
			t.Errorf("reply to %s = %+v, want Fenced", content.MsgType(), reply)
		}
	}
	c.Reply(c.Request(protocol.Control, &protocol.ShutdownRequest{Restart: true}))
	if err := wait(); !errors.Is(err, kernel.ErrShutdown) {
		t.Errorf("Serve = %v, want ErrShutdown", err)
	}
	if got := sess.Calls(); len(got) != 0 {
		t.Errorf("calls on the other kernel's session = %q, want none", got)
	}
}

func TestSessionThatEndsAnswersWhatIsOpenAndEndsServe(t *testing.T) {
	release := make(chan struct{})
	started := make(chan struct{})
	c, sess, wait := start(t, kerneltest.Config{Handler: func(r *kerneltest.Run) {
		close(started)
		r.Wait(release)
	}}, nil)
	running := c.Request(protocol.Shell, execute("running"))
	queued := c.Request(protocol.Shell, execute("queued"))
	c.WaitFor("busy", func(m *protocol.Message) bool { return strings.Contains(string(m.Content), "busy") })
	<-started
	sess.WaitRequests(t, 2)
	sess.End(fmt.Errorf("closed by its user: %w", io.EOF))
	for _, m := range []*protocol.Message{running, queued} {
		var r protocol.Reply
		c.Decode(c.Reply(m), &r)
		if r.EName != "SessionEnded" || !strings.Contains(r.EValue, "closed by its user") {
			t.Errorf("reply = %+v, want SessionEnded and the reason", r)
		}
		c.Idle(m)
	}
	if err := wait(); !errors.Is(err, kernel.ErrSessionEnded) || !strings.Contains(err.Error(), "closed by its user") {
		t.Errorf("Serve = %v, want ErrSessionEnded with the reason", err)
	}
}

func TestServeEndsWithItsContextsCauseAndWithItsConnection(t *testing.T) {
	client, conn := kernel.Pipe()
	wait := serve(t, kerneltest.NewSession(t, kerneltest.Config{}), conn, nil)
	if err := client.Close(); err != nil {
		t.Fatal(err)
	}
	if err := wait(); err != nil {
		t.Errorf("Serve after the client closed = %v, want nil", err)
	}

	_, conn = kernel.Pipe()
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(errTestOver)
	k := kernel.New(kerneltest.NewSession(t, kerneltest.Config{}), nil)
	if err := k.Serve(ctx, conn); !errors.Is(err, errTestOver) {
		t.Errorf("Serve = %v, want the context's cause", err)
	}
	if err := k.Serve(ctx, conn); err == nil || errors.Is(err, errTestOver) {
		t.Errorf("second Serve = %v, want a refusal", err)
	}
}
