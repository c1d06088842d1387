package cli

import (
	"encoding/json"
	"errors"
	"io"
	"regexp"
	"strings"

	"github.com/gokernel/gokernel/session"
)

// errShown is the message of a failure about which everything has been said.
var errShown = errors.New("the code raised")

// An execDocument is what exec --json prints.
type execDocument struct {
	SessionID string              `json:"session_id"`
	Success   bool                `json:"success"`
	Text      string              `json:"text"`
	Stdout    string              `json:"stdout"`
	Stderr    string              `json:"stderr"`
	Results   []session.Result    `json:"results"`
	Error     *session.CodeError  `json:"error"` // null when all is well
	Files     map[string]execFile `json:"files"`
	Timing    session.Timing      `json:"timing"`
	Insights  []session.Insight   `json:"insights"`
	Resources session.Resources   `json:"resources"`
}

// An execFile says what became of a download.
type execFile struct {
	Target string  `json:"target"`
	Size   int64   `json:"size"`
	Error  *string `json:"error"` // null when it is there
}

// writeDocument writes the document about a run that ended with err. r is nil
// when there was none.
func writeDocument(w io.Writer, r *session.Response, err error) error {
	if r == nil {
		r = new(session.Response)
	}
	d := execDocument{
		SessionID: r.SessionID, Success: r.Success, Text: r.Text, Stdout: r.Stdout, Stderr: r.Stderr,
		Results: orEmpty(r.Results), Error: r.Error, Files: map[string]execFile{},
		Timing: r.Timing, Insights: orEmpty(r.Insights), Resources: r.Resources,
	}
	for path, f := range r.Files {
		file := execFile{Target: f.Target, Size: f.Size}
		if f.Err != nil {
			text := f.Err.Error()
			file.Error = &text
		}
		d.Files[path] = file
	}
	if d.Error == nil && err != nil && !r.Success {
		d.Error = &session.CodeError{Name: failureName(err), Value: err.Error()}
	}
	if d.Error != nil {
		e := *d.Error
		e.Traceback = orEmpty(e.Traceback)
		d.Error = &e
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(&d)
}

// failureName names what kept code from running to its end.
func failureName(err error) string {
	for name, is := range map[string]error{
		"Interrupted": errSignal, "TimeLimit": session.ErrTimeLimit, "NotFound": session.ErrNotFound,
		"Expired": session.ErrExpired, "Dead": session.ErrDead,
	} {
		if errors.Is(err, is) {
			return name
		}
	}
	return "Failed"
}

// orEmpty returns list, which is written as [] also when it is nil.
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// escapes are what colours text on a terminal, and other sequences for it.
var escapes = regexp.MustCompile(`\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\^_])`)

// traceback returns an error as it is shown to people, without colours unless
// they are wanted.
func traceback(e *session.CodeError, colours bool) string {
	text := strings.Join(e.Traceback, "\n")
	if strings.TrimSpace(text) == "" {
		text = e.Name
		if e.Value != "" {
			text += ": " + e.Value
		}
	}
	if !colours {
		text = escapes.ReplaceAllString(text, "")
	}
	return text
}
