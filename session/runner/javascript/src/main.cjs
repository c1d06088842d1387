'use strict';
// Starts the link thread and the kernel.
const fs = require('fs');
const path = require('path');
const { MessageChannel, Worker } = require('worker_threads');
const { create: createRing } = require('./ring.cjs');
const display = require('./display.cjs');
const owner = require('./owner.cjs');
const { Interrupts, Interrupted } = require('./interrupts.cjs');
const { Kernel } = require('./kernel.cjs');
const { Modules } = require('./modules.cjs');
const { Output } = require('./output.cjs');
const { Prompts } = require('./prompts.cjs');
const { IMPORT } = require('./source.cjs');
const info = require('./info.cjs');
const timers = require('./timers.cjs');
const services = require('./services.cjs');

const end = process.reallyExit.bind(process);

function start() {
  const ring = createRing();
  const link = new MessageChannel();
  const answers = new MessageChannel();
  const interrupts = new Interrupts(ring.control);
  const output = new Output(ring, link.port1);
  output.interrupts = interrupts;
  const kernel = new Kernel(output, interrupts, new Prompts(output, answers.port1));
  const worker = new Worker(path.join(__dirname, 'link.cjs'), {
    workerData: { gokernelLink: { ring, port: link.port2, answers: answers.port2 } },
    transferList: [link.port2, answers.port2],
    execArgv: [],
    stdin: false,
  });
  worker.on('error', (error) => {
    fs.writeSync(2, `the runner's link thread has ended: ${error.stack}\n`);
    end(1);
  });
  worker.unref();
  const up = ({ signals }) => {
    interrupts.hide();
    // Where the link cannot notice signals.
    if (!signals) process.on('SIGINT', () => link.port1.postMessage({ signal: true }));
  };
  link.port1.on('message', (m) => {
    interrupts.busy++;
    try {
      if (m.up) up(m);
      else if (m.head?.type === 'init') begin(kernel, m);
      else if (m.head) kernel.received(m);
      else kernel.interrupted(m.interrupt ?? m.interrupted);
    } finally {
      interrupts.busy--;
    }
  });
}

// begin makes the process what cells expect it to be.
function begin(kernel, { texts }) {
  const { output, interrupts, prompts } = kernel;
  const init = JSON.parse(texts[0] || '{}');
  const modules = new Modules(typeof init.packages === 'string' ? init.packages : '');
  output.install();
  timers.install(interrupts);
  process.argv.length = 1;
  const show = display.create((type, content) => {
    const request = owner.current();
    if (request.interrupted) throw interrupts.stopped();
    output.message(request, type, content);
  });
  const globals = {
    require: modules.require(),
    [IMPORT]: modules.import(),
    display: show,
    prompt: Object.assign((...a) => prompts.prompt(...a), { password: (text) => prompts.prompt(text, { password: true }) }),
    input: (...a) => prompts.input(...a),
    Interrupted,
  };
  for (const [name, value] of Object.entries(globals)) {
    Object.defineProperty(globalThis, name, { value, configurable: true, writable: true, enumerable: false });
  }
  Object.assign(kernel.services, services.create(kernel));
  Object.assign(kernel.asks, services.asks(modules));
  process.on('uncaughtException', (error) => kernel.late(error, 'Uncaught '));
  process.on('unhandledRejection', (error) => kernel.late(error, 'Uncaught (in promise) '));
  process.reallyExit = (code) => {
    kernel.exiting(code ?? 0);
    end(code ?? 0);
  };
  output.packet({ type: 'ready' }, info.create());
}

module.exports = { start };
