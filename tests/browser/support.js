// A server and a browser for the tests.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { chromium } from "playwright-core";

const PROGRAM = new URL("../../target/release/ttsvar", import.meta.url).pathname;
const FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"];

/** Starts a server in a folder of its own; `end` ends both. */
export async function serve(...flags) {
  const folder = mkdtempSync(join(tmpdir(), "ttsvar-page-"));
  const args = ["serve", "--port", "0", "--quiet", "--folder", folder, ...flags];
  const child = spawn(process.env.TTSVAR ?? PROGRAM, args, { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout });
  const url = await new Promise((resolve, reject) => {
    lines.once("line", resolve);
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
  const end = () => {
    child.kill("SIGKILL");
    rmSync(folder, { recursive: true, force: true, maxRetries: 5 });
  };
  return { url, end };
}

/** Starts Chromium. */
export function browse() {
  const executablePath = process.env.CHROMIUM ?? "/usr/bin/chromium";
  return chromium.launch({ executablePath, args: [...FLAGS, "--disable-component-update", "--disable-sync"] });
}

/** With PAGE=1 the page's files come from the sources, so that a change is seen without a build. */
async function ofSources(route) {
  const name = new URL(route.request().url()).pathname.replace("/page/", "") || "/";
  const path = new URL(`../../src/server/page/${name === "/" ? "index.html" : name}`, import.meta.url).pathname;
  await route.fulfill({ path, headers: { ...(await (await route.fetch()).headers()) } });
}

/** A page that fails the test when a script of it fails or breaks the policy. */
export async function open(browser, url, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true, ...options });
  const page = await context.newPage();
  if (process.env.PAGE) await page.route(/\/(page\/.*)?$/, ofSources);
  page.faults = [];
  page.on("pageerror", (error) => page.faults.push(String(error)));
  page.on("console", (message) => message.type() === "error" && page.faults.push(message.text()));
  await page.goto(url);
  await page.locator("#model:not(:empty)").waitFor();
  return page;
}
