package wire

import "time"

// A transfer connection (Hello.Link LinkTransfer) moves the bytes of files and
// the output of commands past the journal. The front says one Transfer at a time
// and then, for "put", data packets and an end; the agent answers with data
// packets, where there are any, and an End. An End with an Error leaves the
// connection usable unless it is a put that was cut short. Several transfers at
// once take several connections.

// Links of a Hello.
const (
	LinkData     = "data"
	LinkControl  = "control"
	LinkTransfer = "transfer"
)

// Types of the packets on a transfer connection.
const (
	TypePut     = "put"     // front -> agent: a Transfer; then TypeData and TypeEnd
	TypeGet     = "get"     // front -> agent: a Transfer; answered by TypeData and TypeEnd
	TypeCommand = "command" // front -> agent: a CommandHead; answered by TypeData and TypeEnd
	TypeData    = "data"    // both ways: a Data; the part is the bytes
	TypeEnd     = "end"     // both ways: an End
)

// MaxData is the largest part of a data packet in bytes.
const MaxData = 1 << 20

// A Transfer names the file to put or get: one of a run, by the index in its
// Manifest or in its Downloads, or one by its path.
type Transfer struct {
	Type  string `json:"type"`
	Run   string `json:"run,omitempty"` // id of the run that Index is about
	Index int    `json:"index,omitempty"`
	Path  string `json:"path,omitempty"` // relative to the session's working directory, with slashes
	Mode  uint32 `json:"mode,omitempty"` // of a put by path; 0 means that of the file that is there, else 0644
}

// A Data is the head of a packet with bytes of a file or of a command's output.
type Data struct {
	Type string `json:"type"`
	Name string `json:"name,omitempty"` // of a command: stdout or stderr
}

// An End ends the bytes of a file or a command's output, and says how it went.
type End struct {
	Type   string `json:"type"`
	Size   int64  `json:"size,omitempty"`
	SHA256 string `json:"sha256,omitempty"`
	Code   string `json:"code,omitempty"` // of a failure: a Code constant, or CodeNotExist
	Error  string `json:"error,omitempty"`
	Exit   *Exit  `json:"exit,omitempty"` // of a command
}

// CodeNotExist says that a file does not exist.
const CodeNotExist = "not exist"

// An Exit says how a command ended.
type Exit struct {
	Code   int    `json:"code"`             // exit status; -1 when ended by a signal
	Signal string `json:"signal,omitempty"` // such as SIGKILL
}

// A CommandHead starts a command in the session's sandbox, with the session's
// environment and working directory. It ends when the connection does.
type CommandHead struct {
	Type string            `json:"type"`
	Argv []string          `json:"argv"`
	Env  map[string]string `json:"env,omitempty"` // added to the session's
	Cwd  string            `json:"cwd,omitempty"` // as in Run
}

// A FileInfo describes a file in a session.
type FileInfo struct {
	Name     string    `json:"name"`
	Size     int64     `json:"size"`
	Mode     uint32    `json:"mode"` // permission bits
	Dir      bool      `json:"dir,omitempty"`
	Link     bool      `json:"link,omitempty"` // a symbolic link
	Modified time.Time `json:"modified"`
}

// MaxList is how many files a call CallList returns at most.
const MaxList = 4096

// ListArgs are the arguments of CallList. Its result is sorted by name; when it
// has MaxList files, those after the last may follow.
type ListArgs struct {
	Path  string `json:"path"`            // as in Transfer; empty means the working directory
	After string `json:"after,omitempty"` // only files whose names come after this one
}

// FetchedArgs are the arguments of CallFetched.
type FetchedArgs struct {
	Run string `json:"run"`
}
