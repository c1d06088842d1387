'use strict';
// Cells as text: a tokenizer, and what is done with its tokens.
const vm = require('vm');

const PLAIN_WORD = /[\p{ID_Start}$_#][\p{ID_Continue}$\u200c\u200d]*/uy;
const NUMBER = /(?:0[xX][\da-fA-F_]+|0[oO][0-7_]+|0[bB][01_]+|(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d[\d_]*)?)n?/y;
const PUNCTUATION = /=>|\?\.(?!\d)|\.\.\.|\+\+|--|[{}()[\];,<>+\-*/%&|^!~?:=@.]/y;
const SPACE = /[\s\ufeff]+/y;

// A word after which an expression begins, so that a slash begins a regular
// expression.
const BEFORE_EXPRESSION = new Set(['return', 'typeof', 'instanceof', 'in', 'of', 'new', 'delete', 'void', 'throw', 'case', 'do', 'else', 'yield', 'await']);
const CLOSES = { ')': '(', ']': '[', '}': '{' };

// tokenize returns the tokens of code without space and comments, as {type, text,
// start, end, depth}, and what is open at its end: brackets, '`', '/*' or a quote.
// tokens.comment is set if it ends in a line comment, tokens.unbalanced if a bracket
// closes that was not open.
function tokenize(code) {
  const tokens = [];
  const open = []; // {text, expression}
  let at = 0;
  const last = () => tokens[tokens.length - 1];
  const add = (type, end) => {
    tokens.push({ type, text: code.slice(at, end), start: at, end, depth: open.length });
    at = end;
  };
  const match = (pattern) => {
    pattern.lastIndex = at;
    const m = pattern.exec(code);
    return m === null ? -1 : pattern.lastIndex;
  };
  const template = (from) => {
    // Returns the position after the part, which ends with a backtick or with ${.
    for (let i = from; i < code.length; i++) {
      if (code[i] === '\\') i++;
      else if (code[i] === '`') return { end: i + 1, closed: true };
      else if (code[i] === '$' && code[i + 1] === '{') return { end: i + 2, closed: false };
    }
    return null;
  };
  const part = (from) => {
    const found = template(from);
    if (found === null) {
      open.push({ text: '`' });
      add('template', code.length);
      return;
    }
    add('template', found.end);
    if (!found.closed) open.push({ text: '${' });
    else last().closed = true;
  };
  if (code.startsWith('#!')) at = lineEnd(code, 0);
  while (at < code.length) {
    const space = match(SPACE);
    if (space >= 0) {
      at = space;
      continue;
    }
    const c = code[at];
    if (code.startsWith('//', at)) {
      at = lineEnd(code, at);
      tokens.comment = at === code.length;
    } else if (code.startsWith('/*', at)) {
      const end = code.indexOf('*/', at + 2);
      if (end < 0) {
        open.push({ text: '/*' });
        break;
      }
      at = end + 2;
    } else if (c === '"' || c === "'") {
      const end = stringEnd(code, at);
      if (end < 0) return { tokens, open: [...open.map((o) => o.text), c] };
      add('string', end);
    } else if (c === '`') {
      part(at + 1);
    } else if (c === '}' && open.length > 0 && open[open.length - 1].text === '${') {
      open.pop();
      part(at + 1);
    } else if (c === '/' && regexAllowed(last())) {
      const end = regexEnd(code, at);
      if (end < 0) add('punctuation', at + 1);
      else add('regex', end);
    } else if (match(PLAIN_WORD) >= 0) {
      add('word', match(PLAIN_WORD));
    } else if (/\d|\.\d/.test(code.slice(at, at + 2)) && match(NUMBER) > at) {
      add('number', match(NUMBER));
    } else if (match(PUNCTUATION) >= 0) {
      const end = match(PUNCTUATION);
      if ('([{'.includes(c)) {
        const before = last();
        add('punctuation', end);
        open.push({ text: c, before, expression: c === '{' && expressionBefore(before) });
      } else if (')]}'.includes(c)) {
        const top = open[open.length - 1];
        if (top !== undefined && top.text === CLOSES[c]) open.pop();
        else if (top === undefined) tokens.unbalanced = true;
        add('punctuation', end);
        last().opener = top;
      } else {
        add('punctuation', end);
      }
    } else {
      add('other', at + 1);
    }
  }
  return { tokens, open: open.map((o) => o.text) };
}

function lineEnd(code, from) {
  const m = /[\n\r\u2028\u2029]/.exec(code.slice(from));
  return m === null ? code.length : from + m.index;
}

function stringEnd(code, from) {
  for (let i = from + 1; i < code.length; i++) {
    if (code[i] === '\\') {
      i += code[i + 1] === '\r' && code[i + 2] === '\n' ? 2 : 1;
    } else if (code[i] === code[from]) return i + 1;
    else if (code[i] === '\n' || code[i] === '\r') return -1;
  }
  return -1;
}

function regexEnd(code, from) {
  let inClass = false;
  for (let i = from + 1; i < code.length; i++) {
    const c = code[i];
    if (c === '\n' || c === '\r') return -1;
    if (c === '\\') i++;
    else if (c === '[') inClass = true;
    else if (c === ']') inClass = false;
    else if (c === '/' && !inClass) {
      i++;
      while (i < code.length && /[a-z]/i.test(code[i])) i++;
      return i;
    }
  }
  return -1;
}

function regexAllowed(before) {
  if (before === undefined) return true;
  if (before.type === 'word') return BEFORE_EXPRESSION.has(before.text) && !before.member;
  if (before.type === 'template') return !before.closed;
  if (before.type !== 'punctuation') return false;
  if (before.text === ')') {
    const head = before.opener?.before;
    return head?.type === 'word' && ['if', 'while', 'for', 'with'].includes(head.text);
  }
  if (before.text === '}') return before.opener !== undefined && !before.opener.expression;
  return ![']', '++', '--'].includes(before.text);
}

// Whether a brace after this token begins an object.
function expressionBefore(before) {
  if (before === undefined) return false;
  if (before.type === 'word') return BEFORE_EXPRESSION.has(before.text) && !['do', 'else'].includes(before.text);
  return before.type === 'punctuation' && !['=>', ')', ';', '{', '}', ']'].includes(before.text);
}

// The name that stands for import in a cell; as long as that, so that columns stay.
const IMPORT = '\u0131mport';

// transform returns the script to evaluate for a cell: V8's REPL mode knows
// everything of a module but import.
function transform(code) {
  if (!/import|export/.test(code)) return code;
  const { tokens } = tokenize(code);
  let out = '';
  let done = 0;
  for (let i = 0; i < tokens.length; i++) {
    const t = tokens[i];
    if (t.type !== 'word' || (t.text !== 'import' && t.text !== 'export')) continue;
    const before = tokens[i - 1];
    const after = tokens[i + 1];
    if (before?.text === '.' || before?.text === '?.' || after === undefined) continue;
    let text = null;
    let end = t.end;
    if (t.text === 'export') {
      // What a cell declares is there for all cells.
      if (t.depth !== 0 || !DECLARES.has(after.text)) continue;
      text = '      ';
    } else if (after.text === '(' || (after.text === '.' && tokens[i + 2]?.text === 'meta')) {
      text = IMPORT;
    } else if (t.depth === 0) {
      const found = staticImport(tokens, i);
      if (found === null) continue;
      end = tokens[found.last].end;
      i = found.last;
      // Lines stay where they are.
      text = found.text + '\n'.repeat(code.slice(t.start, end).split('\n').length - 1);
    }
    if (text === null) continue;
    out += code.slice(done, t.start) + text;
    done = end;
  }
  return out + code.slice(done);
}

const DECLARES = new Set(['const', 'let', 'var', 'function', 'class', 'async']);

// staticImport reads the import statement whose first token is at i, and returns
// what does the same, and its last token.
function staticImport(tokens, i) {
  let at = i + 1;
  const text = () => tokens[at]?.text;
  const take = (wanted) => text() === wanted && ++at > 0;
  const name = () => (tokens[at]?.type === 'word' || tokens[at]?.type === 'string' ? tokens[at++].text : null);
  const names = []; // [exported, local]
  let whole = null;
  if (tokens[at].type !== 'string') {
    if (tokens[at].type === 'word' && (text() !== 'from' || tokens[at + 1]?.text === 'from' || tokens[at + 1]?.text === ',')) {
      names.push(['default', name()]);
      if (text() !== 'from' && !take(',')) return null;
    }
    if (take('*')) {
      if (!take('as')) return null;
      whole = name();
      if (whole === null) return null;
    } else if (take('{')) {
      while (!take('}')) {
        const exported = name();
        if (exported === null) return null;
        names.push([exported, take('as') ? name() : exported]);
        if (text() !== '}' && !take(',')) return null;
      }
    }
    if (!take('from')) return null;
  }
  if (tokens[at]?.type !== 'string') return null;
  let argument = tokens[at++].text;
  if ((text() === 'with' || text() === 'assert') && tokens[at + 1]?.text === '{') {
    let attributes = '';
    at++;
    do attributes += text(); while (text() !== '}' && ++at < tokens.length);
    if (!take('}')) return null;
    argument += `, {with: ${attributes}}`;
  }
  if (text() === ';') at++;
  const list = `{${names.map(([exported, local]) => `${exported}: ${local}`).join(', ')}}`;
  const wanted = names.map(([exported]) => (/^['"]/.test(exported) ? exported : `'${exported}'`)).join(', ');
  let script = `void (await ${IMPORT}(${argument}));`;
  if (whole !== null) script = `const ${whole} = await ${IMPORT}(${argument});`;
  if (names.length > 0) {
    script = (whole === null ? '' : script + ' ') + `const ${list} = await ${IMPORT}.only([${wanted}], ${argument});`;
  }
  return { text: script, last: at - 1 };
}

// isComplete returns the content of is_complete_reply.
function isComplete(code) {
  const { tokens, open } = tokenize(code);
  const last = open[open.length - 1];
  if (last === '"' || last === "'") return { status: 'invalid' };
  if (tokens.unbalanced) return { status: 'invalid' };
  if (open.length > 0) {
    const line = code.slice(code.lastIndexOf('\n') + 1);
    const opened = /[{([]\s*$/.test(line) ? '  ' : '';
    return { status: 'incomplete', indent: /^\s*/.exec(line)[0] + opened };
  }
  const script = transform(code);
  try {
    new vm.Script(`(async () => {${script}\n})`, { filename: 'cell' });
    return { status: 'complete' };
  } catch (error) {
    // What goes on after the end is missing there.
    const line = Number(/^cell:(\d+)/.exec(error.stack)?.[1] ?? 0);
    return line > script.split('\n').length ? { status: 'incomplete', indent: '' } : { status: 'invalid' };
  }
}

module.exports = { tokenize, transform, isComplete, IMPORT };
