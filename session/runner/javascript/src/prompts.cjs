'use strict';
// Questions to the user.
const { receiveMessageOnPort } = require('worker_threads');
const { current } = require('./owner.cjs');
const { ANSWERED } = require('./ring.cjs');

class Prompts {
  constructor(output, answers) {
    this.output = output;
    this.answers = answers; // the port on which answers come
    this.count = 0;
    this.open = new Map(); // what to do with the answers to prompts of input, by number
    answers.on('message', (answer) => this._answered(answer));
    answers.unref();
  }

  _ask(name, text, password) {
    const request = current();
    if (request.finished || request.content.allow_stdin !== true) {
      throw new Error(`${name} was called, but this frontend does not support input`);
    }
    const number = ++this.count;
    this.output.packet(
      { type: 'input_request', id: request.id, prompt: number },
      { prompt: String(text ?? ''), password: Boolean(password) },
    );
    return number;
  }

  _answered(answer) {
    const resolve = this.open.get(answer.prompt);
    this.open.delete(answer.prompt);
    resolve?.(String(answer.value ?? ''));
  }

  // prompt asks and waits: nothing else runs meanwhile.
  prompt(text, { password = false } = {}) {
    const number = this._ask('prompt', text, password);
    const { control } = this.output;
    for (;;) {
      const seen = Atomics.load(control, ANSWERED);
      for (let m; (m = receiveMessageOnPort(this.answers)) !== undefined;) {
        if (m.message.prompt === number) return String(m.message.value ?? '');
        this._answered(m.message);
      }
      Atomics.wait(control, ANSWERED, seen, 1000);
    }
  }

  // input returns a promise of the answer.
  async input(text, { password = false } = {}) {
    const number = this._ask('input', text, password);
    return new Promise((resolve) => this.open.set(number, resolve));
  }
}

module.exports = { Prompts };
