'use strict';
// require and import for cells. Both look into the session's own package folder
// first, and then where a file in the working directory would.
const Module = require('module');
const path = require('path');
const { pathToFileURL } = require('url');

// The file that a cell would be.
const CELL = '[cell].js';

class Modules {
  constructor(packages) {
    this.packages = packages;
    this._importers = new Map();
    if (packages !== '') {
      // For modules in the working directory that need what is only there.
      Module.globalPaths.push(path.join(packages, 'node_modules'));
    }
  }

  // places are the folders from which cells resolve names, in order.
  places() {
    const here = process.cwd();
    return this.packages === '' ? [here] : [this.packages, here];
  }

  require() {
    const each = (use) => (name, ...rest) => this._first(name, (place) => use(Module.createRequire(path.join(place, CELL)), name, rest));
    const require = each((r, name) => r(name));
    require.resolve = each((r, name, rest) => r.resolve(name, ...rest));
    require.resolve.paths = (name) => Module.createRequire(path.join(process.cwd(), CELL)).resolve.paths(name);
    require.cache = Module._cache;
    require.extensions = Module._extensions;
    require.main = undefined;
    return require;
  }

  // Calls use with the places until one has the module.
  _first(name, use) {
    const places = isBare(name) ? this.places() : [process.cwd()];
    for (const place of places.slice(0, -1)) {
      if (!this._installed(place, name)) continue;
      return use(place);
    }
    return use(places[places.length - 1]);
  }

  // Whether a folder's own node_modules has the package of a name.
  _installed(place, name) {
    const package_ = packageOf(name);
    try {
      return require('fs').statSync(path.join(place, 'node_modules', package_)).isDirectory();
    } catch {
      return false;
    }
  }

  import() {
    const load = async (specifier, options) => {
      const name = String(specifier);
      return this._first(name, (place) => this._importer(place)(name, options));
    };
    // only is for import statements with names: it fails as they do.
    load.only = async (names, specifier, options) => {
      const module = await load(specifier, options);
      const found = {};
      for (const name of names) {
        const values = name in module ? module : Object(module.default);
        if (!(name in values)) {
          throw new SyntaxError(`The requested module '${specifier}' does not provide an export named '${name}'`);
        }
        found[name] = values[name];
      }
      return found;
    };
    const modules = this;
    Object.defineProperty(load, 'meta', {
      get: () => ({
        dirname: process.cwd(),
        filename: path.join(process.cwd(), CELL),
        url: pathToFileURL(path.join(process.cwd(), CELL)).href,
        resolve: (name) => modules._resolve(String(name)),
      }),
    });
    return load;
  }

  _resolve(name) {
    if (Module.isBuiltin(name)) return name.startsWith('node:') ? name : `node:${name}`;
    if (/^[a-z]+:/i.test(name)) return name;
    if (!isBare(name)) return new URL(name, pathToFileURL(process.cwd() + path.sep)).href;
    return pathToFileURL(this.require().resolve(name)).href;
  }

  // _importer returns an import() that resolves as in a file of a folder.
  _importer(place) {
    let load = this._importers.get(place);
    if (load === undefined) {
      const file = path.join(place, CELL);
      const module = new Module(file);
      module.filename = file;
      module.paths = Module._nodeModulePaths(place);
      module._compile('module.exports = (name, options) => options === undefined ? import(name) : import(name, options)', file);
      load = module.exports;
      this._importers.set(place, load);
    }
    return load;
  }
}

function isBare(name) {
  return typeof name === 'string' && !/^(\.{0,2}\/|\.{1,2}$|[a-z][a-z+.-]*:)/i.test(name) && !path.isAbsolute(name) && !Module.isBuiltin(name);
}

function packageOf(name) {
  return name.split('/').slice(0, name.startsWith('@') ? 2 : 1).join('/');
}

module.exports = { Modules };
