'use strict';
// What code writes and shows, on its way to the link thread.
const { Writable } = require('stream');
const { StringDecoder } = require('string_decoder');
const { syncBuiltinESMExports } = require('module');
const { current } = require('./owner.cjs');
const { Ring, AWAKE, SYNCED, PACKET, STDOUT, STDERR } = require('./ring.cjs');

class Output {
  constructor(ring, port) {
    this.ring = new Ring(ring);
    this.control = this.ring.control;
    this.port = port;
    this.interrupts = null; // set by the kernel
    this.syncs = 0;
  }

  // owner tells the link a request's number.
  owner(request, runs) {
    this.port.postMessage({ owner: request.number, id: request.id, runs });
  }

  // text sends text of the calling code.
  text(kind, text) {
    const request = current();
    if (request.interrupted) throw this.interrupts.stopped();
    this.ring.write(kind, request.number, text);
    if (this.control[AWAKE] === 0 && Atomics.compareExchange(this.control, AWAKE, 0, 1) === 0) {
      this.port.postMessage(null);
    }
  }

  // packet sends any other packet.
  packet(head, ...parts) {
    const packet = [head, ...parts].map((p) => (p instanceof Uint8Array ? p : JSON.stringify(p)));
    packet[0] = head;
    this.interrupts.busy++;
    try {
      // The link looks when the message comes.
      this.ring.write(PACKET, 0, '');
      this.port.postMessage({ packet });
    } finally {
      this.interrupts.busy--;
    }
  }

  // message sends an iopub message of a request.
  message(request, type, content, metadata = {}, buffers = []) {
    if (request.silent && type !== 'error') return;
    this.packet({ type: 'output', id: request.id, msg_type: type }, content, metadata, ...buffers);
  }

  // sync waits until the link has taken all that was written, so that what a child
  // writes comes after it.
  sync() {
    const n = (this.syncs = (this.syncs + 1) & 0xffffff || 1);
    this.port.postMessage({ sync: n });
    for (let seen; (seen = Atomics.load(this.control, SYNCED)) !== n;) {
      Atomics.wait(this.control, SYNCED, seen, 1000);
    }
  }

  // end sends everything and waits until it is with the agent. Nothing can be sent
  // after that.
  end(code, exit) {
    const left = new Int32Array(new SharedArrayBuffer(4));
    this.port.postMessage({ end: { code, exit, left: left.buffer } });
    Atomics.wait(left, 0, 0, 5000);
  }

  // install makes what code writes go through here.
  install() {
    const streams = { stdout: new Stream(this, STDOUT, 1), stderr: new Stream(this, STDERR, 2) };
    for (const [name, stream] of Object.entries(streams)) {
      Object.defineProperty(process, name, { configurable: true, enumerable: true, get: () => stream });
    }
    this._followDescriptors();
    this._followChildren();
    syncBuiltinESMExports();
  }

  // Text that is written to the descriptors 1 and 2 keeps its place.
  _followDescriptors() {
    const fs = require('fs');
    const { writeSync } = fs;
    const output = this;
    fs.writeSync = function (fd, ...rest) {
      if (fd === 1 || fd === 2) output.sync();
      return writeSync(fd, ...rest);
    };
  }

  _followChildren() {
    const child = require('child_process');
    const output = this;
    const { spawn } = child.ChildProcess.prototype;
    child.ChildProcess.prototype.spawn = function (...options) {
      output.sync();
      return spawn.apply(this, options);
    };
    for (const name of ['spawnSync', 'execSync', 'execFileSync']) {
      const run = child[name];
      child[name] = function (...options) {
        output.sync();
        return run.apply(this, options);
      };
      Object.defineProperty(child[name], 'name', { value: name });
    }
  }
}

// A Stream is process.stdout or process.stderr. It writes at once and has no state
// that an interrupt could leave in the middle.
class Stream extends Writable {
  constructor(output, kind, fd) {
    super({ decodeStrings: false });
    this._output = output;
    this._kind = kind;
    this._decoder = new StringDecoder('utf8');
    this.fd = fd;
    this._isStdio = true;
    this.setMaxListeners(0);
  }

  write(chunk, encoding, callback) {
    if (typeof encoding === 'function') [callback, encoding] = [encoding, undefined];
    let text;
    if (typeof chunk === 'string') {
      text = encoding && !/^utf-?8$/i.test(encoding) ? this._decoder.write(Buffer.from(chunk, encoding)) : chunk;
    } else if (ArrayBuffer.isView(chunk)) {
      text = this._decoder.write(Buffer.from(chunk.buffer, chunk.byteOffset, chunk.byteLength));
    } else {
      const error = new TypeError('write: the chunk must be a string or an array of bytes');
      error.code = 'ERR_INVALID_ARG_TYPE';
      throw error;
    }
    if (text !== '') this._output.text(this._kind, text);
    if (typeof callback === 'function') process.nextTick(callback);
    return true;
  }

  end(chunk, encoding, callback) {
    const last = [chunk, encoding, callback].find((a) => typeof a === 'function');
    if (chunk !== undefined && chunk !== null && typeof chunk !== 'function') this.write(chunk, typeof encoding === 'string' ? encoding : undefined);
    if (last) process.nextTick(last);
    return this;
  }

  destroy() {
    return this;
  }
}

module.exports = { Output };
