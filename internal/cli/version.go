package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"github.com/gokernel/gokernel/protocol"
)

// version is set by the linker: -X github.com/gokernel/gokernel/internal/cli.version=v1.2.3.
var version = ""

// versionString returns the version of this program: what the build was told,
// else what Go knows of the module, else "dev".
func versionString() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  args(cobra.NoArgs),
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(a.stdout, "gokernel %s (%s, %s/%s, Jupyter protocol %s)\n",
				versionString(), runtime.Version(), runtime.GOOS, runtime.GOARCH, protocol.Version)
			return err
		},
	}
}
