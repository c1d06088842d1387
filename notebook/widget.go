package notebook

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/gokernel/gokernel/protocol"
)

// widgetState is the mime type under which notebooks keep the state of
// ipywidgets' widgets.
const widgetState = "application/vnd.jupyter.widget-state+json"

// widgets follows the comms of ipywidgets, so that their state can be saved and
// Output widgets capture what they should.
type widgets struct {
	state   map[string]Object   // by comm id
	buffers map[string][]buffer // by comm id, one for each path
	outputs map[string]*outputWidget
	hooks   map[string][]*outputWidget // by the id of the request, the last one captures
}

// A buffer is binary data that belongs at a path in a widget's state.
type buffer struct {
	Data     string          `json:"data"`
	Encoding string          `json:"encoding"`
	Path     json.RawMessage `json:"path"`
}

// An outputWidget is what a front end has for an Output widget.
type outputWidget struct {
	id         string // of its comm
	outputs    []*Output
	clearFirst bool
	hooked     string // the id of the request whose outputs it captures
}

func newWidgets() widgets {
	return widgets{
		state: map[string]Object{}, buffers: map[string][]buffer{},
		outputs: map[string]*outputWidget{}, hooks: map[string][]*outputWidget{},
	}
}

// widgetData is the data of a widget's comm messages.
type widgetData struct {
	State       Object            `json:"state"`
	BufferPaths []json.RawMessage `json:"buffer_paths"`
}

// apply follows a comm_open or a comm_msg.
func (w *widgets) apply(m *protocol.Message, content protocol.Content) error {
	switch c := content.(type) {
	case *protocol.CommOpen:
		data, ok := decodeOpen(c.Data)
		if !ok {
			return nil
		}
		w.keep(c.CommID, data, m.Buffers)
		if c.TargetName == "jupyter.widget" && isOutputWidget(data.State) {
			return w.open(c.CommID, data.State)
		}
	case *protocol.CommMsg:
		data, ok := decodeWidget(c.Data)
		if !ok {
			return nil
		}
		w.keep(c.CommID, data, m.Buffers)
		var msgID string
		if out := w.outputs[c.CommID]; out != nil && data.State.Get("msg_id", &msgID) {
			w.hook(out, msgID)
		}
	}
	return nil
}

// decodeWidget reports false for data without a state: those of other comms and
// custom messages.
func decodeWidget(raw json.RawMessage) (widgetData, bool) {
	var data widgetData
	err := json.Unmarshal(raw, &data)
	return data, err == nil && data.State != nil
}

// decodeOpen is decodeWidget for a comm_open: before ipywidgets 7 its data are
// the state itself. Output widgets of that age keep no outputs, so what they
// would show is left to the cell.
func decodeOpen(raw json.RawMessage) (widgetData, bool) {
	if data, ok := decodeWidget(raw); ok {
		return data, true
	}
	var state Object
	err := json.Unmarshal(raw, &state)
	return widgetData{State: state}, err == nil && state["_model_name"] != nil
}

// keep merges a change into the state of a widget.
func (w *widgets) keep(id string, data widgetData, buffers [][]byte) {
	if w.state[id] == nil {
		w.state[id] = Object{}
	}
	for key, raw := range data.State {
		w.state[id][key] = raw
	}
	for i, path := range data.BufferPaths[:min(len(data.BufferPaths), len(buffers))] {
		b := buffer{Data: base64.StdEncoding.EncodeToString(buffers[i]), Encoding: "base64", Path: path}
		at := slices.IndexFunc(w.buffers[id], func(old buffer) bool { return samePath(old.Path, path) })
		if at < 0 {
			w.buffers[id] = append(w.buffers[id], b)
			continue
		}
		w.buffers[id][at] = b
	}
}

// samePath reports whether two paths, lists of strings and numbers, are equal
// however they are spaced.
func samePath(a, b json.RawMessage) bool {
	compact := func(raw json.RawMessage) string {
		w := writer{file: true}
		if w.value(raw) != nil {
			return string(raw)
		}
		return string(w.dst)
	}
	return string(a) == string(b) || compact(a) == compact(b)
}

