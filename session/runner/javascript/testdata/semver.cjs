'use strict';
// Compares our ranges with npm's own semver: node semver.cjs OURS NPM'S SEED.
const ours = require(process.argv[2]);
const theirs = require(process.argv[3]);
let seed = Number(process.argv[4]);
const random = (n) => {
  seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
  return (seed >> 8) % n;
};
const pick = (list) => list[random(list.length)];
const number = () => pick([0, 0, 1, 1, 2, 3, 10]);
const tags = () => pick(['', '', '', '-0', '-1', '-alpha', '-alpha.1', '-rc.2', '-1.a']);
const version = () => `${number()}.${number()}.${number()}${tags()}${pick(['', '', '+b.1'])}`;
const part = () => pick([number, number, number, () => pick(['x', 'X', '*'])])();
const partial = () => pick([version, version, () => `${part()}`, () => `${part()}.${part()}`, () => `${part()}.${part()}.${part()}`, () => 'v' + version()])();
const term = () => pick(['', '', '^', '~', '>', '<', '>=', '<=', '=', '^ ', '>= ']) + partial();
const alternative = () => pick([term, term, () => `${term()} ${term()}`, () => `${partial()} - ${partial()}`, () => '*', () => ''])();
const range = () => Array.from({ length: 1 + random(2) }, alternative).join(pick(['||', ' || ']));
let failures = 0;
for (let i = 0; i < 20000 && failures < 10; i++) {
  const [v, r] = [version(), range()];
  const want = theirs.validRange(r) === null ? null : theirs.satisfies(v, r);
  const got = ours.satisfies(v, r);
  if (got !== want) {
    failures++;
    console.log(`satisfies(${JSON.stringify(v)}, ${JSON.stringify(r)}): got ${got}, want ${want} (npm reads it as ${theirs.validRange(r)})`);
  }
}
process.exitCode = failures > 0 ? 1 : 0;
