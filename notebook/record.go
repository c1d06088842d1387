package notebook

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/gokernel/gokernel/protocol"
)

// A Recorder writes into a notebook what a kernel publishes about runs of its
// cells. It decides by a message's parent where it belongs, so that late output
// of one cell never lands under another; messages with other parents are
// ignored.
//
// Text that follows text of the same stream is joined with it; carriage returns
// and backspaces are left to whoever shows it. A display that is updated is
// updated wherever it is in the notebook. What code shows while an ipywidgets
// Output widget captures goes into that widget.
type Recorder struct {
	// NoTiming leaves the times of messages out of the cells' metadata.
	NoTiming bool

	nb       *Notebook
	runs     map[string]*run // by the id of the execute_request
	displays map[string][]*Output
	widgets  widgets
}

// A run is what is being recorded of one execute_request.
type run struct {
	id         string
	cell       *Cell
	clearFirst bool // with the next output
	times      Object
	stream     *Output // the last output, if it is a stream's
	text       *strings.Builder
}

// A Change says what a message has changed.
type Change struct {
	Cell   *Cell   // that the message belongs to; nil if to none
	Output *Output // that was added or got more text; else nil
	// Send has messages for the kernel: an Output widget's new state.
	Send []*protocol.Message
}

// NewRecorder returns a recorder for nb, which nobody else may change while
// messages are applied.
func NewRecorder(nb *Notebook) *Recorder {
	return &Recorder{nb: nb, runs: map[string]*run{}, displays: map[string][]*Output{}, widgets: newWidgets()}
}

// Begin clears cell and has it record what answers the execute_request with the
// given id. An earlier run of the cell is not recorded any further.
func (r *Recorder) Begin(cell *Cell, msgID string) {
	for id, old := range r.runs {
		if old.cell == cell {
			delete(r.runs, id)
		}
	}
	r.clear(cell)
	cell.ExecutionCount = nil
	run := &run{id: msgID, cell: cell}
	r.runs[msgID] = run
	if !r.NoTiming {
		run.times = Object{}
		run.saveTimes()
	}
}

// Apply records m, a message from iopub or an execute_reply from shell. An error
// means that m is malformed; nothing has changed then.
func (r *Recorder) Apply(m *protocol.Message) (Change, error) {
	parent, err := m.ParentHeader()
	if err != nil {
		return Change{}, err
	}
	run := r.runs[parent.MsgID]
	if run == nil {
		return Change{}, nil
	}
	content, err := m.Decode()
	if err != nil {
		return Change{}, err
	}
	change := Change{Cell: run.cell}
	switch c := content.(type) {
	case *protocol.Status:
		if c.ExecutionState == protocol.StateBusy || c.ExecutionState == protocol.StateIdle {
			run.time("iopub.status."+c.ExecutionState, m)
		}
	case *protocol.ExecuteInput:
		run.cell.ExecutionCount = &c.ExecutionCount
		run.time("iopub.execute_input", m)
	case *protocol.ExecuteReply:
		run.time("shell.execute_reply", m)
	case *protocol.ClearOutput:
		change.Send, err = r.clearOutput(run, c, m)
	case *protocol.UpdateDisplayData:
		r.update(c.Transient, c.Data, c.Metadata)
	case *protocol.CommOpen, *protocol.CommMsg:
		err = r.widgets.apply(m, c)
	default:
		return r.output(run, m, content)
	}
	return change, err
}

// output records a message that may be an output.
func (r *Recorder) output(run *run, m *protocol.Message, content protocol.Content) (Change, error) {
	change := Change{Cell: run.cell}
	out, transient := outputOf(content)
	if out == nil {
		return change, nil
	}
	if out.Type == ResultOutput {
		run.cell.ExecutionCount = out.ExecutionCount
	}
	if transient != nil {
		r.update(transient, out.Data, protocol.MimeBundle(out.Metadata))
	}
	if w := r.widgets.capturing(run.id); w != nil {
		w.add(out)
		var err error
		change.Send, err = r.widgets.sync(w, m)
		return change, err
	}
	if run.clearFirst {
		r.clear(run.cell)
		run.clearFirst = false
	}
	change.Output = run.add(out)
	if transient != nil && transient.DisplayID != "" {
		r.displays[transient.DisplayID] = append(r.displays[transient.DisplayID], out)
	}
	return change, nil
}

