// Asking the server. Addresses are relative to the page, so a proxy may put any path before them.

export function address(path) {
  return new URL(path, document.baseURI).href;
}

export class ServerError extends Error {}

async function answered(path, options) {
  let answer;
  try {
    answer = await fetch(address(path), options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not answer. Has it ended, or the tunnel to it?");
  }
  if (!answer.ok) {
    const text = await answer.text();
    let said = { error: text };
    try {
      said = { error: text, ...JSON.parse(text) };
    } catch {
      // it was no JSON
    }
    throw Object.assign(new ServerError(said.error.trim() || `The server answers ${answer.status}.`), { refused: said.refused });
  }
  return answer;
}

async function asked(path, options) {
  return (await answered(path, options)).json();
}

export function get(path) {
  return asked(path, {});
}

// The number in a field; NaN if there is none: a field that was emptied is not 0.
export function typed(input) {
  return input.value.trim() === "" ? NaN : Number(input.value);
}

// A value as the body of a question. JSON would make null of what is no number, which to the server is "not given".
function body(value) {
  return JSON.stringify(value, (key, one) => {
    if (typeof one === "number" && !Number.isFinite(one)) throw new ServerError(`${key.replaceAll("_", " ")}: give a number.`);
    return one;
  });
}

// Ask with a value, and get the answer as it comes; an error has what was refused, if the server says it.
export async function ask(path, value) {
  return answered(path, { method: "POST", headers: { "content-type": "application/json" }, body: body(value) });
}

export async function post(path, value) {
  return (await ask(path, value)).json();
}

// Send a file as it is.
export function send(path, file) {
  return asked(path, { method: "POST", headers: { "content-type": "application/octet-stream" }, body: file });
}

// Bytes, and the headers that say what they are.
export async function bytes(path, options = {}) {
  const answer = await answered(path, options);
  return { headers: answer.headers, data: await answer.arrayBuffer() };
}

// A JSON object and planes of bytes, as the server frames them.
export async function framed(path, options = {}) {
  const { data } = await bytes(path, options);
  const length = new DataView(data).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  const body = new Blob([new Uint8Array(data, 4 + length)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return { head, planes: new Uint8Array(await new Response(body).arrayBuffer()) };
}

// A word of a command that is shown, for a shell.
export function quoted(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
