// The page in Chromium: generate, watch, cancel, compare, open, layout and accessibility.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { after, before, test } from "node:test";
import { browse, open, proxy, serve } from "./support.js";

const TIME = { timeout: 60_000 };
let server;
let browser;

before(async () => {
  server = await serve("--workers", "2", "--max-rows", "256");
  browser = await browse();
});

after(async () => {
  await browser?.close();
  server?.end();
});

/** Fills in the form and submits it. */
async function generate(page, prompt, { method = "tts-var", n, seed, compare } = {}) {
  await page.fill("#prompt", prompt);
  await page.selectOption("#way-a-method", method);
  if (n) await page.locator("#way-a-n").fill(String(n));
  if (seed != null) await page.fill("#seed", String(seed));
  if (compare) await page.check("#compare");
  await page.press("#prompt", "Enter");
}

const done = (page, count = 1) =>
  page.waitForFunction(
    (count) => document.querySelectorAll(".run[data-state=done].won .facts dd").length >= 6 * count,
    count,
    TIME,
  );

/** The number of colours of a canvas, to detect an empty one. */
const colours = (canvas) =>
  canvas.evaluate(
    (canvas) =>
      new Set(
        new Uint32Array(
          canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data.buffer,
        ),
      ).size,
  );

test("the tree shows the winner and the discarded candidates", async () => {
  const page = await open(browser, server.url);
  assert.equal(await page.locator("#way-a-method").inputValue(), "auto");
  assert.equal(await page.locator("#way-a-n").inputValue(), "16");
  await generate(page, "a red circle", { seed: 3 });
  await done(page);
  assert.equal(await page.locator(".run h2").textContent(), "tts-var · N = 1");
  assert.equal(await page.locator(".asked").textContent(), "a red circle");
  // Rows by scale: 8, 8, 8, 6, 4, 2, 1.
  assert.equal(await page.locator(".tile").count(), 37);
  assert.equal(await page.locator(".tile.winner").count(), 1);
  assert.equal(await page.locator(".tile.winner.fallen").count(), 0);
  assert.ok((await page.locator(".tile.fallen").count()) >= 7);
  assert.ok((await page.locator(".cluster").count()) >= 6);
  assert.ok((await colours(page.locator(".lead"))) > 20);
  assert.ok((await colours(page.locator(".tile canvas").first())) > 1);
  assert.match(await page.locator("figcaption").textContent(), /^Winner: −?\d+\.\d\d$/);
  // The winner is that of the trace
  const id = new URL(page.url()).hash.slice(1);
  const trace = await (await fetch(`${server.url}/v1/jobs/${id}/trace`)).json();
  assert.match(
    await page.locator(".tile.winner").getAttribute("aria-label"),
    new RegExp(`^Candidate ${trace.winner},`),
  );
  assert.deepEqual(page.faults, []);
});

test("a run is watched while it grows", async () => {
  const page = await open(browser, server.url);
  // The page itself counts, so that a slow connection to the browser misses nothing.
  await page.evaluate(() => {
    window.counts = new Set();
    const count = () => window.counts.add(document.querySelectorAll(".tile").length);
    new MutationObserver(count).observe(document.body, { childList: true, subtree: true });
  });
  await generate(page, "a blue star", { seed: 5 });
  await page.locator(".run.won").waitFor(TIME);
  const seen = await page.evaluate(() => [...window.counts]);
  assert.ok(seen.length >= 4, `columns came one after the other: ${seen}`);
  assert.deepEqual(page.faults, []);
});

test("a run is cancelled", async () => {
  const page = await open(browser, server.url);
  await page.evaluate(() => {
    const range = document.getElementById("way-a-n");
    document.getElementById("way-a-method").value = "best-of-n";
    Object.assign(range, { max: 256, disabled: false });
  });
  await page.locator("#way-a-n").evaluate((range) => (range.value = 250));
  await page.fill("#prompt", "a red ring");
  await page.press("#prompt", "Enter");
  await page.locator(".cancel").waitFor();
  await page.keyboard.press("Escape");
  await page.locator(".run[data-state=cancelled]").waitFor(TIME);
  const id = new URL(page.url()).hash.slice(1);
  assert.equal((await (await fetch(`${server.url}/v1/jobs/${id}`)).json()).state, "cancelled");
  assert.deepEqual(page.faults, []);
});

