// Package notebook reads, checks, writes and runs Jupyter notebooks in the
// format nbformat 4, minors 0 to 5 (later minors are read with fewer checks).
//
// A [Notebook] keeps what it does not know: unknown fields and metadata are
// written back as they came. [Notebook.Bytes] gives the same bytes as Python's
// nbformat, so that a file which either has saved shows small differences.
//
// A [Recorder] turns the messages that a kernel publishes into outputs, as
// JupyterLab and nbclient do, and [Run] executes a notebook over a
// [kernel.Conn]. Nothing in this package starts a goroutine, and no type is
// safe for concurrent use unless it says so.
package notebook
