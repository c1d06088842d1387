package protocol

// With these methods json.Marshal gives the same as [EncodeContent], which is
// faster. A struct that embeds one of these types is encoded as it alone.

// MarshalJSON implements [encoding/json.Marshaler].
func (r ExecuteRequest) MarshalJSON() ([]byte, error) { return encodeObject(&r) }

// MarshalJSON implements [encoding/json.Marshaler].
func (r ExecuteReply) MarshalJSON() ([]byte, error) { return encodeObject(&r) }

// MarshalJSON implements [encoding/json.Marshaler].
func (r InspectReply) MarshalJSON() ([]byte, error) { return encodeObject(&r) }

// MarshalJSON implements [encoding/json.Marshaler].
func (r CompleteReply) MarshalJSON() ([]byte, error) { return encodeObject(&r) }

// MarshalJSON implements [encoding/json.Marshaler].
func (r HistoryReply) MarshalJSON() ([]byte, error) { return encodeObject(&r) }

// MarshalJSON implements [encoding/json.Marshaler].
func (r ConnectReply) MarshalJSON() ([]byte, error) { return encodeObject(&r) }

// MarshalJSON implements [encoding/json.Marshaler].
func (r CommInfoReply) MarshalJSON() ([]byte, error) { return encodeObject(&r) }

// MarshalJSON implements [encoding/json.Marshaler].
func (r KernelInfoReply) MarshalJSON() ([]byte, error) { return encodeObject(&r) }

// MarshalJSON implements [encoding/json.Marshaler].
func (r ShutdownReply) MarshalJSON() ([]byte, error) { return encodeObject(&r) }

// MarshalJSON implements [encoding/json.Marshaler].
func (r InterruptReply) MarshalJSON() ([]byte, error) { return encodeObject(&r) }

// MarshalJSON implements [encoding/json.Marshaler].
func (r CreateSubshellReply) MarshalJSON() ([]byte, error) { return encodeObject(&r) }

// MarshalJSON implements [encoding/json.Marshaler].
func (r DeleteSubshellReply) MarshalJSON() ([]byte, error) { return encodeObject(&r) }

// MarshalJSON implements [encoding/json.Marshaler].
func (r ListSubshellReply) MarshalJSON() ([]byte, error) { return encodeObject(&r) }

// MarshalJSON implements [encoding/json.Marshaler].
func (s Stream) MarshalJSON() ([]byte, error) { return encodeObject(&s) }

// MarshalJSON implements [encoding/json.Marshaler].
func (d DisplayData) MarshalJSON() ([]byte, error) { return encodeObject(&d) }

// MarshalJSON implements [encoding/json.Marshaler].
func (d UpdateDisplayData) MarshalJSON() ([]byte, error) { return encodeObject(&d) }

// MarshalJSON implements [encoding/json.Marshaler].
func (e ExecuteInput) MarshalJSON() ([]byte, error) { return encodeObject(&e) }

// MarshalJSON implements [encoding/json.Marshaler].
func (r ExecuteResult) MarshalJSON() ([]byte, error) { return encodeObject(&r) }

// MarshalJSON implements [encoding/json.Marshaler].
func (e ErrorOutput) MarshalJSON() ([]byte, error) { return encodeObject(&e) }

// MarshalJSON implements [encoding/json.Marshaler].
func (s Status) MarshalJSON() ([]byte, error) { return encodeObject(&s) }

// MarshalJSON implements [encoding/json.Marshaler].
func (c CommOpen) MarshalJSON() ([]byte, error) { return encodeObject(&c) }

// MarshalJSON implements [encoding/json.Marshaler].
func (c CommMsg) MarshalJSON() ([]byte, error) { return encodeObject(&c) }

// MarshalJSON implements [encoding/json.Marshaler].
func (c CommClose) MarshalJSON() ([]byte, error) { return encodeObject(&c) }
