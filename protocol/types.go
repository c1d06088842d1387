package protocol

// contents is the one place that spells every message type.
var contents = map[string]func() Content{
	"execute_request":         func() Content { return new(ExecuteRequest) },
	"execute_reply":           func() Content { return new(ExecuteReply) },
	"inspect_request":         func() Content { return new(InspectRequest) },
	"inspect_reply":           func() Content { return new(InspectReply) },
	"complete_request":        func() Content { return new(CompleteRequest) },
	"complete_reply":          func() Content { return new(CompleteReply) },
	"history_request":         func() Content { return new(HistoryRequest) },
	"history_reply":           func() Content { return new(HistoryReply) },
	"is_complete_request":     func() Content { return new(IsCompleteRequest) },
	"is_complete_reply":       func() Content { return new(IsCompleteReply) },
	"connect_request":         func() Content { return new(ConnectRequest) },
	"connect_reply":           func() Content { return new(ConnectReply) },
	"comm_info_request":       func() Content { return new(CommInfoRequest) },
	"comm_info_reply":         func() Content { return new(CommInfoReply) },
	"kernel_info_request":     func() Content { return new(KernelInfoRequest) },
	"kernel_info_reply":       func() Content { return new(KernelInfoReply) },
	"shutdown_request":        func() Content { return new(ShutdownRequest) },
	"shutdown_reply":          func() Content { return new(ShutdownReply) },
	"interrupt_request":       func() Content { return new(InterruptRequest) },
	"interrupt_reply":         func() Content { return new(InterruptReply) },
	"usage_request":           func() Content { return new(UsageRequest) },
	"usage_reply":             func() Content { return new(UsageReply) },
	"debug_request":           func() Content { return new(DebugRequest) },
	"debug_reply":             func() Content { return new(DebugReply) },
	"create_subshell_request": func() Content { return new(CreateSubshellRequest) },
	"create_subshell_reply":   func() Content { return new(CreateSubshellReply) },
	"delete_subshell_request": func() Content { return new(DeleteSubshellRequest) },
	"delete_subshell_reply":   func() Content { return new(DeleteSubshellReply) },
	"list_subshell_request":   func() Content { return new(ListSubshellRequest) },
	"list_subshell_reply":     func() Content { return new(ListSubshellReply) },
	"stream":                  func() Content { return new(Stream) },
	"display_data":            func() Content { return new(DisplayData) },
	"update_display_data":     func() Content { return new(UpdateDisplayData) },
	"execute_input":           func() Content { return new(ExecuteInput) },
	"execute_result":          func() Content { return new(ExecuteResult) },
	"error":                   func() Content { return new(ErrorOutput) },
	"status":                  func() Content { return new(Status) },
	"clear_output":            func() Content { return new(ClearOutput) },
	"iopub_welcome":           func() Content { return new(IOPubWelcome) },
	"debug_event":             func() Content { return new(DebugEvent) },
	"input_request":           func() Content { return new(InputRequest) },
	"input_reply":             func() Content { return new(InputReply) },
	"comm_open":               func() Content { return new(CommOpen) },
	"comm_msg":                func() Content { return new(CommMsg) },
	"comm_close":              func() Content { return new(CommClose) },
}

// MsgType implements [Content].
func (u *Unknown) MsgType() string { return u.Type }

// MsgType implements [Content].
func (*ExecuteRequest) MsgType() string { return "execute_request" }

// MsgType implements [Content].
func (*ExecuteReply) MsgType() string { return "execute_reply" }

// MsgType implements [Content].
func (*InspectRequest) MsgType() string { return "inspect_request" }

// MsgType implements [Content].
func (*InspectReply) MsgType() string { return "inspect_reply" }

// MsgType implements [Content].
func (*CompleteRequest) MsgType() string { return "complete_request" }

// MsgType implements [Content].
func (*CompleteReply) MsgType() string { return "complete_reply" }

