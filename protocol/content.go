package protocol

import "encoding/json"

// Statuses of a reply.
const (
	StatusOK      = "ok"
	StatusError   = "error"
	StatusAborted = "aborted"
)

// Execution states of a status message.
const (
	StateStarting   = "starting"
	StateBusy       = "busy"
	StateIdle       = "idle"
	StateRestarting = "restarting"
	StateDead       = "dead"
)

// Names of a stream.
const (
	Stdout = "stdout"
	Stderr = "stderr"
)

// A MimeBundle maps mime types to representations of one thing. The values are
// JSON: a string for text types and for base64 of binary types, any value for
// application/json and its kin.
//
//lint:ignore ST1003 the name is in use in all packages
type MimeBundle map[string]json.RawMessage

// A Reply is the part that all replies but is_complete_reply have in common.
// The error fields are set only when Status is "error".
type Reply struct {
	Status    string   `json:"status"`
	EName     string   `json:"ename,omitempty"`
	EValue    string   `json:"evalue,omitempty"`
	Traceback []string `json:"traceback,omitempty"`
}

// Transient is data of a display that is not saved in a notebook.
type Transient struct {
	DisplayID string `json:"display_id,omitempty"`
}

// Requests and replies of the shell channel.
type (
	// ExecuteRequest asks to run code. Absent fields get the specification's
	// defaults when it is decoded: store_history is the opposite of silent,
	// stop_on_error is true.
	ExecuteRequest struct {
		Code            string            `json:"code"`
		Silent          bool              `json:"silent"`
		StoreHistory    bool              `json:"store_history"`
		UserExpressions map[string]string `json:"user_expressions"`
		AllowStdin      bool              `json:"allow_stdin"`
		StopOnError     bool              `json:"stop_on_error"`
	}
	// ExecuteReply answers an ExecuteRequest. ExecutionCount is null when
	// nothing was counted.
	ExecuteReply struct {
		Reply
		ExecutionCount  *int                       `json:"execution_count"`
		UserExpressions map[string]json.RawMessage `json:"user_expressions"`
		Payload         []json.RawMessage          `json:"payload"`
	}
	// InspectRequest asks what is at a place in code. CursorPos counts
	// Unicode code points.
	InspectRequest struct {
		Code        string `json:"code"`
		CursorPos   int    `json:"cursor_pos"`
		DetailLevel int    `json:"detail_level"`
	}
	// InspectReply answers an InspectRequest.
	InspectReply struct {
		Reply
		Found    bool       `json:"found"`
		Data     MimeBundle `json:"data"`
		Metadata MimeBundle `json:"metadata"`
	}
	// CompleteRequest asks how code may go on. CursorPos counts Unicode code
	// points.
	CompleteRequest struct {
		Code      string `json:"code"`
		CursorPos int    `json:"cursor_pos"`
	}
	// CompleteReply answers a CompleteRequest.
	CompleteReply struct {
		Reply
		Matches     []string   `json:"matches"`
		CursorStart int        `json:"cursor_start"`
		CursorEnd   int        `json:"cursor_end"`
		Metadata    MimeBundle `json:"metadata"`
	}
	// HistoryRequest asks for past input.
	HistoryRequest struct {
		Output         bool   `json:"output"`
		Raw            bool   `json:"raw"`
		HistAccessType string `json:"hist_access_type"` // range, tail or search
		Session        int    `json:"session"`
		Start          int    `json:"start"`
		Stop           *int   `json:"stop,omitempty"`
		N              *int   `json:"n,omitempty"`
		Pattern        string `json:"pattern,omitempty"`
		Unique         bool   `json:"unique,omitempty"`
	}
	// HistoryReply answers a HistoryRequest. An entry is [session, line,
	// input] or [session, line, [input, output]].
	HistoryReply struct {
		Reply
		History []json.RawMessage `json:"history"`
	}
	// IsCompleteRequest asks whether code can be run as it stands.
	IsCompleteRequest struct {
		Code string `json:"code"`
	}
	// IsCompleteReply answers an IsCompleteRequest. Its Status is complete,
	// incomplete, invalid or unknown; Indent counts only with incomplete.
	IsCompleteReply struct {
		Status string `json:"status"`
		Indent string `json:"indent,omitempty"`
	}
	// ConnectRequest asks for the kernel's ports. Deprecated in 5.1.
	ConnectRequest struct{}
	// ConnectReply answers a ConnectRequest.
	ConnectReply struct {
		Reply
		ShellPort   int `json:"shell_port"`
		IOPubPort   int `json:"iopub_port"`
		StdinPort   int `json:"stdin_port"`
		HBPort      int `json:"hb_port"`
		ControlPort int `json:"control_port"`
	}
	// CommInfoRequest asks for the open comms, of one target when it is named.
	CommInfoRequest struct {
		TargetName string `json:"target_name,omitempty"`
	}
	// CommInfoReply answers a CommInfoRequest. Comms is keyed by comm id.
	CommInfoReply struct {
		Reply
		Comms map[string]CommInfo `json:"comms"`
	}
	// CommInfo says what a comm is connected to.
	CommInfo struct {
		TargetName string `json:"target_name"`
	}
	// KernelInfoRequest asks what a kernel is. Also on the control channel.
	KernelInfoRequest struct{}
	// KernelInfoReply answers a KernelInfoRequest.
	KernelInfoReply struct {
		Reply
		ProtocolVersion       string       `json:"protocol_version"`
		Implementation        string       `json:"implementation"`
		ImplementationVersion string       `json:"implementation_version"`
		LanguageInfo          LanguageInfo `json:"language_info"`
		Banner                string       `json:"banner"`
		HelpLinks             []HelpLink   `json:"help_links"`
		SupportedFeatures     []string     `json:"supported_features"`
		Debugger              bool         `json:"debugger"` // deprecated in 5.5, read by older clients
	}
	// LanguageInfo describes a kernel's language. It is saved in notebooks.
	LanguageInfo struct {
		Name    string `json:"name"`
		Version string `json:"version"`
		//lint:ignore ST1003 as MimeBundle
		MimeType          string          `json:"mimetype"`
		FileExtension     string          `json:"file_extension"` // with its dot
		PygmentsLexer     string          `json:"pygments_lexer,omitempty"`
		CodemirrorMode    json.RawMessage `json:"codemirror_mode,omitempty"` // a string or an object
		NbconvertExporter string          `json:"nbconvert_exporter,omitempty"`
	}
	// HelpLink is an entry of a front end's help menu.
	HelpLink struct {
		Text string `json:"text"`
		URL  string `json:"url"`
	}
)

