'use strict';
// Interrupts, on the link thread.
//
// The main thread cannot handle a signal while code keeps it busy. So the link
// asks it, over an inspector session that also reaches it then, to look at what it
// is doing (Interrupts.prepare in interrupts.cjs), and has V8 end that if the
// answer is yes. Between the answer and the end the main thread waits inside the
// inspector, so that nothing else can be hit.
const inspector = require('inspector');
const net = require('net');
const { available } = require('./available.cjs');
const { ASKED, YES, LATE, GO } = require('./phases.cjs');
const { INTERRUPT } = require('./ring.cjs');

// A signal comes within so many milliseconds after the id that belongs to it.
const ECHO = 500;
const AGAIN = 3; // milliseconds between two attempts
const STUCK = 300; // milliseconds that code which is ended may still take
const NOTICE = 20; // milliseconds that the link waits for the main thread
// When a main thread that waits for a child, which began after the signal, gets it
// once more: milliseconds after the interrupt.
const NUDGES = [100, 400, 1600];

class Interrupter {
  constructor(link, control) {
    this.link = link;
    this.control = new Int32Array(control);
    this.session = new inspector.Session();
    this.attempt = 0;
    this.target = null; // the id of the request that is being interrupted
    this.asking = false;
    this.echoes = 0;
    this.echoUntil = 0;
    this.signals = false; // whether signals are noticed on this thread
  }

  async start() {
    this.session.connectToMainThread();
    this.hook = await this._post('Runtime.evaluate', {
      expression: 'globalThis[Symbol.for("gokernel.hook")]',
    }).then((r) => r.result.objectId);
    this.pipe = new net.Socket({ fd: 4, readable: true, writable: false });
    this.pipe.on('data', (chunk) => this._ids(chunk));
    this.pipe.on('error', () => {});
    this._watch();
  }

  close() {
    this.target = null;
    this.session.disconnect();
  }

  _post(method, params) {
    return new Promise((resolve, reject) => {
      this.session.post(method, params, (error, result) => (error ? reject(error) : resolve(result)));
    });
  }

  // Signals are noticed here with a handle of the thread's own loop. Where Node
  // has none to give, the main thread tells when it gets to it.
  _watch() {
    const silent = process.noDeprecation;
    process.noDeprecation = true;
    try {
      const { Signal } = process.binding('signal_wrap');
      this.handle = new Signal();
      this.handle.onsignal = () => this.signal();
      this.signals = this.handle.start(2) === 0;
    } catch {
      this.signals = false;
    }
    process.noDeprecation = silent;
  }

  _ids(chunk) {
    const ids = chunk.toString().split('\n').filter((id) => id !== '');
    this._expect(ids.length);
    if (this.link.running !== null && ids.includes(this.link.running)) this.interrupt();
  }

  // signal is called for each SIGINT.
  signal() {
    for (const chunk of available(4)) this._ids(chunk);
    if (this.echoes > 0 && performance.now() < this.echoUntil) {
      this.echoes--;
    } else if (this.link.running !== null) {
      this.interrupt();
    }
  }

  interrupt() {
    if (this.target === this.link.running) return;
    this.target = this.link.running;
    this.since = performance.now();
    this.nudges = 0;
    // This reaches a main thread that waits.
    this.link.main.postMessage({ interrupt: this.target });
    this._try(0);
  }

  _nudge() {
    this.nudges++;
    this._expect(1);
    process.kill(-process.pid, 'SIGINT');
  }

  _expect(echoes) {
    if (performance.now() > this.echoUntil) this.echoes = 0;
    this.echoes += echoes;
    this.echoUntil = performance.now() + ECHO;
  }

  _try(tries) {
    if (this.target === null) return;
    if (this.target !== this.link.running) {
      this.target = null;
      return;
    }
    const again = () => setTimeout(() => this._try(tries + 1), AGAIN);
    if (this.asking) {
      if (performance.now() - this.since > (NUDGES[this.nudges] ?? Infinity)) this._nudge();
      again();
      return;
    }
    const base = (this.attempt = (this.attempt + 1) & 0xffffff) << 3;
    Atomics.store(this.control, INTERRUPT, base + ASKED);
    this.asking = true;
    this._post('Runtime.callFunctionOn', {
      objectId: this.hook,
      functionDeclaration: 'function(...a) { this.prepare(...a) }',
      arguments: [base, this.target, tries].map((value) => ({ value })),
      silent: true,
    }).catch(() => {}).then(() => (this.asking = false));
    Atomics.wait(this.control, INTERRUPT, base + ASKED, NOTICE);
    const answer = Atomics.compareExchange(this.control, INTERRUPT, base + ASKED, base + LATE) - base;
    if (answer === YES) {
      const id = this.target;
      this._post('Runtime.terminateExecution').catch(() => {}).then(() => {
        this.link.main.postMessage({ interrupted: id });
      });
      Atomics.store(this.control, INTERRUPT, base + GO);
      // V8 may not have ended it, for instance while it still ends something else.
      setTimeout(() => {
        if (this.target === id) this._try(0);
      }, STUCK);
      return;
    }
    again();
  }
}

module.exports = { Interrupter };
