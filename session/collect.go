package session

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/gokernel/gokernel/protocol"
	"github.com/gokernel/gokernel/session/wire"
)

// A collector makes a Response of what a run sends, and hands it on as it comes.
// It is for one goroutine.
type collector struct {
	r    *Request
	resp *Response

	stdout, stderr text
	displays       map[string][]int // where in Results the displays with an id are
	clearing       bool             // the next output removes the results so far
	raised         *CodeError       // the last error that was shown; nil when the reply has settled it

	replied bool
	status  string // of the reply
	result  *wire.RunResult
	hurt    error // the first error of a writer
}

func newCollector(r *Request, resp *Response) *collector {
	return &collector{
		r: r, resp: resp, displays: map[string][]int{},
		stdout: text{limit: maxText}, stderr: text{limit: maxText},
	}
}

// take takes a message for clients, and reports whether it is the run's last.
func (c *collector) take(f *wire.Frame) (last bool, err error) {
	switch f.MsgType {
	case "stream":
		var s protocol.Stream
		if err = json.Unmarshal(f.Content, &s); err == nil {
			c.clear()
			c.write(s.Name, s.Text)
		}
	case "execute_result", "display_data", "update_display_data":
		err = c.display(f)
	case "clear_output":
		var o protocol.ClearOutput
		if err = json.Unmarshal(f.Content, &o); err == nil {
			c.clearing = true
			if !o.Wait {
				c.clear()
			}
		}
	case "error":
		var e protocol.ErrorOutput
		if err = json.Unmarshal(f.Content, &e); err == nil {
			c.clear()
			c.showRaised()
			c.raised = &CodeError{Name: e.EName, Value: e.EValue, Traceback: e.Traceback}
		}
	case "execute_reply":
		err = c.reply(f)
	case "status":
		var s protocol.Status
		err = json.Unmarshal(f.Content, &s)
		last = s.ExecutionState == protocol.StateIdle
	}
	if err != nil {
		err = fmt.Errorf("%s of a run: %w", f.MsgType, err)
	}
	return last, err
}

// clear removes the results so far, if the code has asked for that. The text of
// streams stays: it has gone out.
func (c *collector) clear() {
	if !c.clearing {
		return
	}
	c.clearing = false
	c.resp.Results = nil
	clear(c.displays)
}

// write takes text of a stream.
func (c *collector) write(name, s string) {
	kept, w := &c.stdout, c.r.Stdout
	if name == protocol.Stderr {
		kept, w = &c.stderr, c.r.Stderr
	}
	kept.add(s)
	if w == nil || c.hurt != nil {
		return
	}
	if _, err := io.WriteString(w, s); err != nil {
		c.hurt = fmt.Errorf("writing %s of the run: %w", name, err)
	}
}

// display takes a rich result.
func (c *collector) display(f *wire.Frame) error {
	var content struct {
		Result
		Transient protocol.Transient `json:"transient"`
	}
	if err := json.Unmarshal(f.Content, &content); err != nil {
		return err
	}
	if f.MsgType == "execute_result" {
		c.resp.Text, _ = content.Data["text/plain"].(string)
	}
	id := content.Transient.DisplayID
	if f.MsgType == "update_display_data" && len(c.displays[id]) > 0 {
		for _, i := range c.displays[id] {
			c.resp.Results[i] = content.Result
		}
	} else { // an update of what another run has shown is a result of its own
		c.clear()
		if id != "" {
			c.displays[id] = append(c.displays[id], len(c.resp.Results))
		}
		c.resp.Results = append(c.resp.Results, content.Result)
	}
	if c.r.OnDisplay != nil {
		c.r.OnDisplay(content.Result)
	}
	return nil
}

// showRaised makes an error that did not end the code text of stderr.
func (c *collector) showRaised() {
	if c.raised != nil {
		c.write(protocol.Stderr, strings.Join(c.raised.Traceback, "\n")+"\n")
		c.raised = nil
	}
}

func (c *collector) reply(f *wire.Frame) error {
	var content protocol.Reply
	if err := json.Unmarshal(f.Content, &content); err != nil {
		return err
	}
	c.replied, c.status = true, content.Status
	switch content.Status {
	case protocol.StatusOK:
		c.resp.Success = true
		c.showRaised()
	case protocol.StatusError:
		c.raised = &CodeError{Name: content.EName, Value: content.EValue, Traceback: content.Traceback}
	}
	var metadata map[string]json.RawMessage
	if len(f.Metadata) == 0 {
		return nil
	}
	if err := json.Unmarshal(f.Metadata, &metadata); err != nil {
		return err
	}
	raw, ok := metadata[wire.RunKey]
	if !ok {
		return nil
	}
	result := new(wire.RunResult)
	if err := json.Unmarshal(raw, result); err != nil {
		return err
	}
	c.result = result
	c.resp.Insights = append(c.resp.Insights, result.Insights...)
	if result.Resources != nil {
		c.resp.Resources = *result.Resources
	}
	for path, d := range result.Files {
		if d.Error != "" {
			c.resp.Files[path] = Downloaded{Err: &transferError{code: d.Code, text: d.Error}}
		}
	}
	return nil
}

// errNotFetched is why a download is not there of a run that ended before.
var errNotFetched = errors.New("the run ended before it was fetched")

// settle completes the response when nothing more comes.
func (c *collector) settle() {
	c.resp.Stdout, c.resp.Stderr = c.stdout.String(), c.stderr.String()
	c.resp.Error = c.raised
	for _, d := range c.r.Downloads {
		if _, ok := c.resp.Files[d.Path]; !ok {
			c.resp.Files[d.Path] = Downloaded{Err: errNotFetched}
		}
	}
}

// maxText is how much text of a stream is held, in bytes.
const maxText = 64 << 20

// A text is what was written to a stream: all of it, or beyond limit bytes its
// first and its last half of that.
type text struct {
	limit int
	head  []byte
	tail  []byte // what came after head, at most twice limit/2
	cut   int64  // bytes that are no more in tail
}

func (t *text) add(s string) {
	half := t.limit / 2
	if room := half - len(t.head); room > 0 && len(t.tail) == 0 && t.cut == 0 {
		if room >= len(s) {
			t.head = append(t.head, s...)
			return
		}
		for room > 0 && !utf8.RuneStart(s[room]) {
			room--
		}
		t.head = append(t.head, s[:room]...)
		s = s[room:]
	}
	t.tail = append(t.tail, s...)
	if len(t.tail) > 2*half {
		t.trim()
	}
}

// trim shortens tail to half of the limit, at the beginning of a character.
func (t *text) trim() {
	from := len(t.tail) - t.limit/2
	if from <= 0 {
		return
	}
	for from < len(t.tail) && !utf8.RuneStart(t.tail[from]) {
		from++
	}
	t.cut += int64(from)
	t.tail = append(t.tail[:0], t.tail[from:]...)
}

// String returns the text, with a line in place of what is left out of it.
func (t *text) String() string {
	t.trim()
	if t.cut == 0 {
		return string(t.head) + string(t.tail)
	}
	return fmt.Sprintf("%s\n[%d bytes are left out here]\n%s", t.head, t.cut, t.tail)
}
