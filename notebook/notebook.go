package notebook

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"

	"github.com/gokernel/gokernel/protocol"
)

// The version of the format that new notebooks have.
const (
	Major = 4
	Minor = 5
)

// Types of a cell.
const (
	Code     = "code"
	Markdown = "markdown"
	Raw      = "raw"
)

// Types of an output.
const (
	StreamOutput  = "stream"
	DisplayOutput = "display_data"
	ResultOutput  = "execute_result"
	ErrorOutput   = "error"
)

// Tags of cells that [Run] and [Inject] know.
const (
	TagSkip       = "skip-execution"      // the cell is not run
	TagRaises     = "raises-exception"    // the cell may fail
	TagParameters = "parameters"          // the cell sets what parameters override
	TagInjected   = "injected-parameters" // the cell was made by Inject
)

// An Object is a JSON object whose values stay encoded. Values must be valid
// JSON.
type Object map[string]json.RawMessage

// Set encodes v and stores it under key, making the object when o is nil.
func (o *Object) Set(key string, v any) error {
	raw, err := encode(v)
	if err != nil {
		return fmt.Errorf("%s: %w", key, err)
	}
	if *o == nil {
		*o = Object{}
	}
	(*o)[key] = raw
	return nil
}

// Get decodes the value of key into v and reports whether there was one of
// that type.
func (o Object) Get(key string, v any) bool {
	raw, ok := o[key]
	return ok && json.Unmarshal(raw, v) == nil
}

// A Notebook is a whole document.
type Notebook struct {
	Metadata Object
	// Minor is the minor version of the format, kept from reading to writing.
	Minor int
	Cells []*Cell
	// Extra has the fields that the format does not define, and known ones
	// whose value was of the wrong type. They are written back, instead of a
	// known field of the same name. The same holds for cells and outputs.
	Extra Object
}

// A Cell is a cell of any type.
type Cell struct {
	ID       string // empty before format 4.5
	Type     string // Code, Markdown or Raw
	Source   string
	Metadata Object
	// Attachments of markdown and raw cells, by file name.
	Attachments map[string]protocol.MimeBundle
	// Outputs and ExecutionCount are a code cell's.
	Outputs        []*Output
	ExecutionCount *int
	Extra          Object
}

// An Output is one output of a code cell. Which fields count depends on Type.
type Output struct {
	Type string
	// Name and Text are a stream's.
	Name, Text string
	// Data and Metadata are a display's or a result's. Text types are one
	// string here, also when the file has a list of lines.
	Data     protocol.MimeBundle
	Metadata Object
	// ExecutionCount is a result's.
	ExecutionCount *int
	// EName, EValue and Traceback are an error's.
	EName, EValue string
	Traceback     []string
	Extra         Object
}

// New returns an empty notebook of the current version.
func New() *Notebook {
	return &Notebook{Metadata: Object{}, Minor: Minor}
}

// NewCell returns a cell that can be added to nb, with an id when nb's version
// has ids.
func (nb *Notebook) NewCell(cellType, source string) *Cell {
	c := &Cell{Type: cellType, Source: source, Metadata: Object{}}
	if nb.Minor >= 5 {
		c.ID = strings.ReplaceAll(uuid.NewString(), "-", "")[:8]
	}
	return c
}

// Language returns the name of the language of nb's code as its metadata have
// it, or "".
func (nb *Notebook) Language() string {
	var info struct {
		Name string `json:"name"`
	}
	if nb.Metadata.Get("language_info", &info) && info.Name != "" {
		return info.Name
	}
	var spec struct {
		Language string `json:"language"`
	}
	nb.Metadata.Get("kernelspec", &spec)
	return spec.Language
}

// KernelName returns the name of the kernelspec that nb asks for, or "".
func (nb *Notebook) KernelName() string {
	var spec struct {
		Name string `json:"name"`
	}
	nb.Metadata.Get("kernelspec", &spec)
	return spec.Name
}

// Tags returns the cell's tags.
func (c *Cell) Tags() []string {
	var tags []string
	c.Metadata.Get("tags", &tags)
	return tags
}

// HasTag reports whether the cell has the tag.
func (c *Cell) HasTag(tag string) bool { return slices.Contains(c.Tags(), tag) }
