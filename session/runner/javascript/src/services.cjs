'use strict';
// Requests other than execute_request.

function create(kernel) {
  return {};
}

module.exports = { create };
