// Takes the screenshots of docs/server.md: `npm run pictures -- ../../docs`. A second argument adds
// more for inspection.

import { join } from "node:path";
import { browse, open, serve } from "./support.js";

const [folder = ".", all] = process.argv.slice(2);
const server = await serve();
const browser = await browse();

/** A page that was given a prompt and generates its image. */
async function generated(options, prompt, { method, n, seed, compare, other } = {}) {
  const page = await open(browser, server.url, options);
  await page.fill("#prompt", prompt);
  if (compare) await page.check("#compare");
  if (method) await page.selectOption("#way-a-method", method);
  if (n) await page.locator("#way-a-n").fill(String(n));
  if (other) await page.selectOption("#way-b-method", other);
  await page.fill("#seed", String(seed));
  await page.press("#prompt", "Enter");
  return page;
}

async function settle(page, count = 1) {
  await page.waitForFunction(
    (count) => document.querySelectorAll(".run.won .facts dd").length >= 6 * count,
    count,
    {
      timeout: 90_000,
    },
  );
  await page.waitForTimeout(900);
}

const shot = (page, name) => page.screenshot({ path: join(folder, `${name}.png`) });
const WIDE = { viewport: { width: 1280, height: 980 } };

for (const [prompt, seed] of [
  ["two blue stars", 1],
  ["a purple ring", 2],
  ["a green cross and a red star", 3],
]) {
  await settle(await generated({ ...WIDE, reducedMotion: "reduce" }, prompt, { seed }));
}
const single = await generated(WIDE, "a red circle and a blue square", { seed: 4 });
await settle(single);
await shot(single, "server");
const pair = await generated(
  { ...WIDE, viewport: { width: 1280, height: 1000 }, colorScheme: "dark" },
  "three green triangles",
  { seed: 7, compare: true },
);
await settle(pair, 2);
await pair.evaluate(() => scrollTo(0, document.querySelector("#runs").offsetTop - 12));
await shot(pair, "server-compare");

if (all) {
  await shot(await open(browser, server.url, WIDE), "look-empty");
  const wide = await generated(WIDE, "three green triangles", { seed: 5, n: 8 });
  await wide.waitForTimeout(4000);
  await shot(wide, "look-growing");
  await settle(wide);
  await wide.screenshot({ path: join(folder, "look-wide.png"), fullPage: true });
  const auto = await generated(WIDE, "a purple cross above a yellow square", {
    method: "auto",
    n: 6,
    seed: 2,
    compare: true,
    other: "importance",
  });
  await settle(auto, 2);
  await auto.screenshot({ path: join(folder, "look-auto.png"), fullPage: true });
  const phone = await generated(
    { viewport: { width: 360, height: 740 }, isMobile: true, hasTouch: true, deviceScaleFactor: 2 },
    "a yellow cross",
    { seed: 1 },
  );
  await settle(phone);
  await phone.screenshot({ path: join(folder, "look-phone.png"), fullPage: true });
}

await browser.close();
server.end();
