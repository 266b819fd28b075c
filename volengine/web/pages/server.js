// Asking the server. Addresses are relative to the page, so a proxy may put any path before them.

export function address(path) {
  return new URL(path, document.baseURI).href;
}

export class ServerError extends Error {}

async function asked(path, options) {
  let answer;
  try {
    answer = await fetch(address(path), options);
  } catch {
    throw new ServerError("The server does not answer. Has it ended, or the tunnel to it?");
  }
  if (!answer.ok) {
    const text = await answer.text();
    let said = text;
    try {
      said = JSON.parse(text).error ?? text;
    } catch {
      // it was no JSON
    }
    throw new ServerError(said.trim() || `The server answers ${answer.status}.`);
  }
  return answer.json();
}

export function get(path) {
  return asked(path, {});
}

export function post(path, value) {
  return asked(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(value) });
}
