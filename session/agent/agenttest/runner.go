//go:build unix

package agenttest

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gokernel/gokernel/session/wire"
)

// A Language is the scripted language, for agent.Options. Its programs are
// commands, one a line:
//
//	print TEXT    raw TEXT     to stdout; as a library would, to descriptor 1
//	error TEXT    out T JSON   to stderr; an output of type T with this content
//	flood N       chunk N K    N bytes to descriptor 1; N streams of K bytes
//	late ID TEXT               output of the request ID
//	set NAME VALUE  get NAME   variables
//	pid                        the runner's
//	interpreter                that it was started with
//	dir           env NAME     its working directory; a variable of its environment
//	fill N        burn N       N MiB of memory for a moment; N ms of processor time
//	fail NAME                  raises an error
//	die N         kill         ends the runner with status N; by SIGKILL
//	wait FILE                  until the file is there, or an interrupt
//	spin FILE                  likewise, but nothing short of SIGKILL ends it
//	touch FILE                 makes a file
//	input PROMPT               asks
//	child                      starts a process that outlives the runner
//	call ID METHOD ARGS        asks the agent in the name of the request ID, - for
//	                           its own, and prints the answer
//	calls N METHOD             likewise, N times, without waiting
//	bad           garbage      outputs that are not well-formed; bytes that are no packet
//	deaf FILE                  makes FILE, and reads no packet any more
type Language struct{}

// Install returns the test binary.
func (Language) Install(string) (string, error) { return os.Executable() }

// Command returns how the runner is started.
func (Language) Command(interpreter, program string) []string { return []string{program, interpreter} }

// Variables of a runner's environment.
const (
	// FailStart makes the runner write its value to stderr and end with status 4.
	FailStart = "GOKERNEL_TEST_FAIL_START"
	// SlowStart names a file that the runner waits for before it is ready.
	SlowStart = "GOKERNEL_TEST_SLOW_START"
	// SlowBegin names a file that the runner makes when a request has come, and
	// another one, behind a colon, that it waits for before it begins with it.
	SlowBegin = "GOKERNEL_TEST_SLOW_BEGIN"
)

// Env returns this process's environment with what makes the test binary a
// runner.
func Env(more ...string) []string {
	return append(append(os.Environ(), runnerVariable+"=1"), more...)
}

// A scripted is the runner's state.
type scripted struct {
	out     *os.File
	in      *wire.Reader
	count   int
	vars    map[string]string
	sigint  chan os.Signal
	prompts int
	asked   int
}

func runner() int {
	s := &scripted{out: os.NewFile(3, "channel"), vars: map[string]string{}, sigint: make(chan os.Signal, 8)}
	s.in = wire.NewReader(s.out, 0)
	signal.Notify(s.sigint, syscall.SIGINT)
	if text := os.Getenv(FailStart); text != "" {
		fmt.Fprintln(os.Stderr, text)
		return 4
	}
	if file := os.Getenv(SlowStart); file != "" {
		WaitFile(file)
	}
	s.send(map[string]any{"type": "ready"}, []byte(`{"implementation":"scripted","language_info":{"name":"script","version":"1"},"banner":"hello","pid":1}`))
	for {
		p, err := s.in.Read()
		if err != nil {
			return 0
		}
		var h struct {
			Type    string            `json:"type"`
			ID      string            `json:"id"`
			MsgType string            `json:"msg_type"`
			Cwd     string            `json:"cwd"`
			Env     map[string]string `json:"env"`
		}
		if json.Unmarshal(p.Head, &h) != nil {
			return 1
		}
		switch h.Type {
		case "shutdown":
			return 0
		case "request":
			restore := surround(h.Cwd, h.Env)
			s.request(h.ID, h.MsgType, p)
			restore()
			s.send(map[string]any{"type": "done", "id": h.ID})
		}
	}
}

