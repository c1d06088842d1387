package agent

// openFlags are for opening what may be anything.
const openFlags = 0
