'use strict';
// Requests other than execute_request, and what the agent asks.
const { complete, inspect, codeUnits } = require('./complete.cjs');
const { isComplete } = require('./source.cjs');
const { missing } = require('./packages.cjs');

// create returns the handlers of requests by type; they get a request and return
// the content of its reply.
function create(kernel) {
  const at = ({ content }) => {
    const code = String(content.code ?? '');
    const points = Number.isInteger(content.cursor_pos) && content.cursor_pos >= 0 ? content.cursor_pos : Infinity;
    return [code, codeUnits(code, points)];
  };
  const evaluate = (request) => Object.assign((code) => kernel.value(request, code), { lexical: () => kernel.interrupts.names() });
  return {
    complete_request: (request) => complete(...at(request), evaluate(request)),
    inspect_request: (request) => inspect(...at(request), request.content.detail_level === 1, evaluate(request)),
    is_complete_request: ({ content }) => isComplete(String(content.code ?? '')),
    history_request: ({ content }) => ({ status: 'ok', history: kernel.history.find(content) }),
    comm_info_request: () => ({ status: 'ok', comms: {} }),
    comm_open: (request) => {
      // Nothing here can be the other end of a comm.
      kernel.output.message(request, 'comm_close', { comm_id: String(request.content.comm_id ?? ''), data: {} });
    },
    comm_msg: () => undefined,
    comm_close: () => undefined,
  };
}

// asks returns the handlers of what the agent asks, by name.
function asks(modules) {
  return {
    packages: ({ packages }) => ({ missing: missing(Array.isArray(packages) ? packages.map(String) : [], modules.places()) }),
  };
}

module.exports = { create, asks };
