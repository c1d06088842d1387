// Command progress shows where a run is while it lasts: the stages on standard
// output, the counts within them on standard error.
package main

import (
	"context"
	"fmt"
	"log"
	"os"

	"github.com/gokernel/gokernel/session"
)

func main() {
	var stage session.Stage
	r, err := session.Run(context.Background(), session.Request{
		Code:      "import time\nfor step in range(3):\n    print('step', step)\n    time.sleep(0.1)\nopen('copy.bin', 'wb').write(open('data.bin', 'rb').read());",
		Files:     map[string]session.File{"data.bin": {Bytes: make([]byte, 32<<20)}},
		Downloads: []session.Download{{Path: "copy.bin"}},
		Stdout:    os.Stdout,
		OnProgress: func(p session.Progress) {
			if p.Stage != stage {
				stage = p.Stage
				fmt.Println("stage", stage)
			}
			if p.Percent != nil { // only where something was counted
				fmt.Fprintf(os.Stderr, "%3.0f %%, %d of %d %s, %d ms\n", *p.Percent, *p.Done, *p.Total, p.Unit, p.Elapsed)
			}
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(r.Files["copy.bin"].Size, "bytes came back")

	// The same stages, measured: they add up to the whole.
	var sum float64
	for s := range r.Timing.Stages {
		sum += r.Timing.Share(s)
	}
	fmt.Printf("shares of the stages add up to %.2f\n", sum)
}
