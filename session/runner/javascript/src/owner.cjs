'use strict';
// Which request an output belongs to: what a request has started inherits it.
const { AsyncLocalStorage } = require('async_hooks');

const storage = new AsyncLocalStorage();

// A Request is a request of the agent.
class Request {
  constructor(number, head, texts, buffers, object) {
    this.number = number; // that the link thread knows its id by
    this.id = String(head.id ?? '');
    this.type = String(head.msg_type ?? '');
    this.head = head;
    this.content = object(texts[0]);
    this.metadata = object(texts[1]);
    this.buffers = buffers;
    this.silent = this.content.silent === true;
    this.finished = false; // it is answered
    this.interrupted = false;
    this.timers = new Set(); // what it has started and an interrupt stops
  }
}

// The request that runs or ran last: the owner of what nobody owns.
let latest = new Request(0, {}, [], [], () => ({}));

function current() {
  return storage.getStore() ?? latest;
}

function enter(request) {
  latest = request;
}

function run(request, job) {
  return storage.run(request, job);
}

module.exports = { Request, current, enter, run };