// surround sets working directory and environment for a request.
func surround(dir string, env map[string]string) (restore func()) {
	before, err := os.Getwd()
	if err != nil || dir != "" && os.Chdir(dir) != nil {
		os.Exit(7)
	}
	var undo []func() error
	for name, value := range env {
		old, had := os.LookupEnv(name)
		if os.Setenv(name, value) != nil {
			os.Exit(7)
		}
		undo = append(undo, func() error {
			if had {
				return os.Setenv(name, old)
			}
			return os.Unsetenv(name)
		})
	}
	return func() {
		if os.Chdir(before) != nil {
			os.Exit(7)
		}
		for _, f := range undo {
			if f() != nil {
				os.Exit(7)
			}
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
	if got, begin, ok := strings.Cut(os.Getenv(SlowBegin), ":"); ok {
		_ = os.WriteFile(got, nil, 0o600)
		WaitFile(begin)
		for len(s.sigint) > 0 { // of before: this one does not run yet
			<-s.sigint
			_, _ = syscall.Read(4, make([]byte, 4096))
		}
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
	case "error":
		s.send(map[string]any{"type": "stream", "id": id, "name": "stderr"}, []byte(rest+"\n"))
	case "out":
		msgType, content, _ := strings.Cut(rest, " ")
		s.output(id, msgType, content)
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
	case "interpreter":
		s.print(id, os.Args[1]+"\n")
	case "dir":
		dir, err := os.Getwd()
		if err != nil {
			return "DirError"
		}
		s.print(id, dir+"\n")
	case "env":
		s.print(id, os.Getenv(rest)+"\n")
	case "fill":
		n, _ := strconv.Atoi(rest)
		if fill(n<<20) != nil {
			return "MemoryError"
		}
	case "burn":
		n, _ := strconv.Atoi(rest)
		for end := spent() + time.Duration(n)*time.Millisecond; spent() < end; {
		}
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
	case "spin":
		signal.Ignore(syscall.SIGINT, syscall.SIGTERM)
		WaitFile(rest)
	case "chunk":
		var n, k int
		if _, err := fmt.Sscan(rest, &n, &k); err != nil {
			return "SyntaxError"
		}
		text := strings.Repeat("z", k)
		for range n {
			s.print(id, text)
		}
	case "deaf":
		_ = os.WriteFile(rest, nil, 0o600)
		signal.Ignore(syscall.SIGINT, syscall.SIGTERM)
		select {}
	case "touch":
		if os.WriteFile(rest, nil, 0o600) != nil {
			return "TouchError"
		}
	case "input":
		return s.input(id, rest)
	case "call":
		return s.call(id, rest)
	case "calls":
		n, _ := strconv.Atoi(strings.Fields(rest)[0])
		for range n {
			s.asked++
			s.send(map[string]any{"type": "call", "id": id, "call": s.asked, "method": strings.Fields(rest)[1]}, []byte("{}"))
		}
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

// call asks the agent and prints what it answers.
func (s *scripted) call(id, line string) string {
	words := strings.SplitN(line, " ", 3)
	if len(words) < 3 {
		return "SyntaxError"
	}
	as := words[0]
	if as == "-" {
		as = id
	}
	s.asked++
	s.send(map[string]any{"type": "call", "id": as, "call": s.asked, "method": words[1]}, []byte(words[2]))
	for {
		p, err := s.in.Read()
		if err != nil {
			os.Exit(0)
		}
		var h struct {
			Type  string `json:"type"`
			Call  int    `json:"call"`
			Error string `json:"error"`
		}
		if json.Unmarshal(p.Head, &h) != nil {
			os.Exit(1)
		}
		switch {
		case h.Type == "shutdown":
			os.Exit(0)
		case h.Type != "result" || h.Call != s.asked:
		case h.Error != "":
			s.print(id, "refused: "+h.Error+"\n")
			return ""
		default:
			s.print(id, string(p.Part(0))+"\n")
			return ""
		}
	}
}

// fill fills memory, of which the Go runtime knows nothing, and gives it back.
func fill(size int) error {
	b, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		return err
	}
	zero, err := os.Open("/dev/zero")
	if err != nil {
		return err
	}
	defer zero.Close()
	if _, err := io.ReadFull(zero, b); err != nil {
		return err
	}
	return unix.Munmap(b)
}

// spent returns the processor time that this process has used.
func spent() time.Duration {
	var usage unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &usage) != nil {
		os.Exit(6)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
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

// WaitFile waits until a file is there.
func WaitFile(file string) {
	for {
		if _, err := os.Stat(file); err == nil {
			return
		}
		time.Sleep(2 * time.Millisecond) // no event that is the same on all systems: look again
	}
}
