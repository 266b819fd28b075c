// Loaded before Neuroglancer. Its client was built for a server of its own that sends it states in an event stream, and
// is told what changes; here the page sets and asks the state. A stream that never says anything would hold one of the
// browser's few connections, so there is only the look of one, and what the client would tell is heard by nobody.
"use strict";
const ask = window.fetch.bind(window);
window.fetch = (what, options) => {
  const where = new URL(typeof what === "string" ? what : what.url, location.href);
  const told = ["state", "action"].some((word) => where.pathname.endsWith(`/viewer/${word}/volengine`));
  return told ? Promise.resolve(Response.json({})) : ask(what, options);
};
window.EventSource = class {
  constructor() {
    this.readyState = 1;
    setTimeout(() => this.onopen?.(new Event("open")), 0);
  }
  addEventListener() {}
  removeEventListener() {}
  close() {}
};
