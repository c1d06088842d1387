'use strict';
// Timers end with the cell that has started them when it is interrupted.
const timers = require('timers');
const promises = require('timers/promises');
const util = require('util');
const { syncBuiltinESMExports } = require('module');
const { current } = require('./owner.cjs');

const CLEAR = { setTimeout: 'clearTimeout', setInterval: 'clearInterval', setImmediate: 'clearImmediate' };

function install(interrupts) {
  const stop = (request) => {
    if (request.interrupted) throw interrupts.stopped();
  };
  for (const [name, clear] of Object.entries(CLEAR)) {
    const start = timers[name];
    const wrapped = {
      [name](callback, ...rest) {
        if (typeof callback !== 'function') return start(callback, ...rest);
        const request = current();
        stop(request);
        const timer = start(function (...given) {
          if (request.interrupted) timers[clear](timer);
          else callback.apply(this, given);
        }, ...rest);
        return timer;
      },
    }[name];
    timers[name] = globalThis[name] = wrapped;
    if (name === 'setInterval') continue;
    const wait = promises[name];
    promises[name] = async (...a) => {
      const request = current();
      stop(request);
      const value = await wait(...a);
      stop(request);
      return value;
    };
    Object.defineProperty(wrapped, util.promisify.custom, { enumerable: true, get: () => promises[name] });
  }
  syncBuiltinESMExports();
}

module.exports = { install };
