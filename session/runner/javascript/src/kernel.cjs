'use strict';
// The requests of the agent, one at a time.
const { MessageChannel } = require('worker_threads');
const errors = require('./errors.cjs');
const owner = require('./owner.cjs');
const display = require('./display.cjs');
const { transform } = require('./source.cjs');
const { Interrupted } = require('./interrupts.cjs');
const { History } = require('./history.cjs');
const { Surroundings } = require('./surroundings.cjs');

class Kernel {
  constructor(output, interrupts, prompts) {
    this.output = output;
    this.interrupts = interrupts;
    this.prompts = prompts;
    this.services = {}; // handlers of other requests than execute_request, by type
    this.asks = {}; // handlers of asks
    this.count = 1; // of the next cell
    this.numbers = 0;
    this.jobs = []; // each for a turn of its own
    this.turns = new MessageChannel();
    this.turns.port1.on('message', () => this._turn());
    this.active = null; // the request that runs
    this.waiting = []; // asks that came meanwhile
    this.started = null;
    this.surroundings = new Surroundings();
    this.history = new History();
  }

  // received takes a packet of the agent's.
  received({ head, texts, buffers }) {
    if (head.type === 'request') {
      this._request(new owner.Request(++this.numbers, head, texts, buffers, object));
    } else if (head.type === 'ask') {
      if (this.active === null) this._ask(head, object(texts[0]));
      else this.waiting.push([head, object(texts[0])]);
    } else if (head.type === 'shutdown') {
      this.leave(0);
    }
  }

  // interrupted ends the request with this id, if it still runs.
  interrupted(id) {
    const request = this.active;
    if (request === null || request.id !== id) return;
    this._failed(request, this.interrupts.error());
  }

  // leave ends the process with what its exit handlers do.
  leave(code) {
    this.leaving = true;
    process.exit(code);
  }

  // exiting is called last of all before the process ends.
  exiting(code) {
    const request = this.active;
    this.interrupts.busy++;
    if (request !== null) {
      if (request.type === 'execute_request') this._answer(request, this._ok(request, {}), { started: this.started });
      this._done(request);
    }
    this.output.end(code, !this.leaving);
    this.interrupts.session.disconnect();
  }

  // late reports an error that nobody has caught, under what has caused it.
  late(error, prefix) {
    const request = owner.current();
    if (request.interrupted) return;
    const shown = this._described(request, error);
    this._text(request, `${prefix}${shown.traceback.join('\n').replace(/^Uncaught /, '')}\n`);
  }

  _text(request, text) {
    owner.run(request, () => process.stderr.write(text));
  }

  _request(request) {
    this.active = request;
    request.count = this.count;
    owner.enter(request);
    this.output.owner(request, true);
    try {
      this.surroundings.enter(request.head);
      if (request.type === 'execute_request') this._execute(request);
      else this._serve(request);
    } catch (error) {
      this._failed(request, error);
    }
  }

  // _serve answers any other request; a handler returns the reply's content.
  async _serve(request) {
    const handler = this.services[request.type];
    try {
      const content = handler === undefined ? undefined : await this._guard(request, () => handler(request));
      if (request.finished) return;
      if (content !== undefined) this._answer(request, content, {});
      this._done(request);
    } catch (error) {
      this._failed(request, error);
    }
  }

  _execute(request) {
    this.started = new Date().toISOString();
    const { content } = request;
    const code = typeof content.code === 'string' ? content.code : String(content.code ?? '');
    const store = content.store_history !== false && !request.silent && code.trim() !== '';
    if (store) {
      this.count++;
      request.entry = this.history.add(request.count, code);
    }
    this.output.message(request, 'execute_input', { code, execution_count: request.count });
    // A cell with nothing in it does not count.
    if (code.trim() === '') request.count = Math.max(0, this.count - 1);
    request.where = `cell[${request.count}]`;
    const script = `${transform(code)}\n//# sourceURL=${request.where}`;
    owner.run(request, () => this.interrupts.evaluate(script, (error, r) => {
      this._evaluated(request, code, error, r).catch((failure) => this._failed(request, failure));
    }));
  }

  async _evaluated(request, code, error, r) {
    if (request.finished) return;
    if (error) {
      this._failed(request, this.interrupts.error());
      return;
    }
    if (r.exceptionDetails) {
      const thrown = r.exceptionDetails.exception ? this.interrupts.value(r.exceptionDetails.exception) : new Error(r.exceptionDetails.text);
      this._failed(request, thrown, syntaxAt(request, code, thrown, r.exceptionDetails));
      return;
    }
    const value = this.interrupts.value(r.result);
    if (value !== undefined && !request.silent) {
      const shown = (await this._guard(request, () => display.plain(value))) ?? (await this._guard(request, () => display.bundle(value)));
      if (request.finished) return;
      if (request.entry) request.entry.output = shown.data['text/plain'] ?? null;
      this.output.message(request, 'execute_result', { ...shown, execution_count: request.count });
    }
    const expressions = await this._expressions(request);
    if (request.finished) return;
    this._answer(request, this._ok(request, expressions), { started: this.started });
    this._done(request);
  }

