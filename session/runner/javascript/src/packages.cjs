'use strict';
// Which packages are there.
const fs = require('fs');
const path = require('path');
const { satisfies } = require('./semver.cjs');

const SPECIFIER = /^((?:@[^@/\s]+\/)?[^@/\s]+)(?:@(.*))?$/s;

// missing returns the specifiers that what cells can import does not satisfy.
// places are the folders that they resolve from, in order.
function missing(specifiers, places) {
  return specifiers.filter((specifier) => !satisfied(specifier, places));
}

function satisfied(specifier, places) {
  const m = SPECIFIER.exec(specifier);
  if (m === null || m[1].split('/').some((part) => part === '.' || part === '..')) return false;
  const found = installed(m[1], places);
  if (found === null) return false;
  let wanted = (m[2] ?? '').trim();
  let name = m[1];
  if (wanted.startsWith('npm:')) {
    // Another package under this name.
    const alias = SPECIFIER.exec(wanted.slice(4));
    if (alias === null) return false;
    [name, wanted] = [alias[1], (alias[2] ?? '').trim()];
  }
  if (found.name !== name) return false;
  if (wanted === '' || wanted === 'latest') return true;
  // Tags, files and addresses are not known from what is installed.
  return satisfies(String(found.version), wanted) === true;
}

// installed returns the description of the package that a name resolves to, or null.
function installed(name, places) {
  for (const [index, place] of places.entries()) {
    // As modules are looked up: only the last place also has the folders above it.
    for (let dir = place; ; dir = path.dirname(dir)) {
      const found = description(path.join(dir, 'node_modules', name, 'package.json'));
      if (found !== null) return found;
      if (index < places.length - 1 || dir === path.dirname(dir)) break;
    }
  }
  return null;
}

function description(file) {
  try {
    const value = JSON.parse(fs.readFileSync(file, 'utf8'));
    return value !== null && typeof value === 'object' ? value : null;
  } catch {
    return null;
  }
}

module.exports = { missing };