/** What the page says of two jobs. With the same seed, both may end in the same image. */
function better([a, b]) {
  if (a.score === b.score) return "Both score the same";
  return `${a.score > b.score ? "tts-var · N = 1" : "best-of-n · N = 4"} scores`;
}

test("two methods are compared with the same seed", async () => {
  const page = await open(browser, server.url);
  await generate(page, "two orange rings", { compare: true });
  await done(page, 2);
  assert.deepEqual(await page.locator(".run h2").allTextContents(), [
    "tts-var · N = 1",
    "best-of-n · N = 4",
  ]);
  const jobs = await Promise.all(
    new URL(page.url()).hash
      .slice(1)
      .split(",")
      .map(async (id) => (await fetch(`${server.url}/v1/jobs/${id}`)).json()),
  );
  assert.equal(jobs[0].seed, jobs[1].seed);
  await page.locator(".verdict").waitFor(TIME);
  const verdict = await page.locator(".verdict").textContent();
  assert.ok(verdict.startsWith(better(jobs)), verdict);
  // What the page asks for to show the tree is no cost of the methods
  const traces = await Promise.all(
    jobs.map(async ({ id }) => (await fetch(`${server.url}/v1/jobs/${id}/trace`)).json()),
  );
  assert.deepEqual(
    traces.map(({ cost }) => [cost.decodes, cost.previews]),
    [
      [21, 16],
      [4, 24],
    ],
  );
  const [x, y] = traces.map(
    ({ cost: { flops } }) => flops.generator + flops.scorer + flops.features + flops.verifier,
  );
  assert.ok(
    verdict.endsWith(`tts-var · N = 1 used ${(x / y).toFixed(2)} times the compute of best-of-n · N = 4.`),
    verdict,
  );
  const facts = await page.locator(".facts").allTextContents();
  assert.match(facts[0], /Decodes21.*Previews16 decodes, not counted/);
  assert.match(facts[1], /Decodes4.*Previews24 decodes, not counted/);
  const [a, b] = await Promise.all([0, 1].map((i) => page.locator(".run").nth(i).boundingBox()));
  assert.ok(a.y === b.y && a.x + a.width <= b.x, "they stand side by side");
  assert.deepEqual(page.faults, []);
});

test("an earlier run is opened, replayed and downloaded", async () => {
  const page = await open(browser, server.url);
  await generate(page, "three green triangles", { seed: 8 });
  await done(page);
  const entry = page.locator("#list a").first();
  await entry.waitFor();
  await page.goto(`${server.url}/`);
  await page.locator("#list a", { hasText: "three green triangles" }).first().click();
  await done(page);
  const [image] = await Promise.all([page.waitForEvent("download"), page.click(".actions .image")]);
  assert.equal(image.suggestedFilename(), "ttsvar-three-green-triangles-8.png");
  assert.equal(
    readFileSync(await image.path())
      .subarray(1, 4)
      .toString(),
    "PNG",
  );
  const [file] = await Promise.all([page.waitForEvent("download"), page.click(".actions .trace")]);
  const trace = JSON.parse(readFileSync(await file.path(), "utf8"));
  assert.equal(trace.schema, "ttsvar.trace/1");
  const [report] = await Promise.all([
    page.waitForEvent("download"),
    page.click(".actions .report"),
  ]);
  assert.equal(report.suggestedFilename(), "ttsvar-three-green-triangles-8.html");
  assert.match(readFileSync(await report.path(), "utf8"), /three green triangles/);
  await page.click(".replay");
  await page.locator(".run[data-state=busy]").waitFor();
  await done(page);
  // The trace alone, as a file from elsewhere
  await page.setInputFiles("#file", {
    name: "mine.json",
    mimeType: "application/json",
    buffer: Buffer.from(JSON.stringify(trace)),
  });
  await page.locator(".state", { hasText: "from mine.json; a trace holds no images" }).waitFor();
  assert.equal(await page.locator(".tile").count(), 37);
  assert.equal(await page.locator(".asked").textContent(), "three green triangles");
  assert.match(
    await page.locator(".tile.winner").getAttribute("aria-label"),
    new RegExp(`^Candidate ${trace.winner},`),
  );
  const [same] = await Promise.all([page.waitForEvent("download"), page.click(".actions .trace")]);
  assert.equal(readFileSync(await same.path(), "utf8"), JSON.stringify(trace));
  await page.setInputFiles("#file", {
    name: "other.json",
    mimeType: "application/json",
    buffer: Buffer.from("{}"),
  });
  await page.locator("#error", { hasText: "not a trace" }).waitFor();
  // Traces that contradict themselves neither hang the page nor leave a half-drawn run
  for (const change of [
    (trace) => (trace.plan.start = 0),
    (trace) => (trace.scales = { length: 1e9 }),
    (trace) => (trace.candidates.at(-1).parent = trace.candidates.length - 1),
  ]) {
    const damaged = structuredClone(trace);
    change(damaged);
    await page.setInputFiles("#file", {
      name: "damaged.json",
      mimeType: "application/json",
      buffer: Buffer.from(JSON.stringify(damaged)),
    });
    await page.locator("#error", { hasText: "this trace is damaged" }).waitFor();
    assert.equal(await page.locator(".tile").count(), 0);
  }
  assert.deepEqual(page.faults, []);
});