// MsgType implements [Content].
func (*HistoryRequest) MsgType() string { return "history_request" }

// MsgType implements [Content].
func (*HistoryReply) MsgType() string { return "history_reply" }

// MsgType implements [Content].
func (*IsCompleteRequest) MsgType() string { return "is_complete_request" }

// MsgType implements [Content].
func (*IsCompleteReply) MsgType() string { return "is_complete_reply" }

// MsgType implements [Content].
func (*ConnectRequest) MsgType() string { return "connect_request" }

// MsgType implements [Content].
func (*ConnectReply) MsgType() string { return "connect_reply" }

// MsgType implements [Content].
func (*CommInfoRequest) MsgType() string { return "comm_info_request" }

// MsgType implements [Content].
func (*CommInfoReply) MsgType() string { return "comm_info_reply" }

// MsgType implements [Content].
func (*KernelInfoRequest) MsgType() string { return "kernel_info_request" }

// MsgType implements [Content].
func (*KernelInfoReply) MsgType() string { return "kernel_info_reply" }

// MsgType implements [Content].
func (*ShutdownRequest) MsgType() string { return "shutdown_request" }

// MsgType implements [Content].
func (*ShutdownReply) MsgType() string { return "shutdown_reply" }

// MsgType implements [Content].
func (*InterruptRequest) MsgType() string { return "interrupt_request" }

// MsgType implements [Content].
func (*InterruptReply) MsgType() string { return "interrupt_reply" }

// MsgType implements [Content].
func (*UsageRequest) MsgType() string { return "usage_request" }

// MsgType implements [Content].
func (*UsageReply) MsgType() string { return "usage_reply" }

// MsgType implements [Content].
func (*DebugRequest) MsgType() string { return "debug_request" }

// MsgType implements [Content].
func (*DebugReply) MsgType() string { return "debug_reply" }

// MsgType implements [Content].
func (*CreateSubshellRequest) MsgType() string { return "create_subshell_request" }

// MsgType implements [Content].
func (*CreateSubshellReply) MsgType() string { return "create_subshell_reply" }

// MsgType implements [Content].
func (*DeleteSubshellRequest) MsgType() string { return "delete_subshell_request" }

// MsgType implements [Content].
func (*DeleteSubshellReply) MsgType() string { return "delete_subshell_reply" }

// MsgType implements [Content].
func (*ListSubshellRequest) MsgType() string { return "list_subshell_request" }

// MsgType implements [Content].
func (*ListSubshellReply) MsgType() string { return "list_subshell_reply" }

// MsgType implements [Content].
func (*Stream) MsgType() string { return "stream" }

// MsgType implements [Content].
func (*DisplayData) MsgType() string { return "display_data" }

// MsgType implements [Content].
func (*UpdateDisplayData) MsgType() string { return "update_display_data" }

// MsgType implements [Content].
func (*ExecuteInput) MsgType() string { return "execute_input" }

// MsgType implements [Content].
func (*ExecuteResult) MsgType() string { return "execute_result" }

// MsgType implements [Content].
func (*ErrorOutput) MsgType() string { return "error" }

// MsgType implements [Content].
func (*Status) MsgType() string { return "status" }

// MsgType implements [Content].
func (*ClearOutput) MsgType() string { return "clear_output" }

// MsgType implements [Content].
func (*IOPubWelcome) MsgType() string { return "iopub_welcome" }

// MsgType implements [Content].
func (*DebugEvent) MsgType() string { return "debug_event" }

// MsgType implements [Content].
func (*InputRequest) MsgType() string { return "input_request" }

// MsgType implements [Content].
func (*InputReply) MsgType() string { return "input_reply" }

// MsgType implements [Content].
func (*CommOpen) MsgType() string { return "comm_open" }

// MsgType implements [Content].
func (*CommMsg) MsgType() string { return "comm_msg" }

// MsgType implements [Content].
func (*CommClose) MsgType() string { return "comm_close" }
