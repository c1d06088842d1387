package wire

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"time"
	"unicode/utf8"
)

// A Stage is a part of a run. A run passes through the stages that it needs in
// the order in which they are named here, and ends in completed or failed.
type Stage string

// The stages.
const (
	StageInitializing Stage = "initializing" // the session and its language process come to be
	StageConnecting   Stage = "connecting"   // the link to the agent, and the wait for the run's turn
	StageUploading    Stage = "uploading"    // files go into the session
	StageInstalling   Stage = "installing"   // packages
	StageExecuting    Stage = "executing"    // the code itself
	StageDownloading  Stage = "downloading"  // files go out
	StageCompleted    Stage = "completed"
	StageFailed       Stage = "failed"
)

// Stages are those that take time, in order.
func Stages() []Stage {
	return []Stage{
		StageInitializing, StageConnecting, StageUploading, StageInstalling, StageExecuting, StageDownloading,
	}
}

// RunKey is the key in a request's and in a reply's metadata under which a Run
// and a RunResult stand.
const RunKey = "gokernel"

// A Run is what an execute_request asks for beside its code, in its metadata
// under RunKey. What a kernel's clients may ask for comes first; the rest is
// taken only from the attachment of a run, and refused from others.
type Run struct {
	// Files go into the working directory before the code runs: relative slash
	// path to content.
	Files map[string]Inline `json:"files,omitempty"`
	// Packages are specifiers for the language's installer.
	Packages []string `json:"packages,omitempty"`
	// Env is set in the language process while the run lasts, and for the
	// installer.
	Env map[string]string `json:"env,omitempty"`
	// Downloads are files below the working directory that come back: relative
	// slash paths.
	Downloads []string `json:"downloads,omitempty"`
	// Progress says when stages are reported: one of the Progress constants;
	// empty means ProgressAuto for a kernel and ProgressAlways for a run.
	Progress string `json:"progress,omitempty"`

	// Manifest are files that the caller sends when it is asked to, because the
	// session does not have them with that content.
	Manifest []Manifest `json:"manifest,omitempty"`
	// Cwd is the working directory of the run, absolute or relative to the
	// session's; empty means that. A relative one is made if it is missing.
	Cwd string `json:"cwd,omitempty"`
	// Language is the one that the code is in; empty means the session's.
	Language string `json:"language,omitempty"`
	// Interpreter is the language's program, if its process is not up yet.
	Interpreter string `json:"interpreter,omitempty"`
	// Limit is how much time the run still has when the agent takes it; 0 means
	// that there is no limit.
	Limit time.Duration `json:"limit,omitempty"`
	// Spent is what the caller's stages took before it sent the run.
	Spent map[Stage]time.Duration `json:"spent,omitempty"`
	// Pull says that the caller fetches the downloads itself, over a transfer
	// connection; otherwise they come in the reply.
	Pull bool `json:"pull,omitempty"`
}

// When a run's stages are reported.
const (
	ProgressAuto   = "auto" // when something beside the code takes noticeable time
	ProgressAlways = "always"
	ProgressNever  = "never"
)

// An Inline is the content of a file within a message: a JSON string, or an
// object {"base64": ...} when it is not text.
type Inline []byte

// A Manifest says what a file of a run is, without its content.
type Manifest struct {
	Path   string `json:"path"` // relative, with slashes
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"` // lower-case hex
	Mode   uint32 `json:"mode,omitempty"`
}

// A Progress reports where a run is. It is the content of a frame of
// KindProgress. Numbers are counted, or absent.
type Progress struct {
	RunID   string   `json:"run_id"`
	Stage   Stage    `json:"stage"`
	Percent *float64 `json:"percent,omitempty"` // of the stage, 0 to 100; never goes back within it
	Message string   `json:"message,omitempty"` // a few words for people
	Elapsed int64    `json:"elapsed_ms"`        // since the run began
	// Remaining is what the stage will still take at the rate so far, in
	// milliseconds.
	Remaining *int64 `json:"remaining_ms,omitempty"`
	Done      *int64 `json:"done,omitempty"`
	Total     *int64 `json:"total,omitempty"`
	Unit      string `json:"unit,omitempty"` // of Done and Total: "bytes", "packages"
}

// Types of the frames of a run that are no messages for clients.
const (
	MsgProgressFirst = "progress_first" // KindProgress: the first that is shown of a run
	MsgProgress      = "progress"       // KindProgress: those after it
	MsgNeed          = "need"           // KindTransfer: a Need
	MsgOffer         = "offer"          // KindTransfer: an Offer
)

// A Need asks the caller of a run for the files of its manifest with these
// indexes, each once: it puts them over a transfer connection.
type Need struct {
	Files []int `json:"files"`
}

// An Offer says that the downloads of a run can be fetched over a transfer
// connection. The caller then makes the call CallFetched; meanwhile the files
// are not changed by other runs.
type Offer struct {
	Files []Offered `json:"files"` // in the order of Run.Downloads
}

