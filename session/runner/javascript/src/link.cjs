'use strict';
// The link thread: it owns the descriptors 3 to 6 and never runs code of users, so
// that output goes out and interrupts come in while the main thread is busy.
const net = require('net');
const { StringDecoder } = require('string_decoder');
const { parentPort, workerData, receiveMessageOnPort } = require('worker_threads');
const { available } = require('./available.cjs');
const packet = require('./packet.cjs');
const { Interrupter } = require('./interrupter.cjs');
const { Ring, PACKET, STDOUT, READ, AWAKE, SYNCED, ANSWERED } = require('./ring.cjs');

const QUIET = 8; // milliseconds between looks at the ring
const JOIN = 1 << 20; // bytes of text in a packet at most
const FULL = 8 << 20; // bytes that wait for the agent before writers have to

// The cost of an error that only says that nothing is there.
Error.stackTraceLimit = 0;

class Link {
  constructor(data) {
    this.main = data.port;
    this.answers = data.answers;
    this.ring = new Ring(data.ring);
    this.control = this.ring.control;
    this.owners = ['']; // request ids by their numbers
    this.owner = 0; // the request that runs or ran last
    this.running = null; // the id of the request that runs
    this.packets = []; // of the main thread, whose place in the ring has not come yet
    this.joined = null; // text that is not sent yet
    this.synced = 0;
    this.ending = false;
    this.conn = new net.Socket({ fd: 3, readable: true, writable: true });
    this.pipes = [5, 6].map((fd, i) => this._pipe(fd, i === 0 ? 'stdout' : 'stderr'));
    this.interrupter = new Interrupter(this, data.ring.control);
  }

  async start() {
    const reader = new packet.Reader((parts) => this._received(parts));
    this.conn.on('data', (chunk) => reader.push(chunk));
    this.conn.on('drain', () => this._relieved());
    this.conn.on('end', () => this._gone());
    this.conn.on('error', () => this._gone());
    this.conn.pause();
    await this.interrupter.start();
    this.main.on('message', (m) => {
      if (this._message(m)) this._drain();
    });
    this.main.postMessage({ up: true, signals: this.interrupter.signals });
    this.conn.resume();
  }

  // From the agent

  _received(parts) {
    const head = packet.object(parts[0]);
    if (head.type === 'input_reply') {
      this.answers.postMessage({ id: head.id, prompt: head.prompt, value: packet.object(parts[1]).value });
      Atomics.add(this.control, ANSWERED, 1);
      Atomics.notify(this.control, ANSWERED);
      return;
    }
    if (head.type === 'request') this.running = String(head.id);
    const texts = parts.slice(1, 3).map((p) => Buffer.from(p).toString());
    const buffers = parts.slice(3).map((p) => new Uint8Array(p));
    this.main.postMessage({ head, texts, buffers });
  }

  _gone() {
    if (!this.ending) process.kill(process.pid, 'SIGKILL');
  }

  // From the main thread

  // Takes a message in and tells whether the ring is to be looked at.
  _message(m) {
    if (m === null) {
      setTimeout(() => this._look(), QUIET);
    } else if (m.packet) {
      this.packets.push(m.packet);
    } else if (m.sync) {
      this.synced = m.sync;
    } else if (m.owner) {
      this.owners[m.owner] = m.id;
      if (m.runs) this.owner = m.owner;
      return false;
    } else if (m.signal) {
      this.interrupter.signal();
      return false;
    } else if (m.end) {
      this._end(m.end);
    }
    return true;
  }

  _look() {
    if (this.ring.end !== this.control[READ]) {
      this._drain();
    } else {
      Atomics.store(this.control, AWAKE, 0);
      if (this.ring.end === this.control[READ]) return;
      if (Atomics.compareExchange(this.control, AWAKE, 0, 1) !== 0) return;
      this._drain();
    }
    setTimeout(() => this._look(), QUIET);
  }

  _drain() {
    if (this.conn.writableLength > FULL) return;
    const end = this.ring.end;
    // What is in the pipes was written before what comes up to end.
    this.conn.cork();
    this._empty();
    this.ring.take(end, (kind, owner, text) => {
      if (kind === PACKET) return this._next();
      if (text !== null) this._text(kind === STDOUT ? 'stdout' : 'stderr', owner, text);
      return true;
    });
    this._flush();
    this.conn.uncork();
    if (this.synced !== this.control[SYNCED]) {
      Atomics.store(this.control, SYNCED, this.synced);
      Atomics.notify(this.control, SYNCED);
    }
  }

  // Sends the packet whose place has come, and returns false if it is not here yet.
  _next() {
    while (this.packets.length === 0) {
      const received = receiveMessageOnPort(this.main);
      if (received === undefined) return false;
      this._message(received.message);
    }
    const [head, ...parts] = this.packets.shift();
    this._flush();
    this._send(head, parts);
    if (head.type === 'done' && head.id === this.running) this.running = null;
    return true;
  }

  _text(name, owner, text) {
    const joined = this.joined;
    if (joined !== null && joined.name === name && joined.owner === owner && joined.size + text.length <= JOIN) {
      joined.pieces.push(text);
      joined.size += text.length;
      return;
    }
    this._flush();
    this.joined = { name, owner, pieces: [text], size: text.length };
  }

  _flush() {
    if (this.joined === null) return;
    const { name, owner, pieces } = this.joined;
    this.joined = null;
    this._send({ type: 'stream', id: this.owners[owner], name }, [Buffer.concat(pieces)]);
  }

  _send(head, parts) {
    for (const piece of packet.encode(head, parts)) {
      if (piece.length > 0) this.conn.write(piece);
    }
    if (this.conn.writableLength > FULL) this.pipes.forEach((p) => p.socket.pause());
  }

  _relieved() {
    this.pipes.forEach((p) => p.socket.resume());
    this._drain();
  }

  _end({ code, exit, left }) {
    this.ending = true;
    this._drain();
    if (exit) this._send({ type: 'exit', code }, []);
    this.interrupter.close();
    const done = () => {
      Atomics.store(new Int32Array(left), 0, 1);
      Atomics.notify(new Int32Array(left), 0);
    };
    // The callback comes when all has been written.
    if (this.conn.writableLength === 0 || this.conn.destroyed) done();
    else this.conn.write('', done);
  }

  // The pipes

  _pipe(fd, name) {
    // The socket makes the descriptor one that does not block.
    const socket = new net.Socket({ fd, readable: true, writable: false });
    const pipe = { fd, name, socket, decoder: new StringDecoder('utf8') };
    socket.on('data', (chunk) => {
      this._piped(pipe, chunk);
      this._flush();
    });
    socket.on('error', () => {});
    return pipe;
  }

  _piped(pipe, chunk) {
    const text = pipe.decoder.write(chunk);
    if (text !== '') this._text(pipe.name, this.owner, Buffer.from(text));
  }

  _empty() {
    for (const pipe of this.pipes) {
      for (const chunk of available(pipe.fd)) this._piped(pipe, chunk);
    }
  }
}

if (parentPort !== null && workerData?.gokernelLink) new Link(workerData.gokernelLink).start();
