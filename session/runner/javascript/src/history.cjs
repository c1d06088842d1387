'use strict';

// The cells of this process.
class History {
  constructor() {
    this.cells = [];
  }

  add(line, code) {
    const cell = { line, code, output: null };
    this.cells.push(cell);
    return cell;
  }

  // find returns what a history_request asks for: [session, line, code], or with
  // [code, output] in the place of the code.
  find(content) {
    const kind = content.hist_access_type ?? 'tail';
    const most = Number.isInteger(content.n) && content.n >= 0 ? content.n : Infinity;
    let found = [];
    if (kind === 'range') found = this._range(content);
    else if (kind === 'search') found = this._search(content);
    else if (kind === 'tail') found = this.cells;
    if (kind !== 'range' && found.length > most) found = found.slice(found.length - most);
    return found.map(({ line, code, output }) => [1, line, content.output === true ? [code, output] : code]);
  }

  _range({ session = 0, start = 1, stop = null }) {
    // Session 0 is this one; there are no earlier ones.
    if (session !== 0 && session !== 1) return [];
    const to = Number.isInteger(stop) ? stop : Infinity;
    return this.cells.filter(({ line }) => line >= start && line < to);
  }

  _search({ pattern = '*', unique = false }) {
    const glob = String(pattern).replace(/[\\^$+.()|{}[\]]/g, '\\$&').replace(/\*+/g, '.*').replace(/\?/g, '.');
    const found = this.cells.filter(({ code }) => new RegExp(`^${glob}$`, 's').test(code));
    if (!unique) return found;
    const last = new Map(found.map((cell) => [cell.code, cell]));
    return found.filter((cell) => last.get(cell.code) === cell);
  }
}

module.exports = { History };
