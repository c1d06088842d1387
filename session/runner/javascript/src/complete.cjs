'use strict';
// Completion and inspection, from live objects and without running getters.
const Module = require('module');
const util = require('util');
const { tokenize } = require('./source.cjs');

const KEYWORDS = [
  'async', 'await', 'break', 'case', 'catch', 'class', 'const', 'continue', 'debugger', 'default', 'delete', 'do', 'else',
  'export', 'extends', 'false', 'finally', 'for', 'function', 'if', 'import', 'in', 'instanceof', 'let', 'new', 'null',
  'of', 'return', 'static', 'super', 'switch', 'this', 'throw', 'true', 'try', 'typeof', 'var', 'void', 'while', 'with', 'yield',
];
const NAME = /^[\p{ID_Start}$_][\p{ID_Continue}$\u200c\u200d]*$/u;
const MISSING = Symbol('missing');

// complete returns the content of complete_reply; cursor is in code units.
async function complete(code, cursor, evaluate) {
  const before = code.slice(0, cursor);
  const { tokens, open } = tokenize(before);
  const module = /(?:\brequire|\bimport|\bfrom)\s*\(?\s*(['"])([^'"\n]*)$/.exec(before);
  let word = '';
  let found = [];
  if (module !== null) {
    word = module[2];
    found = Module.builtinModules.filter((name) => !name.startsWith('_')).flatMap((name) => [name, `node:${name}`]).map((name) => [name, 'module']);
  } else if (!['"', "'", '`', '/*'].includes(open[open.length - 1]) && !tokens.comment) {
    const { names, partial, chain } = memberAt(tokens, cursor);
    word = partial;
    if (!chain) found = await globals(evaluate);
    else if (names !== null) found = members(await resolve(names, evaluate));
  }
  const seen = new Map(found.filter(([name]) => name.startsWith(word)));
  const matches = [...seen.keys()].sort(order);
  const start = points(code, cursor - word.length);
  const end = points(code, cursor);
  const types = matches.map((text) => ({ start, end, text, type: seen.get(text) }));
  return { status: 'ok', matches, cursor_start: start, cursor_end: end, metadata: { _jupyter_types_experimental: types } };
}

function order(a, b) {
  const rank = (name) => (name.startsWith('_') ? 1 : 0);
  return rank(a) - rank(b) || (a < b ? -1 : a > b ? 1 : 0);
}

// memberAt reads the chain of names that ends at the cursor: names are those before
// the last dot, null if it is no chain of plain names.
function memberAt(tokens, cursor) {
  let i = tokens.length - 1;
  let partial = '';
  if (i >= 0 && tokens[i].type === 'word' && tokens[i].end === cursor) partial = tokens[i--].text;
  const isDot = () => i >= 0 && (tokens[i].text === '.' || tokens[i].text === '?.');
  if (!isDot()) return { names: [], partial, chain: false };
  const names = [];
  while (isDot()) {
    i--;
    const t = tokens[i];
    if (t?.type === 'string') {
      names.unshift({ value: '' });
      i--;
      break;
    }
    if (t?.text === ']' && t.opener) {
      // Only an array that is written there.
      names.unshift(null);
      break;
    }
    if (t?.type !== 'word') return { names: null, partial, chain: true };
    names.unshift(t.text);
    i--;
  }
  return { names: names.includes(null) ? null : names, partial, chain: true };
}

// resolve returns the value of a chain, MISSING if it cannot be had without running
// code.
async function resolve(names, evaluate) {
  const [first, ...rest] = names;
  if (first === undefined) return MISSING;
  let value = typeof first === 'object' ? first.value : await named(first, evaluate);
  for (const name of rest) {
    const found = value === MISSING ? undefined : property(value, name);
    if (found === undefined || !('value' in found)) return MISSING;
    value = found.value;
  }
  return value;
}

async function named(name, evaluate) {
  if (!NAME.test(name) || (KEYWORDS.includes(name) && name !== 'this')) return MISSING;
  const own = property(globalThis, name);
  if (own !== undefined && !('value' in own) && !BUILTIN.has(name)) return MISSING;
  try {
    // A name of a cell, which is no property of anything. Nothing is run.
    return await evaluate(name);
  } catch {
    return MISSING;
  }
}

// Getters that Node has for globals that it loads late.
const BUILTIN = new Set(Object.getOwnPropertyNames(globalThis));

// property returns the descriptor of a property of a value or its prototypes.
function property(value, name) {
  for (let o = Object(value); o !== null && value !== undefined && value !== null; o = Object.getPrototypeOf(o)) {
    if (util.types.isProxy(o)) return undefined;
    const found = Object.getOwnPropertyDescriptor(o, name);
    if (found !== undefined) return found;
  }
  return undefined;
}

function members(value) {
  const found = [];
  if (value === MISSING || value === undefined || value === null) return found;
  for (let o = Object(value); o !== null && !util.types.isProxy(o); o = Object.getPrototypeOf(o)) {
    if (ArrayBuffer.isView(o)) continue;
    for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(o))) {
      if (NAME.test(name)) found.push([name, kind(descriptor)]);
    }
  }
  return found;
}

function kind(descriptor) {
  if (!('value' in descriptor)) return 'property';
  if (typeof descriptor.value === 'function') return /^class\b/.test(Function.prototype.toString.call(descriptor.value)) ? 'class' : 'function';
  return 'instance';
}

async function globals(evaluate) {
  const found = KEYWORDS.map((name) => [name, 'keyword']);
  for (const [name, descriptor] of Object.entries(Object.getOwnPropertyDescriptors(globalThis))) {
    if (NAME.test(name)) found.push([name, kind(descriptor)]);
  }
  for (const name of evaluate.lexical()) {
    if (NAME.test(name)) found.push([name, 'instance']);
  }
  return found;
}

// inspect returns the content of inspect_reply.
async function inspect(code, cursor, detailed, evaluate) {
  const value = await resolve(nameAt(code, cursor), evaluate);
  if (value === MISSING) return { status: 'ok', found: false, data: {}, metadata: {} };
  const text = describe(value, detailed);
  return { status: 'ok', found: true, data: { 'text/plain': text }, metadata: {} };
}

// nameAt returns the chain of names at the cursor, or that of the call around it.
function nameAt(code, cursor) {
  const { tokens } = tokenize(code);
  const at = tokens.findIndex((t) => t.type === 'word' && t.start <= cursor && cursor <= t.end);
  if (at >= 0) return chainTo(tokens, at);
  let depth = 0;
  for (let i = tokens.length - 1; i >= 0; i--) {
    if (tokens[i].start >= cursor) continue;
    if (tokens[i].text === ')') depth++;
    else if (tokens[i].text === '(' && depth-- === 0) return tokens[i - 1]?.type === 'word' ? chainTo(tokens, i - 1) : [];
  }
  return [];
}

function chainTo(tokens, last) {
  const { names, chain } = memberAt(tokens.slice(0, last + 1), -1);
  if (chain) return names ?? [];
  const before = memberAt(tokens.slice(0, last), -1);
  if (!before.chain) return [tokens[last].text];
  return before.names === null ? [] : [...before.names, tokens[last].text];
}

function describe(value, detailed) {
  if (typeof value !== 'function') {
    const shown = util.inspect(value, { depth: detailed ? 4 : 1, getters: false });
    return `Type:  ${typeName(value)}\nValue: ${shown.length > 2000 && !detailed ? shown.slice(0, 2000) + '…' : shown}`;
  }
  const source = Function.prototype.toString.call(value);
  const lines = [`Signature: ${signature(value, source)}`, `Type:      ${/^class\b/.test(source) ? 'class' : 'function'}`];
  if (detailed && !source.endsWith('{ [native code] }')) lines.push('Source:', source);
  return lines.join('\n');
}

function typeName(value) {
  if (value === null) return 'null';
  if (typeof value !== 'object') return typeof value;
  const constructor = property(value, 'constructor')?.value;
  return typeof constructor === 'function' && constructor.name ? constructor.name : 'object';
}

// signature returns a function's name and parameters, as they are written.
function signature(value, source) {
  const name = property(value, 'name')?.value || 'function';
  if (source.endsWith('{ [native code] }')) return `${name}(${'…'.repeat(value.length > 0 ? 1 : 0)})`;
  const text = /^class\b/.test(source) ? source.slice(Math.max(0, source.search(/\bconstructor\s*\(/))) : source;
  const { tokens } = tokenize(text);
  const start = tokens.findIndex((t) => t.text === '(');
  const end = start < 0 ? -1 : tokens.findIndex((t, i) => i > start && t.text === ')' && t.depth === tokens[start].depth);
  if (/^class\b/.test(text)) return `${name}()`;
  const arrow = tokens.findIndex((t) => t.text === '=>');
  if (arrow > 0 && (start < 0 || start > arrow)) return `${name}(${tokens[arrow - 1].text})`;
  return end < 0 ? `${name}(…)` : name + text.slice(tokens[start].start, tokens[end].end);
}

// Positions in messages count characters, those here code units.
function codeUnits(code, points) {
  let at = 0;
  for (let n = 0; n < points && at < code.length; n++) at += code.codePointAt(at) > 0xffff ? 2 : 1;
  return at;
}

function points(code, units) {
  return [...code.slice(0, units)].length;
}

module.exports = { complete, inspect, codeUnits };