// outputOf returns the output that content is, or nil.
func outputOf(content protocol.Content) (*Output, *protocol.Transient) {
	switch c := content.(type) {
	case *protocol.Stream:
		return &Output{Type: StreamOutput, Name: c.Name, Text: c.Text}, nil
	case *protocol.DisplayData:
		return &Output{Type: DisplayOutput, Data: texts(c.Data), Metadata: object(c.Metadata)}, c.Transient
	case *protocol.ExecuteResult:
		return &Output{Type: ResultOutput, Data: texts(c.Data), Metadata: object(c.Metadata), ExecutionCount: &c.ExecutionCount}, c.Transient
	case *protocol.ErrorOutput:
		return &Output{Type: ErrorOutput, EName: c.EName, EValue: c.EValue, Traceback: c.Traceback}, nil
	}
	return nil, nil
}

// texts returns data with texts that are lists of lines joined.
func texts(data protocol.MimeBundle) protocol.MimeBundle {
	for mime, raw := range data {
		if isJSON(mime) || len(raw) == 0 || raw[0] != '[' {
			continue
		}
		if joined, ok := joinLines(raw); ok {
			data[mime] = joined
		}
	}
	return data
}

func object(m protocol.MimeBundle) Object {
	if m == nil {
		return Object{}
	}
	return Object(m)
}

// add adds out to the cell, or its text to the last output, and returns where
// it is now.
func (r *run) add(out *Output) *Output {
	if out.Type != StreamOutput {
		r.stream = nil
		r.cell.Outputs = append(r.cell.Outputs, out)
		return out
	}
	last := len(r.cell.Outputs) - 1
	if r.stream == nil || last < 0 || r.cell.Outputs[last] != r.stream || r.stream.Name != out.Name {
		r.stream, r.text = out, &strings.Builder{}
		r.cell.Outputs = append(r.cell.Outputs, out)
	}
	// The builder's string shares its memory, so a long stream is not copied
	// for each message.
	r.text.WriteString(out.Text)
	r.stream.Text = r.text.String()
	return r.stream
}

func (r *Recorder) clearOutput(run *run, c *protocol.ClearOutput, m *protocol.Message) ([]*protocol.Message, error) {
	if w := r.widgets.capturing(run.id); w != nil {
		if c.Wait {
			w.clearFirst = true
			return nil, nil
		}
		w.outputs = nil
		return r.widgets.sync(w, m)
	}
	if c.Wait {
		run.clearFirst = true
		return nil, nil
	}
	r.clear(run.cell)
	return nil, nil
}

// clear removes the outputs of a cell, also from those to be updated.
func (r *Recorder) clear(c *Cell) {
	for id, outputs := range r.displays {
		kept := slices.DeleteFunc(outputs, func(o *Output) bool { return slices.Contains(c.Outputs, o) })
		if len(kept) == 0 {
			delete(r.displays, id)
			continue
		}
		r.displays[id] = kept
	}
	c.Outputs = []*Output{}
}

// update changes all outputs with the display id.
func (r *Recorder) update(transient *protocol.Transient, data, metadata protocol.MimeBundle) {
	if transient == nil || transient.DisplayID == "" {
		return
	}
	data = texts(data)
	for _, out := range r.displays[transient.DisplayID] {
		out.Data = maps.Clone(data)
		out.Metadata = object(maps.Clone(metadata))
	}
}

// time notes when m was sent.
func (r *run) time(key string, m *protocol.Message) {
	if r.times == nil {
		return
	}
	raw, err := json.Marshal(sent(m))
	if err != nil {
		return // a time always encodes
	}
	r.times[key] = raw
	r.saveTimes()
}

func (r *run) saveTimes() {
	w := writer{}
	if err := w.object(r.times); err != nil {
		return // the times are valid
	}
	if r.cell.Metadata == nil {
		r.cell.Metadata = Object{}
	}
	r.cell.Metadata["execution"] = w.dst
}

// sent returns the date of m in the form that notebooks have, or the current
// time when m has no date.
func sent(m *protocol.Message) string {
	t := time.Now()
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999"} {
		if parsed, err := time.Parse(layout, m.Header.Date); err == nil {
			t = parsed
			break
		}
	}
	return t.UTC().Format("2006-01-02T15:04:05.000000Z")
}