test("an image fills the form with its settings", async () => {
  const page = await open(browser, server.url);
  // The score from which a search stops is recorded in its plan alone
  const search = { method: "auto", n: 4, enough: 0.25, cfg: 2.5, negative: "größer" };
  const response = await fetch(new URL("/v1/images/generations", server.url), {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify({ prompt: "a blue star", seed: 11, search }),
  });
  const [image] = (await response.json()).data;
  const load = (name, bytes) =>
    page.setInputFiles("#file", { name, mimeType: "image/png", buffer: Buffer.from(bytes) });
  await load("star.png", Buffer.from(image.b64_json, "base64"));
  await page.locator("#extras", { hasText: "größer" }).waitFor();
  assert.match(await page.locator("#extras").textContent(), /cfg 2.5/);
  assert.equal(await page.inputValue("#prompt"), "a blue star");
  assert.equal(await page.inputValue("#seed"), "11");
  assert.equal(await page.inputValue("#way-a-method"), "auto");
  await page.click("#paint");
  await done(page);
  const jobs = await (await fetch(new URL("/v1/jobs?limit=2", server.url))).json();
  assert.deepEqual(jobs.data[0].settings, jobs.data[1].settings);
  assert.deepEqual(jobs.data[0].plan, jobs.data[1].plan);
  assert.equal(jobs.data[0].plan.enough, 0.25);
  const [again, first] = await Promise.all(
    jobs.data.map(async (job) => {
      const file = await fetch(new URL(job.image_url, server.url));
      return Buffer.from(await file.arrayBuffer());
    }),
  );
  assert.ok(again.equals(first), "the page generated another image");
  // Another N is another plan
  await page.locator("#way-a-n").fill("3");
  assert.doesNotMatch(await page.locator("#extras").textContent(), /plan/);
  await page.click("#paint");
  await page.locator(".run h2", { hasText: "auto · N = 3" }).waitFor(TIME);
  await done(page);
  const { data } = await (await fetch(new URL("/v1/jobs?limit=1", server.url))).json();
  assert.equal(data[0].settings.cfg, 2.5);
  assert.notEqual(data[0].plan.enough, 0.25);
  await page.click("#drop-extras");
  assert.equal(await page.locator("#extras").isVisible(), false);
  await load("no.png", "not an image");
  await page.locator("#error", { hasText: "not a PNG file" }).waitFor();
  assert.deepEqual(page.faults, []);
});

/** The image of the run in the address, as numbers of its pixels. */
const pixels = (page) =>
  page.locator(".lead").evaluate((canvas) => [
    ...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data,
  ]);