// Requests and replies of the control channel.
type (
	// ShutdownRequest asks the kernel to end, for good or to be restarted.
	ShutdownRequest struct {
		Restart bool `json:"restart"`
	}
	// ShutdownReply answers a ShutdownRequest; it is also published on iopub.
	ShutdownReply struct {
		Reply
		Restart bool `json:"restart"`
	}
	// InterruptRequest asks to interrupt what runs.
	InterruptRequest struct{}
	// InterruptReply answers an InterruptRequest.
	InterruptReply struct{ Reply }
	// UsageRequest asks what the kernel uses. An extension of ipykernel.
	UsageRequest struct{}
	// UsageReply answers a UsageRequest. Memory is in bytes, cpu in percent
	// of one processor.
	UsageReply struct {
		Status            string          `json:"status,omitempty"` // ipykernel sends none
		Hostname          string          `json:"hostname"`
		PID               int             `json:"pid"`
		KernelCPU         float64         `json:"kernel_cpu"`
		KernelMemory      uint64          `json:"kernel_memory"`
		CPUCount          int             `json:"cpu_count"`
		HostCPUPercent    float64         `json:"host_cpu_percent"`
		HostVirtualMemory json.RawMessage `json:"host_virtual_memory"`
	}
	// DebugRequest is a request of the Debug Adapter Protocol.
	DebugRequest struct{ Raw json.RawMessage }
	// DebugReply is a response of the Debug Adapter Protocol.
	DebugReply struct{ Raw json.RawMessage }
	// CreateSubshellRequest asks for a further shell (JEP 91).
	CreateSubshellRequest struct{}
	// CreateSubshellReply answers a CreateSubshellRequest.
	CreateSubshellReply struct {
		Reply
		SubshellID string `json:"subshell_id,omitempty"`
	}
	// DeleteSubshellRequest asks to end a subshell.
	DeleteSubshellRequest struct {
		SubshellID string `json:"subshell_id"`
	}
	// DeleteSubshellReply answers a DeleteSubshellRequest.
	DeleteSubshellReply struct{ Reply }
	// ListSubshellRequest asks for the ids of the subshells.
	ListSubshellRequest struct{}
	// ListSubshellReply answers a ListSubshellRequest.
	ListSubshellReply struct {
		Reply
		SubshellID []string `json:"subshell_id"`
	}
)

