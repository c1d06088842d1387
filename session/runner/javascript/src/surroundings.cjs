'use strict';

// The working directory and the environment of a request, put back after it but for
// what its code has changed itself.
class Surroundings {
  constructor() {
    this._undo = [];
  }

  enter({ cwd, env }) {
    if (typeof cwd === 'string') {
      const before = process.cwd();
      process.chdir(cwd);
      const inside = process.cwd();
      this._undo.push(() => {
        if (here() === inside) process.chdir(before);
      });
    }
    for (const [name, value] of Object.entries(env ?? {})) {
      const before = process.env[name];
      process.env[name] = value;
      this._undo.push(() => {
        if (process.env[name] !== value) return;
        if (before === undefined) delete process.env[name];
        else process.env[name] = before;
      });
    }
  }

  leave() {
    for (const undo of this._undo.splice(0).reverse()) {
      try {
        undo();
      } catch {
        // The directory is not there any more: the process stays where it is.
      }
    }
  }
}

function here() {
  try {
    return process.cwd();
  } catch {
    return null;
  }
}

module.exports = { Surroundings };