/** The mean difference of some columns of two images of 64 x 64 pixels. */
function apart(a, b, from, to) {
  const inside = a.map((value, i) => ((i >> 2) % 64 >= from && (i >> 2) % 64 < to ? Math.abs(value - b[i]) : 0));
  return inside.reduce((sum, value) => sum + value, 0) / (3 * 64 * (to - from));
}

/** A PNG file with nothing but texts. */
function png(texts) {
  const chunks = Object.entries(texts).map(([key, text]) => {
    const data = Buffer.from(`${key}\0${text}`, "latin1");
    const length = Buffer.alloc(4);
    length.writeUInt32BE(data.length);
    return Buffer.concat([length, Buffer.from("tEXt"), data, Buffer.alloc(4)]);
  });
  return Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), ...chunks]);
}

test("an image of a class fills the form with the class", async () => {
  let sent;
  const page = await open(browser, server.url, {}, async (page) => {
    await page.route("**/v1/models", async (route) => {
      const response = await route.fetch();
      const models = await response.json();
      models.data[0].classes = ["tench", "goldfish"];
      await route.fulfill({ response, json: models });
    });
    await page.route("**/v1/jobs", async (route) => {
      sent = route.request().postDataJSON();
      await route.fulfill({ status: 400, json: { error: { message: "enough was sent" } } });
    });
  });
  const buffer = png({
    "ttsvar:prompt": "a photo of a goldfish",
    "ttsvar:seed": "3",
    "ttsvar:settings": JSON.stringify({ method: "raw", n: 1, class: 1, cfg: 2.5 }),
    "ttsvar:plan": "start = 1",
    "ttsvar:preview": "full",
  });
  await page.setInputFiles("#file", { name: "fish.png", mimeType: "image/png", buffer });
  await page.locator("#extras", { hasText: "cfg 2.5" }).waitFor();
  assert.equal(await page.inputValue("#prompt"), "goldfish");
  await page.click("#paint");
  await page.locator("#error", { hasText: "enough was sent" }).waitFor();
  assert.deepEqual(sent, {
    class: "goldfish",
    seed: 3,
    previews: true,
    search: { cfg: 2.5, plan: "start = 1", preview: "full" },
    plan_of: { method: "raw", n: 1 },
  });
});

test("an earlier run whose image cannot be read is listed with the others", async () => {
  const runs = { prompt: "a blue square", search: { method: "raw" } };
  for (const seed of [1, 2]) {
    const response = await fetch(new URL("/v1/images/generations", server.url), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...runs, seed }),
    });
    assert.equal(response.status, 200);
  }
  const { data } = await (await fetch(new URL("/v1/jobs?limit=2", server.url))).json();
  const page = await open(browser, server.url, {}, (page) =>
    page.route(`**${data[0].image_url}`, (route) => route.abort()),
  );
  await page.locator("#list a").nth(1).waitFor();
  const entries = page.locator("#list li");
  assert.equal(await entries.nth(0).locator("img[src]").count(), 0);
  assert.equal(await entries.nth(1).locator("img[src]").count(), 1);
});

test("the operations of a search include those of its verifier", async () => {
  const page = await open(browser, server.url);
  const sums = await page.evaluate(async () => {
    const { operations } = await import(new URL("page/panel.js", document.baseURI));
    const flops = { generator: 1, scorer: 2, features: 4 };
    return [operations({ flops }), operations({ flops: { ...flops, verifier: 8 } })];
  });
  assert.deepEqual(sums, [7, 15]);
});

