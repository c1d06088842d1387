'use strict';
const fs = require('fs');

// Yields what can be read at once.
function* available(fd) {
  for (;;) {
    const chunk = Buffer.allocUnsafe(1 << 16);
    let n;
    try {
      n = fs.readSync(fd, chunk, 0, chunk.length, null);
    } catch {
      return;
    }
    if (n === 0) return;
    yield chunk.subarray(0, n);
  }
}

module.exports = { available };
