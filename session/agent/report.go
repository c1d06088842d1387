package agent

// A report tells how far a stage is: in words, and with counts of unit when
// there are any. A total of 0 means that it is not known, a unit of "" that
// nothing is counted. It may be called often and from any goroutine.
type report func(message string, done, total int64, unit string)
