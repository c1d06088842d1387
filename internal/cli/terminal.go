package cli

import (
	"io"
	"os"

	"github.com/mattn/go-isatty"
)

// defaultWidth is the width of a terminal that does not say what it is.
const defaultWidth = 80

// terminalOf returns stream as a file if it is a terminal, else nil.
func terminalOf(stream any) *os.File {
	if f, ok := stream.(*os.File); ok && f != nil && isatty.IsTerminal(f.Fd()) {
		return f
	}
	return nil
}

// canDraw reports whether w is a terminal on which a line can be drawn again.
func canDraw(w io.Writer) bool { return terminalOf(w) != nil && os.Getenv("TERM") != "dumb" }

// wantsColour reports whether what is written to w may have colours: on a
// terminal whose user has not said NO_COLOR.
func wantsColour(w io.Writer) bool { return canDraw(w) && os.Getenv("NO_COLOR") == "" }

// fit returns as much of text as has room in columns.
func fit(text string, columns int) string {
	for i, r := range text {
		columns--
		if r >= 0x1100 { // from here on letters that take two columns are common
			columns--
		}
		if columns < 0 {
			return text[:i]
		}
	}
	return text
}
