package runner

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"time"
)

// MinPython is the oldest Python that the runner works with.
const MinPython = "3.9"

// An Info says what an interpreter is.
type Info struct {
	// Executable is the interpreter itself: what stands behind a shim or a link
	// on PATH. Kernels start it by this path.
	Executable string `json:"executable"`
	// Version is its version, such as "3.12.1".
	Version string `json:"version"`
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

// Inspect runs a Python interpreter, a path or a name that is looked up on PATH,
// and returns what it is. It returns an error that wraps [ErrInterpreter] and says
// what is wrong when the interpreter is missing, does not run or is too old.
func Inspect(ctx context.Context, interpreter string) (Info, error) {
	ctx, cancel := context.WithTimeout(ctx, inspectWait)
	defer cancel()
	path, err := exec.LookPath(interpreter)
	if err != nil {
		return Info{}, fmt.Errorf("python %q %w: not found", interpreter, ErrInterpreter)
	}
	cmd := exec.CommandContext(ctx, path, "-c", inspectProgram)
	cmd.WaitDelay = time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if ctx.Err() != nil {
		return Info{}, fmt.Errorf("python %q %w: it does not answer: %w", interpreter, ErrInterpreter, ctx.Err())
	}
	if err != nil {
		return Info{}, fmt.Errorf("python %q %w: it does not run: %w%s", interpreter, ErrInterpreter, err, lastLine(stderr.String()))
	}
	// A sitecustomize may print before us.
	out = bytes.TrimSpace(out)
	out = out[bytes.LastIndexByte(out, '\n')+1:]
	var info Info
	if err := json.Unmarshal(out, &info); err != nil || info.Version == "" {
		return Info{}, fmt.Errorf("python %q %w: it answers as no python does", interpreter, ErrInterpreter)
	}
	if tooOld(info.Version) {
		return info, fmt.Errorf("python %q %w: it is Python %s, and %s or newer is needed", interpreter, ErrInterpreter, info.Version, MinPython)
	}
	if info.Executable == "" {
		info.Executable = path
	}
	return info, nil
}

func tooOld(version string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(version, "%d.%d", &major, &minor); err != nil {
		return true
	}
	return major < 3 || major == 3 && minor < 9
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
