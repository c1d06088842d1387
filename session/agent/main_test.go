package agent

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/gokernel/gokernel/session/wire"
)

// runnerVariable makes the test binary a runner: it evaluates a tiny language,
// one command a line, so that agents are tested with real processes but
// without an interpreter.
const runnerVariable = "GOKERNEL_TEST_RUNNER"

func TestMain(m *testing.M) {
	if os.Getenv(runnerVariable) != "" {
		os.Exit(scriptedRunner())
	}
	if arg := os.Getenv(agentVariable); arg != "" {
		os.Exit(childAgent(arg))
	}
	goleak.VerifyTestMain(m)
}

// A scripted is the runner's state.
type scripted struct {
	out     *os.File
	in      *wire.Reader
	count   int
	vars    map[string]string
	sigint  chan os.Signal
	prompts int
}

func scriptedRunner() int {
	s := &scripted{out: os.NewFile(3, "channel"), vars: map[string]string{}, sigint: make(chan os.Signal, 8)}
	s.in = wire.NewReader(s.out, 0)
	signal.Notify(s.sigint, syscall.SIGINT)
	if text := os.Getenv("GOKERNEL_TEST_FAIL_START"); text != "" {
		fmt.Fprintln(os.Stderr, text)
		return 4
	}
	if file := os.Getenv("GOKERNEL_TEST_SLOW_START"); file != "" {
		waitFile(file)
	}
	s.send(map[string]any{"type": "ready"}, []byte(`{"implementation":"scripted","language_info":{"name":"script","version":"1"},"banner":"hello","pid":1}`))
	for {
		p, err := s.in.Read()
		if err != nil {
			return 0
		}
		var h struct {
			Type    string `json:"type"`
			ID      string `json:"id"`
			MsgType string `json:"msg_type"`
		}
		if json.Unmarshal(p.Head, &h) != nil {
			return 1
		}
		switch h.Type {
		case "shutdown":
			return 0
		case "request":
			s.request(h.ID, h.MsgType, p)
			s.send(map[string]any{"type": "done", "id": h.ID})
		}
	}
}

func (s *scripted) send(head any, parts ...[]byte) {
	p, err := wire.NewPacket(head, parts...)
	if err == nil {
		_, err = p.WriteTo(s.out)
	}
	if err != nil {
		os.Exit(9)
	}
}

func (s *scripted) output(id, msgType, content string) {
	s.send(map[string]any{"type": "output", "id": id, "msg_type": msgType}, []byte(content), []byte("{}"))
}

func (s *scripted) print(id, text string) {
	s.send(map[string]any{"type": "stream", "id": id, "name": "stdout"}, []byte(text))
}

func (s *scripted) request(id, msgType string, p *wire.Packet) {
	var content struct {
		Code   string `json:"code"`
		Silent bool   `json:"silent"`
	}
	if json.Unmarshal(p.Part(0), &content) != nil {
		os.Exit(8)
	}
	if strings.HasPrefix(msgType, "comm_") {
		return
	}
	reply := strings.TrimSuffix(msgType, "_request") + "_reply"
	if msgType != "execute_request" {
		s.send(map[string]any{"type": "reply", "id": id, "msg_type": reply}, []byte(`{"status":"ok"}`), []byte("{}"))
		return
	}
	s.count++
	if !content.Silent {
		s.output(id, "execute_input", fmt.Sprintf(`{"code":%q,"execution_count":%d}`, content.Code, s.count))
	}
	for line := range strings.Lines(content.Code) {
		if err := s.command(id, strings.TrimSpace(line)); err != "" {
			s.output(id, "error", fmt.Sprintf(`{"ename":%q,"evalue":"","traceback":[]}`, err))
			s.send(map[string]any{"type": "reply", "id": id, "msg_type": reply},
				fmt.Appendf(nil, `{"status":"error","ename":%q,"evalue":"","traceback":[],"execution_count":%d}`, err, s.count), []byte("{}"))
			return
		}
	}
	s.send(map[string]any{"type": "reply", "id": id, "msg_type": reply},
		fmt.Appendf(nil, `{"status":"ok","execution_count":%d,"payload":[],"user_expressions":{}}`, s.count), []byte("{}"))
}

// command runs one line and returns the name of the error it raises, or "".
func (s *scripted) command(id, line string) string {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "":
	case "print":
		s.print(id, rest+"\n")
	case "raw": // to descriptor 1, as a library would
		fmt.Fprintln(os.Stdout, rest)
	case "flood": // n bytes to descriptor 1
		n, _ := strconv.Atoi(rest)
		os.Stdout.WriteString(strings.Repeat("x", n))
	case "late": // output of a request named by id
		other, text, _ := strings.Cut(rest, " ")
		s.print(other, text+"\n")
	case "set":
		name, value, _ := strings.Cut(rest, " ")
		s.vars[name] = value
	case "get":
		s.print(id, s.vars[rest]+"\n")
	case "pid":
		s.print(id, fmt.Sprintln(os.Getpid()))
	case "fail":
		return rest
	case "die":
		n, _ := strconv.Atoi(rest)
		os.Exit(n)
	case "kill":
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {}
	case "wait": // until the file is there, or interrupted
		return s.wait(id, rest)
	case "touch":
		if os.WriteFile(rest, nil, 0o600) != nil {
			return "TouchError"
		}
	case "input":
		return s.input(id, rest)
	case "child": // a process that outlives its parent
		cmd := exec.Command("sleep", "300")
		if cmd.Start() != nil {
			return "ChildError"
		}
		s.print(id, fmt.Sprintln(cmd.Process.Pid))
	case "bad":
		s.send(map[string]any{"type": "output", "id": id, "msg_type": "display_data"}, []byte(`{"data":`), []byte("{}"))
		s.send(map[string]any{"type": "output", "id": id, "msg_type": "status"}, []byte(`{"execution_state":"dead"}`), []byte("{}"))
	case "garbage":
		s.out.WriteString("\xff\xff\xff\xff\xff\xff\xff\xff")
		select {}
	default:
		return "UnknownCommand"
	}
	return ""
}

func (s *scripted) wait(id, file string) string {
	for {
		if _, err := os.Stat(file); err == nil {
			return ""
		}
		select {
		case <-s.sigint:
			buf := make([]byte, 4096)
			n, _ := syscall.Read(4, buf)
			if strings.Contains(string(buf[:max(n, 0)]), id) {
				return "KeyboardInterrupt"
			}
		case <-time.After(2 * time.Millisecond):
		}
	}
}

func (s *scripted) input(id, prompt string) string {
	s.prompts++
	s.send(map[string]any{"type": "input_request", "id": id, "prompt": s.prompts}, fmt.Appendf(nil, `{"prompt":%q,"password":false}`, prompt))
	for {
		p, err := s.in.Read()
		if err != nil {
			os.Exit(0)
		}
		if p.Type() == "input_reply" {
			var v struct {
				Value string `json:"value"`
			}
			_ = json.Unmarshal(p.Part(0), &v)
			s.print(id, "got "+v.Value+"\n")
			return ""
		}
	}
}

func waitFile(file string) {
	for {
		if _, err := os.Stat(file); err == nil {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}