test("a part of an image is marked and regenerated", async () => {
  const page = await open(browser, server.url, { reducedMotion: "reduce" });
  await generate(page, "a red circle left of a blue star", { method: "raw", seed: 3 });
  await done(page);
  const before = await pixels(page);
  await page.click(".actions .edit");
  await page.locator("#edit-work").waitFor();
  await generate(page, "a red circle left of a green ring", { method: "best-of-n", n: 2, seed: 9 });
  await page.locator("#error", { hasText: "mark the part" }).waitFor();
  const box = await page.locator("#edit-mask").boundingBox();
  await page.locator("#edit-brush").fill("50");
  await page.mouse.move(box.x + 0.75 * box.width, box.y + 0.1 * box.height);
  await page.mouse.down();
  await page.mouse.move(box.x + 0.75 * box.width, box.y + 0.9 * box.height, { steps: 4 });
  await page.mouse.up();
  await page.press("#prompt", "Enter");
  await page.locator(".run h2", { hasText: "best-of-n" }).waitFor(TIME);
  await done(page);
  const edited = await pixels(page);
  assert.ok(apart(before, edited, 0, 24) < 6, `outside: ${apart(before, edited, 0, 24)}`);
  assert.ok(apart(before, edited, 40, 60) > 12, `inside: ${apart(before, edited, 40, 60)}`);
  const id = new URL(page.url()).hash.slice(1);
  const job = await (await fetch(`${server.url}/v1/jobs/${id}`)).json();
  assert.match(job.settings.edit, /^[0-9a-f]{16}$/);

  // A mask from a file: the upper half, by its transparency. It is dropped.
  await page.click("#edit-clear");
  const covered = await page.evaluate(async () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 128, height: 128 });
    canvas.getContext("2d").fillRect(0, 64, 128, 64);
    const file = await new Promise((resolve) => canvas.toBlob(resolve));
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([file], "mask.png", { type: "image/png" }));
    document.getElementById("edit").dispatchEvent(new DragEvent("drop", { dataTransfer, bubbles: true }));
    const mask = document.getElementById("edit-mask");
    const marked = (y) => mask.getContext("2d").getImageData(32, y, 1, 1).data[3];
    while (!marked(10)) await new Promise(requestAnimationFrame);
    return [marked(28), marked(36)];
  });
  assert.deepEqual(covered, [255, 0]);
  await page.setInputFiles("#edit-file", {
    name: "no.png",
    mimeType: "image/png",
    buffer: Buffer.from("not an image"),
  });
  await page.locator("#error", { hasText: "no.png is not an image" }).waitFor();
  await page.click("#edit-remove");
  assert.equal(await page.locator("#edit-work").isVisible(), false);
  assert.deepEqual(page.faults, []);
});

test("the page works below a path of a proxy", async () => {
  const paint = await proxy(server.url, "/paint/");
  try {
    const page = await open(browser, paint.url);
    await generate(page, "a red ring", { seed: 4 });
    await done(page);
    assert.ok((await colours(page.locator(".lead"))) > 20);
    assert.ok((await colours(page.locator(".tile canvas").first())) > 1);
    const [report] = await Promise.all([
      page.waitForEvent("download"),
      page.click(".actions .report"),
    ]);
    assert.match(readFileSync(await report.path(), "utf8"), /a red ring/);
    await page.locator("#list img").first().waitFor();
    assert.deepEqual(paint.strays, [], "addresses outside of the path");
    assert.deepEqual(page.faults, []);
  } finally {
    paint.end();
  }
});

test("rounds and a selection after the last scale are shown", async () => {
  const page = await open(browser, server.url);
  await generate(page, "a red circle and a blue square", { method: "importance", seed: 2 });
  await done(page);
  assert.equal(await page.locator(".head").last().textContent(), "kept");
  const prompt = "a purple cross above a yellow square";
  await generate(page, prompt, { method: "sequential", n: 3, seed: 2 });
  await page.locator(".run h2", { hasText: "sequential" }).waitFor();
  await done(page);
  assert.equal((await page.locator(".tile").count()) % 7, 0);
  assert.deepEqual(page.faults, []);
});

test("suspended candidates are shown up to the scale where they wait", async () => {
  const page = await open(browser, server.url);
  const prompt = "a purple cross above a yellow square";
  await generate(page, prompt, { method: "auto", n: 3, seed: 2 });
  await page.locator(".run h2", { hasText: "auto" }).waitFor();
  await done(page);
  const suspended = await page.locator(".tile.fallen").count();
  assert.ok(suspended > 0 && suspended % 4 === 0, `${suspended} tiles of suspended candidates`);
  assert.equal(((await page.locator(".tile").count()) - suspended) % 7, 0);
  assert.deepEqual(page.faults, []);
});

