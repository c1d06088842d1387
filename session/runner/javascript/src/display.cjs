'use strict';
// Values as rich displays.
const util = require('util');

const DISPLAY = Symbol.for('Jupyter.display');

// Methods of values that know how they look in a type.
const METHODS = {
  toHtml: 'text/html', toHTML: 'text/html', _toHtml: 'text/html', toMarkdown: 'text/markdown', toSvg: 'image/svg+xml',
  toSVG: 'image/svg+xml', toPng: 'image/png', toLatex: 'text/latex', _repr_html_: 'text/html',
};

// bundle returns {data, metadata} of a value. It runs code of users and may throw.
async function bundle(value) {
  const own = await special(value);
  if (own === null) return { data: { 'text/plain': util.inspect(value) }, metadata: {} };
  const data = encode(own.data);
  if (!('text/plain' in data)) data['text/plain'] = util.inspect(value, { depth: 0 });
  return { data, metadata: own.metadata };
}

// A value without anything special is shown in the same turn.
function plain(value) {
  return isObject(value) && findMethod(value) !== null ? null : { data: { 'text/plain': util.inspect(value) }, metadata: {} };
}

function isObject(value) {
  return (typeof value === 'object' && value !== null) || typeof value === 'function';
}

function findMethod(value) {
  if (util.types.isProxy(value)) return null;
  if (typeof value[DISPLAY] === 'function') return DISPLAY;
  if (typeof value.toMimeBundle === 'function') return 'toMimeBundle';
  return Object.keys(METHODS).find((name) => typeof value[name] === 'function') ?? null;
}

async function special(value) {
  const method = isObject(value) ? findMethod(value) : null;
  if (method === null) return null;
  let data;
  let metadata = {};
  if (method === DISPLAY) {
    data = await value[DISPLAY]();
  } else if (method === 'toMimeBundle') {
    data = await value.toMimeBundle();
    if (Array.isArray(data)) [data, metadata = {}] = data;
  } else {
    data = {};
    for (const [name, type] of Object.entries(METHODS)) {
      if (typeof value[name] === 'function' && !(type in data)) data[type] = await value[name]();
    }
  }
  if (!isObject(data)) return null;
  // As in messages: {data, metadata}.
  if (isObject(data.data) && Object.keys(data).every((key) => key === 'data' || key === 'metadata')) {
    return { data: data.data, metadata: data.metadata ?? metadata };
  }
  return { data, metadata };
}

// encode returns data as it goes into a message: bytes in base64.
function encode(data) {
  const out = {};
  for (const [type, value] of Object.entries(data)) {
    if (value === undefined || value === null) continue;
    if (ArrayBuffer.isView(value)) out[type] = Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64');
    else if (value instanceof ArrayBuffer) out[type] = Buffer.from(value).toString('base64');
    else if (typeof value === 'string' || /[/+]json$/.test(type)) out[type] = value;
    else out[type] = String(value);
  }
  return out;
}

// Display is the global function display.
function create(send) {
  let count = 0;
  const show = (data, { display_id: id, update = false, metadata = {} } = {}) => {
    if (update && id === undefined) throw new TypeError('display: an update needs the display_id of what it replaces');
    const content = { data, metadata, transient: id === undefined ? {} : { display_id: String(id) } };
    send(update ? 'update_display_data' : 'display_data', content);
  };
  // A handle of what is shown, to replace it.
  const handle = (options, again) => {
    if (options.display_id === undefined) return undefined;
    const display_id = String(options.display_id);
    return { display_id, update: (value, more = {}) => again(value, { ...options, ...more, display_id, update: true }) };
  };
  const identified = (options) => (options.display_id === true ? { ...options, display_id: `display-${process.pid}-${++count}` } : options);
  function display(value, options = {}) {
    const given = identified(options);
    if (given.raw) {
      show(encode(value), given);
      return handle(given, display);
    }
    const now = plain(value);
    if (now !== null) {
      show(now.data, { ...given, metadata: { ...now.metadata, ...given.metadata } });
      return handle(given, display);
    }
    return bundle(value).then(({ data, metadata }) => {
      show(data, { ...given, metadata: { ...metadata, ...given.metadata } });
      return handle(given, display);
    });
  }
  const kinds = {
    html: 'text/html', markdown: 'text/markdown', svg: 'image/svg+xml', png: 'image/png', jpeg: 'image/jpeg',
    latex: 'text/latex', json: 'application/json', text: 'text/plain',
  };
  for (const [name, type] of Object.entries(kinds)) {
    display[name] = function (value, options = {}) {
      const given = identified(options);
      const data = encode({ [type]: value });
      if (!('text/plain' in data)) data['text/plain'] = name === 'html' || name === 'markdown' || name === 'latex' || name === 'json' ? (typeof value === 'string' ? value : util.inspect(value)) : `<${type}>`;
      show(data, given);
      return handle(given, display[name]);
    };
    Object.defineProperty(display[name], 'name', { value: name });
  }
  display.clear = (wait = false) => send('clear_output', { wait: Boolean(wait) });
  return display;
}

module.exports = { bundle, plain, create };
