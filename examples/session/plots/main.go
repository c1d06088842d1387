// Command plots draws with matplotlib. A figure comes back as a rich result, as
// in a notebook, and a file that the code has saved as a download, which is
// written to this machine's disk while it comes.
package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"log"
	"os"
	"path/filepath"

	"github.com/gokernel/gokernel/session"
)

const code = `
import matplotlib
matplotlib.use("agg")
import matplotlib.pyplot as plt
from IPython.display import Image, display

figure, axes = plt.subplots()
axes.plot([n * n for n in range(20)])
figure.savefig("squares.png")
display(Image("squares.png"))
`

func main() {
	if err := draw(context.Background()); err != nil {
		log.Fatal(err)
	}
}

func draw(ctx context.Context) error {
	dir, err := os.MkdirTemp("", "plots-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	target := filepath.Join(dir, "squares.png")

	r, err := session.Run(ctx, session.Request{
		Code:      code,
		Packages:  []string{"matplotlib", "ipython"},
		Downloads: []session.Download{{Path: "squares.png", Target: target}},
	})
	if err != nil {
		return err
	}
	if !r.Success {
		return fmt.Errorf("%s: %s", r.Error.Name, r.Error.Value)
	}
	for _, result := range r.Results {
		if text, ok := result.Data["image/png"].(string); ok {
			image, err := base64.StdEncoding.DecodeString(text)
			if err != nil {
				return err
			}
			fmt.Println("shown:", describe(image))
		}
	}
	saved, err := os.ReadFile(target)
	if err != nil {
		return err
	}
	fmt.Println("saved:", describe(saved))
	return nil
}

func describe(image []byte) string {
	if !bytes.HasPrefix(image, []byte("\x89PNG")) {
		return "no PNG"
	}
	if len(image) < 1000 {
		return "a PNG of less than 1 kB"
	}
	return "a PNG of some kB"
}
