'use strict';
// Errors as text, with the frames of the user's code only.
const path = require('path');
const { inspect } = require('util');

const OWN = path.dirname(__dirname);
const FRAME = /^\s+at /;
const SAME = /^\s+\.\.\. \d+ lines matching cause stack trace \.\.\.( \{| \[)?$/;
const INTERNAL = /\(?node:internal\//;

// lines returns the frames below the function fn.
function lines(fn) {
  const { stackTraceLimit, prepareStackTrace } = Error;
  const holder = {};
  try {
    Error.stackTraceLimit = 100;
    Error.prepareStackTrace = undefined;
    Error.captureStackTrace(holder, fn);
    return holder.stack.split('\n').filter((line) => FRAME.test(line));
  } finally {
    Error.stackTraceLimit = stackTraceLimit;
    Error.prepareStackTrace = prepareStackTrace;
  }
}

// clean returns a run of frames without those that called the user's code.
function clean(frames) {
  const end = frames.findIndex((line) => line.includes('Session.post (node:inspector'));
  let list = (end < 0 ? frames : frames.slice(0, end)).filter((line) => !line.includes(OWN) && !line.includes('<anonymous>:'));
  while (list.length > 0 && INTERNAL.test(list[list.length - 1])) list = list.slice(0, -1);
  return list;
}

// cleanText cleans all runs of frames in a text.
function cleanText(text) {
  const out = [];
  let run = [];
  for (const line of text.split('\n')) {
    const same = SAME.exec(line);
    if (same) {
      // The frames are shown with the cause.
      out.push(...clean(run));
      if (same[1]) out[out.length - 1] += same[1];
      run = [];
      continue;
    }
    if (FRAME.test(line)) {
      // What inspect puts after the last frame of an error stays.
      const tail = / (\{|\[?\])$/.exec(line);
      run.push(tail ? line.slice(0, -tail[0].length) : line);
      if (tail === null) continue;
      out.push(...clean(run));
      run = [];
      out[out.length - 1] += tail[0];
      continue;
    }
    out.push(...clean(run), line);
    run = [];
  }
  out.push(...clean(run));
  return out.join('\n');
}

function isError(value) {
  return value instanceof Error || Object.prototype.toString.call(value) === '[object Error]';
}

// describe returns the fields of an error message for something that was thrown.
// It runs code of users and may throw. where is put before the text.
function describe(value, where = '') {
  if (!isError(value)) {
    const shown = inspect(value);
    return { ename: 'Uncaught', evalue: shown, traceback: `Uncaught ${shown}`.split('\n') };
  }
  const text = cleanText(inspect(value));
  const ename = String(value.name || value.constructor?.name || 'Error');
  return { ename, evalue: String(value.message), traceback: (where + text).split('\n') };
}

// safely is describe for errors whose properties cannot be read as well.
function safely(value, where) {
  try {
    return describe(value, where);
  } catch {
    const ename = 'Error';
    const evalue = 'an error that cannot be shown';
    return { ename, evalue, traceback: [`${ename}: ${evalue}`] };
  }
}

// interrupted returns the fields for an Interrupted, which code of users cannot
// have changed.
function interrupted(error) {
  return { ename: 'Interrupted', evalue: error.message, traceback: String(error.stack).split('\n') };
}

module.exports = { interrupted, lines, clean, cleanText, describe, safely, isError };
