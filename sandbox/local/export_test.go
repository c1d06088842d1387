package local

// WithoutShell makes the driver do without a shell.
func (d *Driver) WithoutShell() { d.shell = "" }
