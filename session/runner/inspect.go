package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// The oldest interpreters that the runners work with.
const (
	MinPython = "3.9"
	MinNode   = "18"
)

// An Info says what an interpreter is.
type Info struct {
	// Executable is the interpreter itself: what stands behind a shim or a link
	// on PATH. Kernels start it by this path.
	Executable string `json:"executable"`
	// Version is its version, such as "3.12.1".
	Version string `json:"version"`
	// The rest is about Pythons only.

	// Prefix is the environment that it belongs to (sys.prefix).
	Prefix string `json:"prefix"`
	// HasIPython reports whether it can import IPython; IPython is the version if
	// that is known.
	HasIPython bool   `json:"has_ipython"`
	IPython    string `json:"ipython"`
	// Managed reports that packages may not be installed into its environment
	// (PEP 668).
	Managed bool `json:"managed"`
}

// ErrInterpreter is wrapped by errors about an interpreter that is missing,
// broken or too old. Their text is for users.
var ErrInterpreter = errors.New("cannot be used")

// inspectWait bounds how long an interpreter may take to say what it is.
const inspectWait = 20 * time.Second

const inspectProgram = `
import sys, json
info = {"executable": sys.executable, "version": "%d.%d.%d" % sys.version_info[:3], "prefix": sys.prefix}
if sys.version_info >= (3, 9):
    import importlib.util, os, sysconfig
    try:
        info["has_ipython"] = importlib.util.find_spec("IPython") is not None
    except Exception:
        info["has_ipython"] = False
    if info["has_ipython"]:
        try:
            from importlib.metadata import version
            info["ipython"] = version("ipython")
        except Exception:
            pass
    marker = os.path.join(sysconfig.get_path("stdlib"), "EXTERNALLY-MANAGED")
    info["managed"] = sys.prefix == sys.base_prefix and os.path.exists(marker)
print(json.dumps(info))
`

const inspectNodeProgram = `process.stdout.write(JSON.stringify({executable: process.execPath, version: process.versions.node}))`

// Inspect runs a Python interpreter, a path or a name that is looked up on PATH,
// and returns what it is. It returns an error that wraps [ErrInterpreter] and says
// what is wrong when the interpreter is missing, does not run or is too old.
func Inspect(ctx context.Context, interpreter string) (Info, error) {
	info, err := ask(ctx, "python", interpreter, "-c", inspectProgram)
	if err == nil && older(info.Version, MinPython) {
		err = fmt.Errorf("python %q %w: it is Python %s, and %s or newer is needed", interpreter, ErrInterpreter, info.Version, MinPython)
	}
	return info, err
}

// InspectNode is [Inspect] for Node.js, which runs JavaScript.
func InspectNode(ctx context.Context, interpreter string) (Info, error) {
	info, err := ask(ctx, "node", interpreter, "-e", inspectNodeProgram)
	if err == nil && older(info.Version, MinNode) {
		err = fmt.Errorf("node %q %w: it is Node.js %s, and %s or newer is needed", interpreter, ErrInterpreter, info.Version, MinNode)
	}
	return info, err
}

// ask runs an interpreter with a program that prints an Info. kind names it in
// errors.
func ask(ctx context.Context, kind, interpreter string, args ...string) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, inspectWait)
	defer cancel()
	path, err := exec.LookPath(interpreter)
	if err != nil {
		return Info{}, fmt.Errorf("%s %q %w: not found", kind, interpreter, ErrInterpreter)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return Info{}, fmt.Errorf("%s %q %w: it does not answer: %w", kind, interpreter, ErrInterpreter, ctx.Err())
	}
	if err != nil {
		return Info{}, fmt.Errorf("%s %q %w: it does not run: %w%s", kind, interpreter, ErrInterpreter, err, lastLine(stderr.String()))
	}
	// A sitecustomize may print before us.
	out = bytes.TrimSpace(out)
	out = out[bytes.LastIndexByte(out, '\n')+1:]
	var info Info
	if err := json.Unmarshal(out, &info); err != nil || info.Version == "" {
		return Info{}, fmt.Errorf("%s %q %w: it answers as no %s does", kind, interpreter, ErrInterpreter, kind)
	}
	if info.Executable == "" {
		info.Executable = path
	}
	return info, nil
}

// older reports whether a version is older than the oldest that is good, or none.
func older(version, oldest string) bool {
	var have, want [2]int
	if _, err := fmt.Sscanf(version, "%d.%d", &have[0], &have[1]); err != nil {
		return true
	}
	// That a number is missing means 0.
	_, _ = fmt.Sscanf(oldest, "%d.%d", &want[0], &want[1])
	return slices.Compare(have[:], want[:]) < 0
}

// lastLine returns the last line of an interpreter's complaint for an error text.
func lastLine(text string) string {
	text = strings.TrimSpace(text)
	text = text[strings.LastIndexByte(text, '\n')+1:]
	if text == "" {
		return ""
	}
	return ": " + text
}
