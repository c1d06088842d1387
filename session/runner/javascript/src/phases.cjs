'use strict';
// What the control word INTERRUPT says: the number of an attempt times 8, plus
// one of these.
module.exports = {
  ASKED: 0,
  YES: 1, // the main thread waits for GO
  NO: 2,
  LATE: 3, // the link does not wait any more
  GO: 4,
};
