package protocol

// appendFields methods write the fields of a content to an object. Lists and
// objects are never null, whatever the value holds.

// appendFields writes the error fields in an error and only there, even when
// they are empty.
func (r *Reply) appendFields(o *object) {
	o.string("status", r.Status)
	if r.Status == StatusError {
		o.string("ename", r.EName)
		o.string("evalue", r.EValue)
		o.strings("traceback", r.Traceback)
	}
}

func (r *ExecuteRequest) appendFields(o *object) {
	o.string("code", r.Code)
	o.bool("silent", r.Silent)
	o.bool("store_history", r.StoreHistory)
	expressions := r.UserExpressions
	if expressions == nil {
		expressions = map[string]string{}
	}
	o.any("user_expressions", expressions)
	o.bool("allow_stdin", r.AllowStdin)
	o.bool("stop_on_error", r.StopOnError)
}

func (r *ExecuteReply) appendFields(o *object) {
	r.Reply.appendFields(o)
	if r.ExecutionCount == nil {
		o.raw("execution_count", nil, "null")
	} else {
		o.int("execution_count", *r.ExecutionCount)
	}
	o.bundle("user_expressions", r.UserExpressions)
	o.raws("payload", r.Payload)
}

func (r *InspectReply) appendFields(o *object) {
	r.Reply.appendFields(o)
	o.bool("found", r.Found)
	o.bundle("data", r.Data)
	o.bundle("metadata", r.Metadata)
}

func (r *CompleteReply) appendFields(o *object) {
	r.Reply.appendFields(o)
	o.strings("matches", r.Matches)
	o.int("cursor_start", r.CursorStart)
	o.int("cursor_end", r.CursorEnd)
	o.bundle("metadata", r.Metadata)
}

func (r *HistoryReply) appendFields(o *object) {
	r.Reply.appendFields(o)
	o.raws("history", r.History)
}

func (r *ConnectReply) appendFields(o *object) {
	r.Reply.appendFields(o)
	o.int("shell_port", r.ShellPort)
	o.int("iopub_port", r.IOPubPort)
	o.int("stdin_port", r.StdinPort)
	o.int("hb_port", r.HBPort)
	o.int("control_port", r.ControlPort)
}

func (r *CommInfoReply) appendFields(o *object) {
	r.Reply.appendFields(o)
	comms := r.Comms
	if comms == nil {
		comms = map[string]CommInfo{}
	}
	o.any("comms", comms)
}

func (r *KernelInfoReply) appendFields(o *object) {
	r.Reply.appendFields(o)
	o.string("protocol_version", r.ProtocolVersion)
	o.string("implementation", r.Implementation)
	o.string("implementation_version", r.ImplementationVersion)
	o.any("language_info", r.LanguageInfo)
	o.string("banner", r.Banner)
	links := r.HelpLinks
	if links == nil {
		links = []HelpLink{}
	}
	o.any("help_links", links)
	o.strings("supported_features", r.SupportedFeatures)
	o.bool("debugger", r.Debugger)
}

func (r *ShutdownReply) appendFields(o *object) {
	r.Reply.appendFields(o)
	o.bool("restart", r.Restart)
}

func (r *InterruptReply) appendFields(o *object) { r.Reply.appendFields(o) }

func (r *CreateSubshellReply) appendFields(o *object) {
	r.Reply.appendFields(o)
	o.stringIfAny("subshell_id", r.SubshellID)
}

func (r *DeleteSubshellReply) appendFields(o *object) { r.Reply.appendFields(o) }

func (r *ListSubshellReply) appendFields(o *object) {
	r.Reply.appendFields(o)
	o.strings("subshell_id", r.SubshellID)
}

func (s *Stream) appendFields(o *object) {
	o.string("name", s.Name)
	o.string("text", s.Text)
}

func (d *DisplayData) appendFields(o *object) {
	o.bundle("data", d.Data)
	o.bundle("metadata", d.Metadata)
	if d.Transient != nil {
		o.transient(d.Transient)
	}
}

func (d *UpdateDisplayData) appendFields(o *object) {
	o.bundle("data", d.Data)
	o.bundle("metadata", d.Metadata)
	o.transient(d.Transient)
}

func (e *ExecuteInput) appendFields(o *object) {
	o.string("code", e.Code)
	o.int("execution_count", e.ExecutionCount)
}

func (r *ExecuteResult) appendFields(o *object) {
	o.int("execution_count", r.ExecutionCount)
	o.bundle("data", r.Data)
	o.bundle("metadata", r.Metadata)
	if r.Transient != nil {
		o.transient(r.Transient)
	}
}

func (e *ErrorOutput) appendFields(o *object) {
	o.string("ename", e.EName)
	o.string("evalue", e.EValue)
	o.strings("traceback", e.Traceback)
}

func (s *Status) appendFields(o *object) { o.string("execution_state", s.ExecutionState) }

func (c *CommOpen) appendFields(o *object) {
	o.string("comm_id", c.CommID)
	o.string("target_name", c.TargetName)
	o.raw("data", c.Data, "{}")
	o.stringIfAny("target_module", c.TargetModule)
}

func (c *CommMsg) appendFields(o *object) {
	o.string("comm_id", c.CommID)
	o.raw("data", c.Data, "{}")
}

func (c *CommClose) appendFields(o *object) {
	o.string("comm_id", c.CommID)
	o.raw("data", c.Data, "{}")
}
