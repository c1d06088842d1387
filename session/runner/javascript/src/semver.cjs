'use strict';
// Versions and ranges as npm understands them.

const VERSION = /^[=v\s]*(\d{1,16})\.(\d{1,16})\.(\d{1,16})(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?$/;
const PARTIAL = /^[=v\s]*(\d{1,16}|[xX*])(?:\.(\d{1,16}|[xX*])(?:\.(\d{1,16}|[xX*])(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?)?)?$/;

// parse returns a version as {numbers, tags}, or null.
function parse(text) {
  const m = VERSION.exec(text.trim());
  if (m === null) return null;
  const numbers = m.slice(1, 4).map(Number);
  if (!numbers.every(Number.isSafeInteger)) return null;
  const tags = m[4] === undefined ? [] : m[4].split('.');
  return tags.includes('') ? null : { numbers, tags };
}

function compare(a, b) {
  for (let i = 0; i < 3; i++) {
    if (a.numbers[i] !== b.numbers[i]) return a.numbers[i] < b.numbers[i] ? -1 : 1;
  }
  if (a.tags.length === 0 || b.tags.length === 0) return Math.sign(b.tags.length - a.tags.length);
  for (let i = 0; i < a.tags.length && i < b.tags.length; i++) {
    const [x, y] = [a.tags[i], b.tags[i]];
    if (x === y) continue;
    const [nx, ny] = [/^\d+$/.test(x), /^\d+$/.test(y)];
    if (nx && ny) return Number(x) < Number(y) ? -1 : 1;
    if (nx !== ny) return nx ? -1 : 1;
    return x < y ? -1 : 1;
  }
  return Math.sign(a.tags.length - b.tags.length);
}

// partial returns a version as {numbers, tags, odd} with as many numbers as are
// given, or null.
function partial(text) {
  const m = PARTIAL.exec(text.trim());
  if (m === null) return null;
  const numbers = [];
  const parts = m.slice(1, 4).filter((part) => part !== undefined);
  const open = parts.findIndex((part) => /[xX*]/.test(part));
  // After a part that is left open a number has no meaning.
  const odd = open >= 0 && parts.slice(open).some((part) => !/[xX*]/.test(part));
  numbers.push(...parts.slice(0, open < 0 ? 3 : open).map(Number));
  const tags = m[4] === undefined || numbers.length < 3 ? [] : m[4].split('.');
  return tags.includes('') || !numbers.every(Number.isSafeInteger) ? null : { numbers, tags, odd };
}

const full = ({ numbers, tags }) => ({ numbers: [0, 1, 2].map((i) => numbers[i] ?? 0), tags });

// above returns the first version that is larger in the number at index. Its own
// prereleases are no part of what is below it.
function above({ numbers }, index) {
  const next = [0, 1, 2].map((i) => (i < index ? numbers[i] ?? 0 : i === index ? (numbers[i] ?? 0) + 1 : 0));
  return { numbers: next, tags: ['0'], edge: true };
}

const ANY = [];

// simple returns the comparators [operator, version] of one term, or null.
function simple(term, lenient) {
  const m = /^(>=|<=|>|<|=|\^|~>?|)\s*(.*)$/.exec(term);
  const p = m[2] === '' ? { numbers: [], tags: [] } : partial(m[2]);
  if (p === null || (p.odd && !lenient && !/^[~^]/.test(m[1]))) return null;
  const low = full(p);
  const n = p.numbers.length;
  const operator = m[1][0] === '~' ? '~' : m[1];
  if (n === 0) return operator === '<' || operator === '>' ? [['<', { numbers: [0, 0, 0], tags: ['0'] }]] : ANY;
  const to = (index) => [['>=', low], ['<', above(p, index)]];
  switch (operator) {
    case '^': {
      const first = p.numbers.findIndex((x) => x > 0);
      return to(first < 0 ? n - 1 : first);
    }
    case '~':
      return to(Math.min(n - 1, 1));
    case '>':
      return n === 3 ? [['>', low]] : [['>=', { ...above(p, n - 1), tags: [] }]];
    case '<=':
      return n === 3 ? [['<=', low]] : [['<', above(p, n - 1)]];
    case '>=':
      return low.tags.length === 0 && low.numbers.every((x) => x === 0) ? ANY : [['>=', low]];
    case '<':
      return [['<', n === 3 ? low : { ...low, tags: ['0'], edge: true }]];
    default:
      return n === 3 ? [['=', low]] : to(n - 1);
  }
}

// comparators returns those of an alternative, all of which must hold, or null.
function comparators(text) {
  const hyphen = /^\s*(\S+)\s+-\s+(\S+)\s*$/.exec(text);
  const terms = hyphen ? [`>=${hyphen[1]}`, `<=${hyphen[2]}`] : text.trim().replace(/([<>=~^]+)\s+/g, '$1').split(/\s+/);
  const list = terms.map((term) => simple(term, hyphen !== null));
  return list.includes(null) ? null : list.flat();
}

const HOLDS = { '=': (c) => c === 0, '>': (c) => c > 0, '<': (c) => c < 0, '>=': (c) => c >= 0, '<=': (c) => c <= 0 };

// satisfies tells whether a version is in a range; null if the range is none.
function satisfies(version, range) {
  const v = parse(version);
  const alternatives = range.split('||').map(comparators);
  if (alternatives.includes(null)) return null;
  if (v === null) return false;
  // As for npm, one that takes everything makes the others void.
  const any = alternatives.find((list) => list.length === 0);
  return (any ? [any] : alternatives).some((list) => {
    if (!list.every(([operator, limit]) => HOLDS[operator](compare(v, limit)))) return false;
    if (v.tags.length === 0) return true;
    // A prerelease is only meant where one of the same version is named.
    return list.some(([, limit]) => limit.tags.length > 0 && !limit.edge && limit.numbers.join() === v.numbers.join());
  });
}

module.exports = { parse, compare, satisfies };