func isOutputWidget(state Object) bool {
	var module, name string
	return state.Get("_model_module", &module) && module == "@jupyter-widgets/output" &&
		state.Get("_model_name", &name) && name == "OutputModel"
}

func (w *widgets) open(id string, state Object) error {
	out := &outputWidget{id: id}
	w.outputs[id] = out
	raw := state["outputs"]
	if len(raw) == 0 || raw[0] != '[' {
		return nil
	}
	// What it shows from the start.
	r := reader{scanner: scanner{b: raw}}
	var c Cell
	if err := r.outputs(&c); err != nil {
		return fmt.Errorf("outputs of an Output widget: %w", err)
	}
	if r.shape != nil {
		return fmt.Errorf("outputs of an Output widget: %w", r.shape)
	}
	out.outputs = c.Outputs
	return nil
}

// hook has out capture the outputs of the request msgID, or none for "".
func (w *widgets) hook(out *outputWidget, msgID string) {
	if out.hooked != "" {
		hooks := slices.DeleteFunc(w.hooks[out.hooked], func(h *outputWidget) bool { return h == out })
		if len(hooks) == 0 {
			delete(w.hooks, out.hooked)
		} else {
			w.hooks[out.hooked] = hooks
		}
	}
	out.hooked = msgID
	if msgID != "" {
		w.hooks[msgID] = append(w.hooks[msgID], out)
	}
}

// capturing returns the widget that captures the outputs of a request, or nil.
func (w *widgets) capturing(msgID string) *outputWidget {
	hooks := w.hooks[msgID]
	if len(hooks) == 0 {
		return nil
	}
	return hooks[len(hooks)-1]
}

// add adds an output, or joins it with the last one.
func (o *outputWidget) add(out *Output) {
	if o.clearFirst {
		o.outputs, o.clearFirst = nil, false
	}
	if n := len(o.outputs); n > 0 && out.Type == StreamOutput {
		if last := o.outputs[n-1]; last.Type == StreamOutput && last.Name == out.Name {
			last.Text += out.Text
			return
		}
	}
	o.outputs = append(o.outputs, out)
}

// sync stores the outputs of out in its state, and returns the message that
// tells the kernel of them, in answer to the parent of m.
func (w *widgets) sync(out *outputWidget, m *protocol.Message) ([]*protocol.Message, error) {
	outputs := out.outputs
	if outputs == nil {
		outputs = []*Output{}
	}
	raw, err := encode(outputs)
	if err != nil {
		return nil, fmt.Errorf("outputs of an Output widget: %w", err)
	}
	w.state[out.id]["outputs"] = raw
	data, err := encode(map[string]any{
		"method": "update", "state": Object{"outputs": raw}, "buffer_paths": []string{},
	})
	if err != nil {
		return nil, err
	}
	update, err := protocol.New(protocol.Shell, &protocol.CommMsg{CommID: out.id, Data: data}, nil)
	if err != nil {
		return nil, err
	}
	update.Parent = m.Parent
	return []*protocol.Message{update}, nil
}

// SaveWidgets stores the state of all widgets that have been made in the
// notebook's metadata, from where front ends can show them without a kernel.
// Without widgets the metadata stay as they are.
func (r *Recorder) SaveWidgets() error {
	type model struct {
		Name    json.RawMessage `json:"model_name"`
		Module  json.RawMessage `json:"model_module"`
		Version json.RawMessage `json:"model_module_version"`
		State   Object          `json:"state"`
		Buffers []buffer        `json:"buffers,omitempty"`
	}
	if len(r.widgets.state) == 0 {
		return nil
	}
	models := map[string]model{}
	for id, state := range r.widgets.state {
		if state["_model_name"] == nil {
			continue
		}
		models[id] = model{
			Name: state["_model_name"], Module: state["_model_module"], Version: state["_model_module_version"],
			State: state, Buffers: r.widgets.buffers[id],
		}
	}
	return r.nb.Metadata.Set("widgets", map[string]any{
		widgetState: map[string]any{"state": models, "version_major": 2, "version_minor": 0},
	})
}