// An Offered is one file of an Offer, or why it cannot be had.
type Offered struct {
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	Mode   uint32 `json:"mode,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	Code   string `json:"code,omitempty"` // of a failure, as in End
	Error  string `json:"error,omitempty"`
}

// A RunResult stands in the metadata of an execute_reply under RunKey.
type RunResult struct {
	SessionID string    `json:"session_id"`
	Timing    Timing    `json:"timing"`
	Insights  []Insight `json:"insights"`
	// Files are the downloads that came in the reply.
	Files     map[string]Delivered `json:"files,omitempty"`
	Resources *Resources           `json:"resources,omitempty"` // of runs, not of cells
	// TimeLimit reports that the run was ended by its limit.
	TimeLimit bool `json:"time_limit,omitempty"`
}

// A Delivered is a file in a reply, or why it is not there.
type Delivered struct {
	Data   []byte `json:"base64,omitempty"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256,omitempty"`
	Code   string `json:"code,omitempty"` // of a failure, as in End
	Error  string `json:"error,omitempty"`
}

// A Timing says where the time of a run went. Stages that the run did not need
// are absent; the others add up to Total. In JSON it is {"total_ms", "stages":
// {name: ms}, "share": {name: part of 1}}, and "failed_stage" if there is one.
type Timing struct {
	Total  time.Duration
	Stages map[Stage]time.Duration
	Failed Stage // the stage that failed; empty if none did
}

// Share returns the part of the whole that a stage took, 0 to 1.
func (t *Timing) Share(s Stage) float64 {
	if t.Total <= 0 {
		return 0
	}
	return float64(t.Stages[s]) / float64(t.Total)
}

type timingJSON struct {
	Total  float64           `json:"total_ms"`
	Stages map[Stage]float64 `json:"stages"`
	Share  map[Stage]float64 `json:"share"`
	Failed Stage             `json:"failed_stage,omitempty"`
}

// MarshalJSON implements json.Marshaler. The rounded stages add up as well.
func (t Timing) MarshalJSON() ([]byte, error) {
	out := timingJSON{Stages: map[Stage]float64{}, Share: map[Stage]float64{}, Failed: t.Failed}
	var sum time.Duration
	for stage, d := range t.Stages {
		d = d.Round(time.Microsecond)
		sum += d
		out.Stages[stage] = milliseconds(d)
		out.Share[stage] = math.Round(t.Share(stage)*1e4) / 1e4
	}
	if len(t.Stages) == 0 {
		sum = t.Total
	}
	out.Total = milliseconds(sum)
	return json.Marshal(out)
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Timing) UnmarshalJSON(b []byte) error {
	var in timingJSON
	if err := json.Unmarshal(b, &in); err != nil {
		return err
	}
	*t = Timing{Total: fromMilliseconds(in.Total), Stages: map[Stage]time.Duration{}, Failed: in.Failed}
	for stage, ms := range in.Stages {
		t.Stages[stage] = fromMilliseconds(ms)
	}
	return nil
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond).Microseconds()) / 1e3
}

func fromMilliseconds(ms float64) time.Duration {
	return time.Duration(math.Round(ms*1e3)) * time.Microsecond
}

// An Insight is a finding about where time went, with what it rests on.
type Insight struct {
	Stage      Stage  `json:"stage"`
	Finding    string `json:"finding"`
	Evidence   string `json:"evidence"`
	Suggestion string `json:"suggestion,omitempty"`
}

// Resources say what a run has used: all processes of the session while it
// lasted.
type Resources struct {
	CPU        float64 `json:"cpu_seconds"`
	PeakMemory uint64  `json:"peak_memory_bytes"`
}

// Names of the errors with which an agent answers a request in place of its
// code.
const (
	NameDied      = "KernelDied" // the language process has died
	NameAgentDied = "AgentDied"
	NameNotUp     = "KernelNotStarted"
	NameNoReply   = "KernelBroken"
	NameQueueFull = "QueueFull"
	NameInterrupt = "KeyboardInterrupt"
	NameInvalid   = "InvalidRequest"
	NameLimit     = "TimeLimit"
	NameSetup     = "SetupError" // what comes before its files
	NameUpload    = "UploadError"
	NameInstall   = "InstallError"
	NameDownload  = "DownloadError"
)

// A RunRecord is what the agent remembers of a run.
type RunRecord struct {
	ID       string    `json:"id"`
	Owner    string    `json:"owner"` // KernelOwner for a cell, else its ID
	Language string    `json:"language"`
	State    RunState  `json:"state"`
	Stage    Stage     `json:"stage"`
	Created  time.Time `json:"created"`
	Ended    time.Time `json:"ended,omitzero"`
	Timing   *Timing   `json:"timing,omitempty"` // of one that is done
}

// A RunState is how far a run is.
type RunState string

// States of a run.
const (
	RunQueued  RunState = "queued"
	RunRunning RunState = "running"
	RunDone    RunState = "done"
)

// MarshalJSON implements json.Marshaler.
func (c Inline) MarshalJSON() ([]byte, error) {
	if utf8.Valid(c) {
		return json.Marshal(string(c))
	}
	return json.Marshal(map[string][]byte{"base64": c})
}

// UnmarshalJSON implements json.Unmarshaler. It takes content only: a path of
// the host is refused, for a notebook that came from elsewhere must not read it.
func (c *Inline) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		var text string
		err := json.Unmarshal(b, &text)
		*c = Inline(text)
		return err
	}
	var object struct {
		Base64 *[]byte `json:"base64"`
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&object); err != nil || object.Base64 == nil {
		return errors.New(`the content of a file must be a string or {"base64": "..."}`)
	}
	*c = *object.Base64
	return nil
}
