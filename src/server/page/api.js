// Requests to the server: JSON, files and the events of a job, with the token if one is required.

const KEY = "ttsvar-token";
let askToken = async () => null;

/** Sets the function that asks the user for the token. */
export function onTokenNeeded(ask) {
  askToken = ask;
}

/**
 * A path of the server as an address relative to the page, so that the page works below a path of a
 * proxy.
 */
const here = (path) => path.replace(/^\/+/, "");

async function call(path, options = {}) {
  for (;;) {
    const token = sessionStorage.getItem(KEY);
    const headers = { ...options.headers, ...(token && { Authorization: `Bearer ${token}` }) };
    const response = await fetch(here(path), { ...options, headers });
    if (response.status === 401) {
      const given = await askToken(token !== null);
      if (given) {
        sessionStorage.setItem(KEY, given);
        continue;
      }
    }
    if (response.ok) return response;
    const body = await response.json().catch(() => ({}));
    const error = new Error(
      body.error?.message ?? `the server responded with status ${response.status}`,
    );
    error.status = response.status;
    throw error;
  }
}

export async function get(path) {
  return (await call(path)).json();
}

export async function post(path, body) {
  const headers = { "Content-Type": "application/json" };
  return (await call(path, { method: "POST", headers, body: JSON.stringify(body) })).json();
}

/** Posts a form, whose fields are texts or files. */
export async function postForm(path, fields) {
  const body = new FormData();
  for (const [name, value] of Object.entries(fields)) body.set(name, value);
  return (await call(path, { method: "POST", body })).json();
}

export async function blob(path) {
  return (await call(path)).blob();
}

/** Downloads a file of the server and saves it under a name. */
export async function download(path, name) {
  save(await blob(path), name);
}

export function save(data, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(data);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const OVER = new Set(["done", "failed", "cancelled", "interrupted"]);

/** Yields the events of a job until it is over. Reconnects after the last event if necessary. */
export async function* events(id, signal) {
  let last = "0";
  for (let failures = 0; failures < 8; failures++) {
    try {
      const response = await call(`/v1/jobs/${id}/events`, {
        headers: { "Last-Event-ID": last },
        signal,
      });
      for await (const event of parse(response.body)) {
        failures = 0;
        last = event.id || last;
        yield event;
        if (OVER.has(event.name)) return;
      }
    } catch (error) {
      if (signal?.aborted || error.status) throw error;
    }
    await new Promise((resolve) => setTimeout(resolve, 250 * 2 ** failures));
  }
  throw new Error("the connection to the server was lost");
}

async function* parse(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    const blocks = (text + value).split("\n\n");
    text = blocks.pop();
    for (const block of blocks) {
      const fields = Object.fromEntries(
        block
          .split("\n")
          .map((line) => [line.split(": ", 1)[0], line.slice(line.indexOf(": ") + 2)]),
      );
      if (fields.event) yield { id: fields.id, name: fields.event, data: JSON.parse(fields.data) };
    }
  }
}