// Messages of the iopub channel.
type (
	// Stream is text that code wrote.
	Stream struct {
		Name string `json:"name"` // stdout or stderr
		Text string `json:"text"`
	}
	// DisplayData shows something.
	DisplayData struct {
		Data      MimeBundle `json:"data"`
		Metadata  MimeBundle `json:"metadata"`
		Transient *Transient `json:"transient,omitempty"`
	}
	// UpdateDisplayData changes all displays that have its display id.
	UpdateDisplayData struct {
		Data      MimeBundle `json:"data"`
		Metadata  MimeBundle `json:"metadata"`
		Transient *Transient `json:"transient"`
	}
	// ExecuteInput tells all clients what is run.
	ExecuteInput struct {
		Code           string `json:"code"`
		ExecutionCount int    `json:"execution_count"`
	}
	// ExecuteResult shows the value of the last expression.
	ExecuteResult struct {
		ExecutionCount int        `json:"execution_count"`
		Data           MimeBundle `json:"data"`
		Metadata       MimeBundle `json:"metadata"`
		Transient      *Transient `json:"transient,omitempty"`
	}
	// ErrorOutput says that code failed. Its message type is "error".
	ErrorOutput struct {
		EName     string   `json:"ename"`
		EValue    string   `json:"evalue"`
		Traceback []string `json:"traceback"`
	}
	// Status says what the kernel does.
	Status struct {
		ExecutionState string `json:"execution_state"`
	}
	// ClearOutput removes what a cell has shown, at once or when Wait is set
	// with the next output.
	ClearOutput struct {
		Wait bool `json:"wait"`
	}
	// IOPubWelcome greets a new subscription (JEP 65).
	IOPubWelcome struct {
		Subscription string `json:"subscription"`
	}
	// DebugEvent is an event of the Debug Adapter Protocol.
	DebugEvent struct{ Raw json.RawMessage }
)

// Messages of the stdin channel, from the kernel to a client and back.
type (
	// InputRequest asks the user for a line.
	InputRequest struct {
		Prompt   string `json:"prompt"`
		Password bool   `json:"password"`
	}
	// InputReply answers an InputRequest.
	InputReply struct {
		Value string `json:"value"`
	}
)

// Comm messages go both ways: on shell to the kernel, on iopub from it.
type (
	// CommOpen opens a comm to a target.
	CommOpen struct {
		CommID       string          `json:"comm_id"`
		TargetName   string          `json:"target_name"`
		Data         json.RawMessage `json:"data"` // an object, as a rule
		TargetModule string          `json:"target_module,omitempty"`
	}
	// CommMsg carries data over a comm.
	CommMsg struct {
		CommID string          `json:"comm_id"`
		Data   json.RawMessage `json:"data"` // an object, as a rule
	}
	// CommClose closes a comm.
	CommClose struct {
		CommID string          `json:"comm_id"`
		Data   json.RawMessage `json:"data"` // an object, as a rule
	}
)

// Unknown is the content of a message whose type this package does not know,
// as it came.
type Unknown struct {
	Type string
	Raw  json.RawMessage
}

// UnmarshalJSON decodes r and gives absent fields their defaults. It reads b
// once, for code may be huge.
func (r *ExecuteRequest) UnmarshalJSON(b []byte) error {
	storeHistory := true
	*r = ExecuteRequest{StopOnError: true}
	err := scanObject(b, func(key, value []byte) error {
		var p any
		switch string(key) {
		case `"code"`:
			p = &r.Code
		case `"silent"`:
			p = &r.Silent
		case `"store_history"`:
			p = &storeHistory
		case `"user_expressions"`:
			p = &r.UserExpressions
		case `"allow_stdin"`:
			p = &r.AllowStdin
		case `"stop_on_error"`:
			p = &r.StopOnError
		default:
			return nil
		}
		if err := decodeField(value, p); err != nil {
			return &InvalidError{MsgType: r.MsgType(), Field: trimQuotes(key), Reason: err.Error()}
		}
		return nil
	})
	r.StoreHistory = storeHistory && !r.Silent
	return err
}

// The debug messages are the Debug Adapter Protocol's, whole.

// MarshalJSON returns the request as it is.
func (r DebugRequest) MarshalJSON() ([]byte, error) { return r.Raw, nil }

// MarshalJSON returns the response as it is.
func (r DebugReply) MarshalJSON() ([]byte, error) { return r.Raw, nil }

// MarshalJSON returns the event as it is.
func (r DebugEvent) MarshalJSON() ([]byte, error) { return r.Raw, nil }

// UnmarshalJSON keeps the request as it is.
func (r *DebugRequest) UnmarshalJSON(b []byte) error { r.Raw = append(r.Raw[:0], b...); return nil }

// UnmarshalJSON keeps the response as it is.
func (r *DebugReply) UnmarshalJSON(b []byte) error { r.Raw = append(r.Raw[:0], b...); return nil }

// UnmarshalJSON keeps the event as it is.
func (r *DebugEvent) UnmarshalJSON(b []byte) error { r.Raw = append(r.Raw[:0], b...); return nil }
