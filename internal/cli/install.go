package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/gokernel/gokernel/kernelspec"
	"github.com/gokernel/gokernel/session/runner"
)

func (a *app) installCommand() *cobra.Command {
	var opts kernelspec.InstallOptions
	var sysPrefix bool
	var python, node string
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Install the kernel spec, so that Jupyter clients find the kernel",
		Long: `Install a Jupyter kernel spec that starts this gokernel: for all users, or for the one
who says --user. The Python, or the Node.js for --language javascript, is resolved once,
now: what stands behind a shim or a link.`,
		Args: args(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.install(cmd.Context(), opts, python, node, sysPrefix)
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&opts.User, "user", false, "install for the current user")
	flags.BoolVar(&sysPrefix, "sys-prefix", false, "install into the environment of the Python (its sys.prefix)")
	flags.StringVar(&opts.Prefix, "prefix", "", "install below this directory's share/jupyter/kernels")
	flags.StringVar(&opts.Name, "name", "", fmt.Sprintf("name of the kernel spec (default %q, and %q for JavaScript)", kernelspec.DefaultName, kernelspec.DefaultJavaScriptName))
	flags.StringVar(&opts.DisplayName, "display-name", "", fmt.Sprintf("name that users see (default %q, or %q)", kernelspec.DefaultDisplayName, kernelspec.DefaultJavaScriptDisplayName))
	flags.StringVar(&opts.Language, "language", "python", "language of the kernel: python or javascript")
	flags.StringVar(&python, "python", "python3", "the Python that runs the code")
	flags.StringVar(&node, "node", "node", "the Node.js that runs the code")
	cmd.MarkFlagsMutuallyExclusive("user", "sys-prefix", "prefix")
	return cmd
}

func (a *app) install(ctx context.Context, opts kernelspec.InstallOptions, python, node string, sysPrefix bool) error {
	if err := checkLanguage(opts.Language); err != nil {
		return err
	}
	var info runner.Info
	var err error
	if opts.Language == "python" || sysPrefix {
		if info, err = runner.Inspect(ctx, python); err != nil {
			return fmt.Errorf("%w (name another one with --python)", err)
		}
	}
	if sysPrefix {
		opts.SysPrefix = info.Prefix
	}
	what := "Python"
	if opts.Language == "javascript" {
		what = "Node.js"
		if info, err = runner.InspectNode(ctx, node); err != nil {
			return fmt.Errorf("%w (name another one with --node)", err)
		}
	}
	opts.Interpreter = info.Executable
	dir, err := kernelspec.Install(opts)
	if err != nil {
		return err
	}
	fmt.Fprintf(a.stdout, "Installed kernel spec %s in %s\n", filepath.Base(dir), dir)
	fmt.Fprintf(a.stdout, "It runs %s %s at %s", what, info.Version, info.Executable)
	if opts.Language == "python" && !info.HasIPython {
		fmt.Fprint(a.stdout, ", which has no IPython: cells run in a smaller shell.\nFor magics, rich completion and widgets install the package ipython")
	}
	fmt.Fprintln(a.stdout, ".")
	return nil
}

// checkLanguage refuses a language that there is no runner for.
func checkLanguage(name string) error {
	languages := runner.Languages()
	if _, ok := languages[name]; ok {
		return nil
	}
	return usageError("--language %s is not there: use %s", name, strings.Join(slices.Sorted(maps.Keys(languages)), " or "))
}

func (a *app) uninstallCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "uninstall [NAME...]",
		Short: "Remove kernel specs",
		Long:  "Remove kernel specs by name; without a name the one that 'gokernel install' makes\nfor Python.",
		RunE: func(_ *cobra.Command, names []string) error {
			if len(names) == 0 {
				names = []string{kernelspec.DefaultName}
			}
			var errs []error
			for _, name := range names {
				dir, err := kernelspec.Uninstall(name, nil)
				if errors.Is(err, kernelspec.ErrNotFound) {
					err = &exitError{exitNotFound, err}
				}
				if err != nil {
					errs = append(errs, err)
					continue
				}
				fmt.Fprintf(a.stdout, "Removed %s\n", dir)
			}
			return errors.Join(errs...)
		},
	}
}

func (a *app) listCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the kernel specs that Jupyter clients find",
		Args:  args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			specs, err := kernelspec.List(nil)
			if err != nil {
				return err
			}
			if asJSON {
				return writeJSON(a.stdout, specsJSON(specs))
			}
			return printSpecs(a.stdout, specs)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, in the form of 'jupyter kernelspec list --json'")
	return cmd
}

// specsJSON returns specs in the form of 'jupyter kernelspec list --json'.
func specsJSON(specs []kernelspec.Installed) any {
	type entry struct {
		ResourceDir string           `json:"resource_dir"`
		Spec        *kernelspec.Spec `json:"spec"`
	}
	out := map[string]entry{}
	for _, s := range specs {
		out[s.Name] = entry{s.Dir, s.Spec}
	}
	return map[string]any{"kernelspecs": out}
}

func printSpecs(out io.Writer, specs []kernelspec.Installed) error {
	if len(specs) == 0 {
		_, err := fmt.Fprintln(out, "no kernel specs: run 'gokernel install'")
		return err
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tDISPLAY NAME\tLANGUAGE\tDIRECTORY")
	for _, s := range specs {
		mark := ""
		if kernelspec.IsOwn(s.Spec) {
			mark = " *"
		}
		fmt.Fprintf(w, "%s%s\t%s\t%s\t%s\n", s.Name, mark, s.Spec.DisplayName, s.Spec.Language, s.Dir)
	}
	fmt.Fprintln(w, "\n* starts gokernel")
	return w.Flush()
}