test("unknown words and errors are reported", async () => {
  const page = await open(browser, server.url);
  await page.fill("#prompt", "a red elephant");
  assert.match(await page.locator("#words").textContent(), /does not know: elephant/);
  await page.fill("#prompt", "a".repeat(1001));
  await page.press("#prompt", "Enter");
  await page.locator("#error", { hasText: "1001 characters" }).waitFor();
});

test("the page works on a phone, and nothing is wider than the screen", async () => {
  const page = await open(browser, server.url, {
    viewport: { width: 360, height: 740 },
    isMobile: true,
    hasTouch: true,
  });
  await generate(page, "a yellow cross", { compare: true, seed: 1 });
  await done(page, 2);
  const wide = await page.evaluate(() => document.documentElement.scrollWidth);
  assert.ok(wide <= 360, `the page is ${wide} wide`);
  const [a, b] = await Promise.all([0, 1].map((i) => page.locator(".run").nth(i).boundingBox()));
  assert.ok(a.y + a.height <= b.y, "one below the other");
});

test("narrow columns are labelled with their scales", async () => {
  const page = await open(browser, server.url, {
    viewport: { width: 360, height: 740 },
    isMobile: true,
    hasTouch: true,
    reducedMotion: "reduce",
  });
  await generate(page, "a green ring", { n: 8, seed: 1 });
  await done(page);
  const heads = await page.locator(".head").allTextContents();
  assert.deepEqual(heads, ["S0", "S1", "S2", "S3", "S4", "S5", "S6"]);
  // The same numbers as in the text below
  assert.match(await page.locator(".told").textContent(), /^After scale 5:/);
});

test("the arrow keys move through the tree", async () => {
  const page = await open(browser, server.url, { reducedMotion: "reduce" });
  await generate(page, "a green square", { seed: 6 });
  await done(page);
  await page.locator(".tile").first().focus();
  await page.keyboard.press("ArrowRight");
  await page.keyboard.press("ArrowRight");
  assert.match(await page.locator(".tile:focus").getAttribute("aria-label"), /scale 2/);
  assert.match(await page.locator(".told").textContent(), /scale 2/);
  const first = await page.locator(".tile:focus").getAttribute("aria-label");
  await page.keyboard.press("ArrowDown");
  assert.notEqual(await page.locator(".tile:focus").getAttribute("aria-label"), first);
});

test("text has enough contrast in light and dark mode", async () => {
  for (const colorScheme of ["light", "dark"]) {
    const page = await open(browser, server.url, { colorScheme });
    await generate(page, "a blue ring", { method: "raw", seed: 1 });
    await done(page);
    const poor = await page.evaluate(contrasts);
    assert.deepEqual(poor, [], colorScheme);
  }
});

/** Texts whose contrast against their background is below 4.5. */
function contrasts() {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgb = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    return [...canvas.getImageData(0, 0, 1, 1).data];
  };
  const light = ([r, g, b]) =>
    [r, g, b]
      .map((v) => (v /= 255) && (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
      .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (element) => {
    for (let current = element; current; current = current.parentElement) {
      const colour = rgb(getComputedStyle(current).backgroundColor);
      if (colour[3] > 250) return colour;
    }
    return [255, 255, 255];
  };
  const hasText = (element) =>
    [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  const texts = [...document.querySelectorAll("body *")].filter(
    (element) =>
      hasText(element) && element.checkVisibility() && !element.closest(".hidden, .tile, option"),
  );
  return texts.flatMap((element) => {
    const [a, b] = [light(rgb(getComputedStyle(element).color)), light(behind(element))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    return ratio < 4.5 ? [`${element.className || element.tagName}: ${ratio.toFixed(2)}`] : [];
  });
}

test("a server that requires a token asks for it, and the page remembers it", async () => {
  const closed = await serve("--token", "a-long-secret");
  try {
    const context = await browser.newContext();
    const page = await context.newPage();
    await page.goto(closed.url);
    for (const token of ["wrong", "a-long-secret"]) {
      await page.locator("#secret[open]").waitFor();
      await page.fill("#token", token);
      await page.press("#token", "Enter");
    }
    await page.locator("#model:not(:empty)").waitFor();
    await page.fill("#prompt", "a red circle");
    await page.press("#prompt", "Enter");
    await done(page);
  } finally {
    closed.end();
  }
});
