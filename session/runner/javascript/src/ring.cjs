'use strict';
// Text on its way from the main thread to the link thread, in shared memory: the
// link sees it also while code keeps the main thread busy.
//
// A record is: int32 length in bytes of the text, int32 kind, int32 owner, the
// text. It counts when the write position moves past it, so that a writer that
// is cut off in the middle has written nothing.

const SIZE = 1 << 20; // a power of two
const PIECE = 1 << 14; // characters in a record at most
const WRAP = -1; // instead of a length: the rest up to the end is unused

// Indexes of the control words.
const WRITE = 0; // positions, counted without end
const READ = 1;
const AWAKE = 2; // 1 while the link looks at the ring by itself
const SYNCED = 3; // the last sync that the link has answered
const INTERRUPT = 4; // see interrupt.cjs
const ANSWERED = 5; // counts answers to prompts
const WORDS = 8;

// Kinds of records.
const PACKET = 0; // the next packet of the port belongs here
const STDOUT = 1;
const STDERR = 2;

function create() {
  return { control: new SharedArrayBuffer(4 * WORDS), data: new SharedArrayBuffer(SIZE) };
}

class Ring {
  constructor(shared) {
    this.control = new Int32Array(shared.control);
    this.words = new Int32Array(shared.data);
    this.bytes = Buffer.from(shared.data);
  }

  // write is for the main thread: it waits while there is no room.
  write(kind, owner, text) {
    let from = 0;
    do {
      let to = Math.min(from + PIECE, text.length);
      if (to < text.length && isHigh(text.charCodeAt(to - 1))) to--;
      const piece = from === 0 && to === text.length ? text : text.slice(from, to);
      this._record(kind, owner, piece);
      from = to;
    } while (from < text.length);
  }

  _record(kind, owner, text) {
    const need = 12 + 3 * text.length + 4;
    let write = this.control[WRITE];
    let at = write & (SIZE - 1);
    const rest = SIZE - at;
    if (rest < need) {
      this._room(rest + need);
      this.words[at >> 2] = WRAP;
      write = (write + rest) | 0;
      at = 0;
    } else {
      this._room(need);
    }
    const n = text === '' ? 0 : this.bytes.write(text, at + 12, 'utf8');
    this.words[at >> 2] = n;
    this.words[(at >> 2) + 1] = kind;
    this.words[(at >> 2) + 2] = owner;
    Atomics.store(this.control, WRITE, (write + 12 + ((n + 3) & ~3)) | 0);
  }

  _room(need) {
    for (;;) {
      const read = Atomics.load(this.control, READ);
      if (SIZE - ((this.control[WRITE] - read) | 0) >= need) return;
      Atomics.wait(this.control, READ, read, 1000);
    }
  }

  // end is where the main thread has come.
  get end() {
    return Atomics.load(this.control, WRITE);
  }

  // take is for the link: it calls found(kind, owner, bytes) for each record up to
  // end, or the first of which found returns false: that one stays. The bytes are a
  // copy.
  take(end, found) {
    let read = this.control[READ];
    while (read !== end) {
      const at = read & (SIZE - 1);
      const n = this.words[at >> 2];
      if (n === WRAP) {
        read = (read + SIZE - at) | 0;
      } else {
        const text = n === 0 ? null : Buffer.from(this.bytes.subarray(at + 12, at + 12 + n));
        if (found(this.words[(at >> 2) + 1], this.words[(at >> 2) + 2], text) === false) break;
        read = (read + 12 + ((n + 3) & ~3)) | 0;
      }
      Atomics.store(this.control, READ, read);
    }
    Atomics.notify(this.control, READ);
  }
}

function isHigh(code) {
  return code >= 0xd800 && code < 0xdc00;
}

module.exports = {
  create, Ring, WRITE, READ, AWAKE, SYNCED, INTERRUPT, ANSWERED, PACKET, STDOUT, STDERR,
};
