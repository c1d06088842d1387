'use strict';
// Interrupts, on the main thread.
const inspector = require('inspector');
const { executionAsyncId } = require('async_hooks');
const { current } = require('./owner.cjs');
const { INTERRUPT } = require('./ring.cjs');
const { YES, NO, ASKED, GO } = require('./phases.cjs');
const errors = require('./errors.cjs');

// How often the link asks before code that is not the request's is ended too:
// somebody else's code keeps the main thread busy.
const PATIENCE = 100;

// An Interrupted is the error of a cell that was interrupted.
class Interrupted extends Error {
  constructor(message = 'the cell was interrupted') {
    super(message);
  }
}
Object.defineProperty(Interrupted.prototype, 'name', { value: 'Interrupted', configurable: true, writable: true });

// Runs code so that it can be ended from outside, and evaluates cells.
class Interrupts {
  constructor(control) {
    this.control = new Int32Array(control);
    this.session = new inspector.Session();
    this.session.connect();
    this.busy = 0; // above 0 while the runner itself works: it must not be cut
    this.inside = 0; // above 0 inside of a barrier
    this.cut = null; // where the last interrupt hit
    this._clear = asyncStack();
    const key = Symbol.for('gokernel.hook');
    const hook = { prepare: (...a) => this._prepare(...a), run: () => this._job(), take: (v) => (this._taken = v) };
    Object.defineProperty(globalThis, key, { value: hook, configurable: true });
    this._post('Runtime.evaluate', { expression: 'globalThis[Symbol.for("gokernel.hook")]' }, (error, r) => {
      this.hook = r.result.objectId;
    });
  }

  // hide takes away what the link thread needs only to start.
  hide() {
    delete globalThis[Symbol.for('gokernel.hook')];
  }

  _post(method, params, done) {
    this.session.post(method, params, done);
  }

  // evaluate runs a script and calls done(error, result) when it has ended, with
  // what it awaits; at once if nothing. error is set if it was cut.
  evaluate(code, done) {
    this.inside++;
    const depth = this.busy;
    this.busy = 0;
    try {
      this._post('Runtime.evaluate', { expression: code, replMode: true, objectGroup: 'cell', silent: true }, (error, r) => {
        if (error) this._recover();
        done(error, r);
      });
    } finally {
      this.inside--;
      this.busy = depth;
    }
  }

  // value returns the value behind a remote object.
  value(remote) {
    if (remote.type === 'undefined') return undefined;
    const argument = remote.objectId ? { objectId: remote.objectId }
      : 'unserializableValue' in remote ? { unserializableValue: remote.unserializableValue } : { value: remote.value };
    this._taken = undefined;
    this._post('Runtime.callFunctionOn', {
      objectId: this.hook, functionDeclaration: 'function(v) { this.take(v) }', arguments: [argument], silent: true,
    });
    const value = this._taken;
    this._taken = undefined;
    this._post('Runtime.releaseObjectGroup', { objectGroup: 'cell' });
    return value;
  }

  // names returns the names that cells have declared with let, const and class.
  names() {
    let names = [];
    this._post('Runtime.globalLexicalScopeNames', {}, (error, r) => (names = error ? [] : r.names));
    return names;
  }

  // guard runs a function of the runner's that calls code of users, and returns
  // its value. It throws Interrupted if the code was cut.
  guard(job) {
    let outcome = null;
    const before = this._job;
    this._job = () => {
      try {
        outcome = { value: job() };
      } catch (error) {
        outcome = { error };
      }
    };
    this.inside++;
    const depth = this.busy;
    this.busy = 0;
    try {
      this._post('Runtime.callFunctionOn', {
        objectId: this.hook, functionDeclaration: 'function() { this.run() }', silent: true,
      });
    } finally {
      this._job = before;
      this.inside--;
      this.busy = depth;
    }
    if (outcome === null) {
      this._recover();
      throw this.error();
    }
    if ('error' in outcome) throw outcome.error;
    return outcome.value;
  }

  // error returns an Interrupted that says where the code was cut.
  error() {
    const error = new Interrupted();
    error.stack = this.cut ?? `${error.name}: ${error.message}`;
    this.cut = null;
    return error;
  }

  // Code that is cut does not leave the asynchronous contexts that it has entered.
  _recover() {
    if (executionAsyncId() !== 0) this._clear();
  }

  // _prepare is called by the link thread, between two steps of whatever runs here.
  _prepare(base, id, tries) {
    const request = current();
    let frames = [];
    if (this.busy === 0 && ((request.id === id && !request.finished) || tries > PATIENCE)) {
      // The first two are the call from the inspector.
      frames = errors.lines(this._prepare).slice(2);
    }
    // Node does not survive that its bookkeeping is cut; it is short.
    const yes = frames.length > 0 && !frames[0].includes('node:internal/async_hooks');
    const answer = base + (yes ? YES : NO);
    if (Atomics.compareExchange(this.control, INTERRUPT, base + ASKED, answer) !== base + ASKED || !yes) return;
    this.cut = [`Interrupted: ${new Interrupted().message}`, ...errors.clean(frames)].join('\n');
    if (this.inside === 0) this._clear();
    // Not Atomics.wait: the code may be in the middle of one.
    while (Atomics.load(this.control, INTERRUPT) !== base + GO);
  }

  // stopped returns what code of an interrupted cell gets that still runs.
  stopped() {
    return new Interrupted('the cell that started this was interrupted');
  }
}

// asyncStack returns the function that Node calls itself after an exception that
// nobody has caught.
function asyncStack() {
  const silent = process.noDeprecation;
  process.noDeprecation = true;
  try {
    const { clearAsyncIdStack } = process.binding('async_wrap');
    return typeof clearAsyncIdStack === 'function' ? clearAsyncIdStack : () => {};
  } catch {
    return () => {};
  } finally {
    process.noDeprecation = silent;
  }
}

module.exports = { Interrupts, Interrupted };
