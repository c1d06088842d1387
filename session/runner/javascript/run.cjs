'use strict';
// The program that evaluates JavaScript in a session: see docs/runner.md.
require('./src/main.cjs').start();
