'use strict';

// create returns the content of the ready packet.
function create() {
  const version = process.versions.node;
  return {
    language_info: {
      name: 'javascript',
      version,
      mimetype: 'text/javascript',
      file_extension: '.js',
      pygments_lexer: 'javascript',
      codemirror_mode: { name: 'javascript' },
      nbconvert_exporter: 'script',
    },
    banner: `JavaScript on Node.js ${version}`,
    help_links: [
      { text: 'JavaScript', url: 'https://developer.mozilla.org/docs/Web/JavaScript' },
      { text: 'Node.js', url: 'https://nodejs.org/docs/latest/api/' },
    ],
    implementation: 'node',
    implementation_version: version,
    pid: process.pid,
    executable: process.execPath,
  };
}

module.exports = { create };
