package files

import (
	"io"
	"os"
)

// nonblock keeps an open from waiting for whoever may be at the other end.
const nonblock = 0

// lockFile locks nothing: what is left of a killed agent stays.
func lockFile(*os.File) (lock io.Closer, ours bool, err error) { return nil, true, nil }
