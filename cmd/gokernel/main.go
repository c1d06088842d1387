// Command gokernel is a Jupyter kernel whose code runs in a persistent session.
package main

import (
	"os"

	"github.com/gokernel/gokernel/internal/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
