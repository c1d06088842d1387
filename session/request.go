package session

import (
	"io"
	"io/fs"
	"time"

	"github.com/gokernel/gokernel/session/wire"
)

// What runs report; see the package wire.
type (
	Stage     = wire.Stage
	Progress  = wire.Progress
	Timing    = wire.Timing
	Insight   = wire.Insight
	Resources = wire.Resources
)

// The stages of a run, in order; the last two say how it ended.
const (
	StageInitializing = wire.StageInitializing
	StageConnecting   = wire.StageConnecting
	StageUploading    = wire.StageUploading
	StageInstalling   = wire.StageInstalling
	StageExecuting    = wire.StageExecuting
	StageDownloading  = wire.StageDownloading
	StageCompleted    = wire.StageCompleted
	StageFailed       = wire.StageFailed
)

// A Request says what to run, and where. Only Code is needed.
type Request struct {
	Code string
	// Language is the language of Code: "python", which is also what empty
	// means in a new session, or "javascript". In a session that exists empty
	// means the session's own; another language gets a process of its own there.
	Language string
	// Files go into the working directory before Code runs, by relative path with
	// slashes. One that the session has with this content already is not sent
	// again.
	Files map[string]File
	// Packages are installed before Code runs, unless the language's interpreter
	// says that they are satisfied: specifiers as pip or npm take them.
	Packages []string
	// Env is added to the environment: of the session when the run makes it,
	// otherwise while the run lasts. The installer gets it too.
	Env map[string]string
	// Cwd is the working directory: of the session when the run makes it,
	// otherwise for this run. It is absolute, or relative to the session's, and
	// then made if it is missing. Empty means the session's, which is a fresh
	// directory of its own unless Cwd said otherwise.
	Cwd string
	// Session is the id or the name of a session that exists. With KeepAlive, a
	// name that is free makes one. Empty means a new session.
	Session string
	// KeepAlive keeps the session when the run is over; otherwise one that the
	// run has made is closed, however it ends. A session that was there before is
	// never closed by a run.
	KeepAlive bool
	// Lease is how long a kept session may be idle; 0 means 24 hours, or what it
	// is in one that exists. It is renewed while anything runs or is attached.
	Lease time.Duration
	// TimeLimit ends the run, whatever it is doing, so long after its start; 0
	// means that nothing does.
	TimeLimit time.Duration
	// Input answers what the code asks with input(); nil means that it is
	// refused, with the error that a kernel without stdin gives. ErrNoAnswer
	// answers as the end of the input does. It is called from a goroutine of Run.
	Input func(prompt string, password bool) (string, error)
	// Downloads come back when Code is done, also when it raised: relative paths
	// with slashes, below the working directory.
	Downloads []Download

	// Stdout and Stderr get text as it is written, OnDisplay rich results as
	// they come, OnProgress the stages. Nil ones are left out. They are called
	// one at a time from a goroutine of Run, in order, and delay only this run's
	// output, never the code.
	Stdout     io.Writer
	Stderr     io.Writer
	OnDisplay  func(Result)
	OnProgress func(Progress)
}

// A File is a file to send: one of Bytes, Reader and Path.
type File struct {
	Bytes []byte
	// Reader is read to its end once. One that cannot seek is written to a
	// temporary file first, to know its hash.
	Reader io.Reader
	// Path is a file of the host.
	Path string
	// Mode are the permission bits; 0 means those of Path, else 0644.
	Mode fs.FileMode
}

// A Download is a file to bring back. It is written to Target as it comes, which
// appears there complete or not at all; when Target is empty it is held in memory.
type Download struct {
	Path   string // relative, with slashes, below the working directory
	Target string // a file of the host
}

// A Response says what became of a run. Whatever way it ended, it holds what
// was collected until then.
type Response struct {
	SessionID string
	RunID     string
	Success   bool   // the code ran to its end without raising
	Text      string // the last value, as text
	Stdout    string
	Stderr    string
	Results   []Result // every rich result, in order
	Error     *CodeError
	Files     map[string]Downloaded // by Download.Path
	Timing    Timing
	Insights  []Insight
	Resources Resources
}

// A Result is a rich result: a display or the last value, in all its forms by
// mime type. Text is a string, JSON what it decodes to, everything else base64
// in a string as Jupyter has it.
type Result struct {
	Data     map[string]any `json:"data"`
	Metadata map[string]any `json:"metadata"`
}

// A CodeError is what the code raised, or what befell it.
type CodeError struct {
	Name      string   `json:"name"`
	Value     string   `json:"value"`
	Traceback []string `json:"traceback"`
}

// A Downloaded is a file that came back, or why it did not. One failure does not
// spoil the others.
type Downloaded struct {
	Bytes  []byte // nil when it went to a Target
	Target string
	Size   int64
	Err    error
}
