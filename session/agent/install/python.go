package install

import (
	"context"
	_ "embed" // for pipProgram
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"

	"github.com/gokernel/gokernel/session/wire"
)

//go:embed pip.py
var pipProgram string

// noPip is the exit status of pipProgram where there is no pip.
const noPip = 97

// pip installs with the interpreter's own pip, in two steps. The first finds out
// what is not there yet, with the interpreter's packages and those of the session
// in view, and the second fetches just that: with --target alone pip would fetch
// all dependencies again, and newer ones would hide those that other packages of
// the interpreter were built with.
func (w *work) pip(ctx context.Context) ([]string, error) {
	report := w.at("report.json")
	err := w.call(ctx, &pipReader{}, w.pipArgs("--dry-run", "--report", report), w.Packages)
	var failed *failure
	switch {
	case errors.As(err, &failed) && failed.status == noPip:
		return nil, fmt.Errorf("%s has no pip: install it for this interpreter (on Debian: apt install python3-pip), "+
			"install uv, or use the interpreter of a virtual environment", w.Interpreter)
	case errors.As(err, &failed) && strings.Contains(failed.wrote, "no such option: --"):
		// A pip before 22.2 cannot tell: it gets all.
		err = w.call(ctx, &pipReader{}, w.pipArgs("--target", w.at(target)), w.Packages)
	case err == nil:
		err = w.pipFetch(ctx, report)
	}
	if err != nil {
		return nil, err
	}
	return w.moveIn()
}

// pipFetch performs the second step.
func (w *work) pipFetch(ctx context.Context, report string) error {
	raw, err := os.ReadFile(report)
	if err != nil {
		return fmt.Errorf("reading what pip is going to install: %w", err)
	}
	pins, err := w.pins(raw)
	if err != nil {
		return fmt.Errorf("reading what pip is going to install: %w", err)
	}
	if len(pins) == 0 {
		// Only pip thinks that all is there.
		return w.call(ctx, &pipReader{}, w.pipArgs("--target", w.at(target)), w.Packages)
	}
	return w.call(ctx, &pipReader{total: int64(len(pins))}, w.pipArgs("--no-deps", "--target", w.at(target)), pins)
}

func (w *work) pipArgs(options ...string) []string {
	argv := []string{
		w.Interpreter, "-c", pipProgram, w.Folder,
		"--disable-pip-version-check", "--no-input", "--no-color", "--no-user", "--no-warn-script-location",
	}
	return append(argv, options...)
}

// pinned is a version as it may stand in a pin.
var pinned = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._!+-]*$`)

// pins returns what has to be installed, each with its exact version, from pip's
// report.
func (w *work) pins(report []byte) ([]string, error) {
	var r struct {
		Install []struct {
			Direct   bool `json:"is_direct"`
			Download struct {
				URL       string `json:"url"`
				Directory string `json:"subdirectory"`
				VCS       struct {
					Kind   string `json:"vcs"`
					Commit string `json:"commit_id"`
				} `json:"vcs_info"`
			} `json:"download_info"`
			Metadata struct {
				Name    string `json:"name"`
				Version string `json:"version"`
			} `json:"metadata"`
		} `json:"install"`
	}
	if err := json.Unmarshal(report, &r); err != nil {
		return nil, err
	}
	direct := map[string]string{}
	for _, spec := range w.Packages {
		if name, _, ok := strings.Cut(spec, "@"); ok {
			name, _, _ = strings.Cut(name, "[")
			direct[normal(name)] = spec
		}
	}
	var pins []string
	for _, p := range r.Install {
		pin := p.Metadata.Name + "==" + p.Metadata.Version
		if p.Direct {
			pin = direct[normal(p.Metadata.Name)]
		}
		if p.Direct && pin == "" {
			url := p.Download.URL
			if p.Download.VCS.Kind != "" {
				url = p.Download.VCS.Kind + "+" + url + "@" + p.Download.VCS.Commit
			}
			if p.Download.Directory != "" {
				url += "#subdirectory=" + p.Download.Directory
			}
			pin = p.Metadata.Name + " @ " + url
		}
		if !p.Direct && !pinned.MatchString(p.Metadata.Version) {
			return nil, fmt.Errorf("%s has the version %q", p.Metadata.Name, p.Metadata.Version)
		}
		if err := wire.CheckPackage("python", pin); err != nil {
			return nil, err
		}
		pins = append(pins, pin)
	}
	return pins, nil
}

// uv installs with uv. It fetches the dependencies too that the interpreter has,
// mostly from its cache: with a target of its own it looks at nothing else.
func (w *work) uv(ctx context.Context) ([]string, error) {
	argv := []string{
		"uv", "pip", "install", "--python", w.Interpreter, "--target", w.at(target), "--color", "never", "--no-progress",
	}
	if err := w.call(ctx, &uvReader{}, argv, w.Packages); err != nil {
		return nil, err
	}
	return w.moveIn()
}

var dashes = regexp.MustCompile(`[-_.]+`)

// normal returns the name of a Python package in its normal form.
func normal(name string) string {
	return strings.ToLower(dashes.ReplaceAllLiteralString(strings.TrimSpace(name), "-"))
}
