// A server and a browser for the tests.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const PROGRAM = new URL("../../target/release/ttsvar", import.meta.url).pathname;
const FLAGS = [
  "--no-sandbox",
  "--disable-gpu",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
];

/** Starts a server in a temporary folder. `end` stops it and removes the folder. */
export async function serve(...flags) {
  const folder = mkdtempSync(join(tmpdir(), "ttsvar-page-"));
  const args = ["serve", "--port", "0", "--quiet", "--folder", folder, ...flags];
  const child = spawn(process.env.TTSVAR ?? PROGRAM, args, {
    stdio: ["ignore", "pipe", "inherit"],
  });
  const lines = createInterface({ input: child.stdout });
  const url = await new Promise((resolve, reject) => {
    lines.once("line", resolve);
    child.once("exit", (code) => reject(new Error(`the server exited with code ${code}`)));
  });
  const end = () => {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  return { url, end };
}

/**
 * A proxy that serves the server at `url` below a path. `strays` lists the requests for anything
 * else, which the server behind it never sees.
 */
export async function proxy(url, path) {
  const strays = [];
  const server = createServer((incoming, outgoing) => {
    if (!incoming.url.startsWith(path)) {
      strays.push(incoming.url);
      outgoing.writeHead(404).end();
      return;
    }
    const { method, headers } = incoming;
    const target = new URL(incoming.url.slice(path.length - 1), url);
    const forwarded = request(target, { method, headers: { ...headers, host: target.host } });
    forwarded.on("response", (response) => {
      outgoing.writeHead(response.statusCode, response.headers);
      response.pipe(outgoing);
    });
    forwarded.on("error", () => outgoing.destroy());
    incoming.pipe(forwarded);
  });
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const end = () => {
    server.closeAllConnections();
    server.close();
  };
  return { url: `http://localhost:${server.address().port}${path}`, strays, end };
}

/** Starts Chromium. */
export function browse() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launch({
    executablePath,
    args: [...FLAGS, "--disable-component-update", "--disable-sync"],
  });
}

/** With PAGE=1, the files of the page come from the source tree, so that changes need no build. */
async function serveSources(route) {
  const name = new URL(route.request().url()).pathname.replace("/page/", "") || "/";
  const path = new URL(
    `../../src/server/page/${name === "/" ? "index.html" : name}`,
    import.meta.url,
  ).pathname;
  await route.fulfill({ path, headers: { ...(await (await route.fetch()).headers()) } });
}

/**
 * Opens the page and collects failures of its scripts and violations of its policy in `faults`.
 * `prepare` is called with the page before it loads.
 */
export async function open(browser, url, options = {}, prepare = async () => {}) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 900 },
    acceptDownloads: true,
    ...options,
  });
  const page = await context.newPage();
  if (process.env.PAGE) await page.route(/\/(page\/.*)?$/, serveSources);
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(String(error)));
  page.on("console", (message) => message.type() === "error" && page.faults.push(message.text()));
  await prepare(page);
  await page.goto(url);
  await page.locator("#model:not(:empty)").waitFor();
  return page;
}
