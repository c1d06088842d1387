'use strict';
// Packets: uint32 count | count x uint32 length | parts, big endian.

// Returns the buffers that make up a packet. Parts are strings, byte arrays, or
// values that are sent as JSON.
function encode(head, parts) {
  const bodies = [head, ...parts].map(bytes);
  const prefix = Buffer.alloc(4 + 4 * bodies.length);
  prefix.writeUInt32BE(bodies.length, 0);
  bodies.forEach((b, i) => prefix.writeUInt32BE(b.length, 4 + 4 * i));
  return [prefix, ...bodies];
}

function bytes(part) {
  if (part instanceof Uint8Array) return part;
  return Buffer.from(typeof part === 'string' ? part : JSON.stringify(part));
}

// Cuts a stream of bytes into packets.
class Reader {
  constructor(found) {
    this.found = found; // called with the parts of each packet
    this.chunks = [];
    this.size = 0;
    this.want = 4;
    this.lengths = null;
  }

  push(chunk) {
    this.chunks.push(chunk);
    this.size += chunk.length;
    while (this.size >= this.want) this._step();
  }

  _step() {
    const all = this.chunks.length === 1 ? this.chunks[0] : Buffer.concat(this.chunks);
    this.chunks = [all];
    const count = all.readUInt32BE(0);
    if (this.lengths === null) {
      if (this.want === 4) {
        this.want = 4 + 4 * count;
        return;
      }
      this.lengths = [];
      let sum = this.want;
      for (let i = 0; i < count; i++) {
        const n = all.readUInt32BE(4 + 4 * i);
        this.lengths.push(n);
        sum += n;
      }
      this.want = sum;
      return;
    }
    let at = 4 + 4 * count;
    const parts = this.lengths.map((n) => all.subarray(at, (at += n)));
    this.chunks = this.size > at ? [all.subarray(at)] : [];
    this.size -= at;
    this.want = 4;
    this.lengths = null;
    this.found(parts);
  }
}

// Returns the object that a part holds, or {} when it is none.
function object(part) {
  try {
    const value = JSON.parse(Buffer.from(part ?? '{}').toString());
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : {};
  } catch {
    return {};
  }
}

module.exports = { encode, Reader, object };
