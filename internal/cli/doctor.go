package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/gokernel/gokernel/kernelspec"
	"github.com/gokernel/gokernel/session"
	"github.com/gokernel/gokernel/session/runner"
)

// A finding is what doctor says of one thing.
type finding struct {
	What string `json:"what"`
	OK   bool   `json:"ok"`
	Text string `json:"text"`
}

func (a *app) doctorCommand() *cobra.Command {
	var python string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check that gokernel can work here",
		Args:  args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			findings := a.examine(cmd.Context(), python)
			if asJSON {
				if err := writeJSON(a.stdout, findings); err != nil {
					return err
				}
			}
			bad := 0
			for _, f := range findings {
				mark := "ok  "
				if !f.OK {
					mark = "BAD "
					bad++
				}
				if !asJSON {
					fmt.Fprintf(a.stdout, "%s%-12s %s\n", mark, f.What, f.Text)
				}
			}
			if bad > 0 {
				return fmt.Errorf("%d of %d checks failed", bad, len(findings))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&python, "python", "python3", "the Python to check")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) examine(ctx context.Context, python string) []finding {
	list := []finding{{"version", true, "gokernel " + versionString()}}
	add := func(what string, text string, err error) {
		if err != nil {
			list = append(list, finding{what, false, err.Error()})
			return
		}
		list = append(list, finding{what, true, text})
	}
	dir, err := session.StateDir()
	add("state", dir, err)

	info, err := runner.Inspect(ctx, python)
	text := fmt.Sprintf("Python %s at %s", info.Version, info.Executable)
	if info.HasIPython {
		text += ", with IPython " + info.IPython
	} else {
		text += ", without IPython: no magics but %pip, %time and a few more, simpler completion"
	}
	if info.Managed {
		text += "; its environment is managed, so %pip installs into the session's own folder"
	}
	add("python", text, err)

	// JavaScript is an extra: without it nothing is wrong.
	if node, err := runner.InspectNode(ctx, "node"); err == nil {
		add("node", fmt.Sprintf("Node.js %s at %s, for JavaScript", node.Version, node.Executable), nil)
	} else {
		add("node", fmt.Sprintf("no JavaScript here: %v", err), nil)
	}

	isolation := isolations()["process"].Capabilities()
	add("isolation", isolation.Name+": "+isolation.Note, nil)

	specs, err := ownSpecs()
	if err == nil && len(specs) == 0 {
		err = errors.New("no kernel spec of gokernel is installed: run 'gokernel install'")
	}
	add("kernel spec", strings.Join(specs, ", "), err)

	if info.Version != "" && dir != "" {
		took, err := a.tryCell(ctx, info.Executable)
		add("a cell", fmt.Sprintf("the first result came after %d ms", took.Milliseconds()), err)
	}
	return list
}

// ownSpecs returns the installed kernel specs that start gokernel.
func ownSpecs() ([]string, error) {
	specs, err := kernelspec.List(nil)
	if err != nil {
		return nil, err
	}
	var own []string
	for _, s := range specs {
		if kernelspec.IsOwn(s.Spec) {
			if _, err := os.Stat(s.Spec.Argv[0]); err != nil {
				return nil, fmt.Errorf("kernel spec %s starts %s, which is not there: run 'gokernel install' again", s.Name, s.Spec.Argv[0])
			}
			own = append(own, s.Name)
		}
	}
	return own, nil
}

// tryCell runs one cell in a session of its own.
func (a *app) tryCell(ctx context.Context, python string) (took time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	err = a.withManager(func(m *session.Manager) error {
		start := time.Now()
		text, err := runOne(ctx, m, python, "print(6 * 7)")
		took = time.Since(start)
		if err == nil && strings.TrimSpace(text) != "42" {
			err = fmt.Errorf("print(6 * 7) printed %q", text)
		}
		return err
	})
	return took, err
}