  // _guard runs code of users. V8 can only end it alone where it was not called from
  // a promise's reaction, so that it has a turn of its own.
  _guard(request, job) {
    return new Promise((resolve, reject) => {
      this._later(() => {
        try {
          resolve(owner.run(request, () => this.interrupts.guard(job)));
        } catch (error) {
          reject(error);
        }
      });
    });
  }

  _later(job) {
    this.jobs.push(job);
    this.turns.port2.postMessage(null);
  }

  _turn() {
    const job = this.jobs.shift();
    this.interrupts.busy++;
    try {
      job();
    } finally {
      this.interrupts.busy--;
    }
  }

  async _expressions(request) {
    const wanted = request.content.user_expressions;
    const found = {};
    if (wanted === null || typeof wanted !== 'object') return found;
    for (const [name, code] of Object.entries(wanted)) {
      try {
        const value = await this.value(request, String(code));
        const shown = (await this._guard(request, () => display.plain(value))) ?? (await this._guard(request, () => display.bundle(value)));
        found[name] = { status: 'ok', ...shown };
      } catch (error) {
        found[name] = { status: 'error', ...(await this._guard(request, () => errors.safely(error))) };
      }
    }
    return found;
  }

  // value evaluates an expression.
  value(request, code) {
    return new Promise((resolve, reject) => {
      owner.run(request, () => this.interrupts.evaluate(code, (error, r) => {
        if (error) reject(this.interrupts.error());
        else if (r.exceptionDetails) reject(this.interrupts.value(r.exceptionDetails.exception));
        else resolve(this.interrupts.value(r.result));
      }));
    });
  }

  _ok(request, expressions) {
    return { status: 'ok', execution_count: request.count, user_expressions: expressions, payload: [] };
  }

  // _failed answers a request whose code, or whose handling, has thrown.
  _failed(request, error, where) {
    this._later(() => this._fail(request, error, where));
  }

  _fail(request, error, where) {
    if (request.finished) return;
    const shown = this._described(request, error, where);
    if (error instanceof Interrupted) request.interrupted = true;
    if (request.type === 'execute_request') {
      this.output.message(request, 'error', shown);
      const content = { status: 'error', execution_count: request.count, ...shown, user_expressions: {}, payload: [] };
      this._answer(request, content, { started: this.started });
    } else {
      if (!request.interrupted) this._text(request, shown.traceback.join('\n') + '\n');
      if (request.type.endsWith('_request')) this._answer(request, { status: 'error', ...shown }, {});
    }
    this._done(request);
  }

  _described(request, error, where) {
    if (error instanceof Interrupted) return errors.interrupted(error);
    try {
      return owner.run(request, () => this.interrupts.guard(() => errors.safely(error, where)));
    } catch (cut) {
      return errors.interrupted(cut);
    }
  }

  _answer(request, content, metadata) {
    const head = { type: 'reply', id: request.id, msg_type: request.type.replace(/_request$/, '_reply') };
    this.output.packet(head, content, metadata);
  }

  _done(request) {
    request.finished = true;
    this.surroundings.leave();
    this.active = null;
    this.output.packet({ type: 'done', id: request.id });
    for (const [head, content] of this.waiting.splice(0)) this._ask(head, content);
  }

  async _ask(head, content) {
    const handler = this.asks[head.what];
    try {
      if (handler === undefined) throw new Error(`the runner cannot be asked for ${JSON.stringify(head.what)}`);
      const answer = await handler(content);
      this.output.packet({ type: 'answer', ask: head.ask }, answer);
    } catch (error) {
      this.output.packet({ type: 'answer', ask: head.ask, error: String(error.message) }, {});
    }
  }
}

function object(text) {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === 'object' && !Array.isArray(value) ? value : {};
  } catch {
    return {};
  }
}

// syntaxAt returns the line of a cell that V8 cannot read, with a mark below it.
function syntaxAt(request, code, thrown, details) {
  // One that code has thrown says itself where.
  if (!(thrown instanceof SyntaxError) || errors.cleanText(String(thrown.stack)).includes('\n    at ')) return '';
  const text = code.split('\n')[details.lineNumber];
  if (text === undefined || (details.url !== undefined && details.url !== request.where)) return '';
  return `${request.where}:${details.lineNumber + 1}\n${text}\n${' '.repeat(details.columnNumber)}^\n\n`;
}

module.exports = { Kernel };
