// The page: asks for pictures, shows runs, compares two, opens earlier ones.

import { blob, get, onTokenNeeded, post } from "./api.js";
import { Panel } from "./panel.js";
import { show } from "./tree.js";

const $ = (id) => document.getElementById(id);

/** What each method is, how many rows it has for each N, and the N that shows it well. */
const METHODS = {
  "tts-var": { rows: 8, usual: 1, about: "8N rows; clustered while coarse, resampled while fine" },
  auto: { rows: 1, usual: 16, about: "one after the other, N at most, until one is good enough" },
  "best-of-n": { rows: 1, usual: 4, about: "N to the end, the best wins" },
  beam: { rows: 1, usual: 8, about: "N rows; the better half goes on, each continued twice" },
  importance: { rows: 1, usual: 4, about: "N to the end, one drawn by its score" },
  raw: { rows: 1, usual: 1, most: 1, about: "one sample, as the model draws it" },
};

const EXAMPLES = [
  "a red circle and a blue square",
  "three green triangles",
  "a blue star above a red square",
  "two orange rings",
];

let model = null;
let panels = [];

onTokenNeeded(async (again) => {
  const dialog = $("secret");
  $("token").value = "";
  dialog.querySelector("h2").textContent = again ? "That was not the token" : "This server asks for its token";
  if (!dialog.open) dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return $("token").value;
});

/** One of the two ways to search that can be chosen. */
class Way {
  constructor(box, title, method) {
    this.box = box;
    const key = box.id;
    box.innerHTML = `<legend></legend>
      <label class="field">Method <select id="${key}-method"></select></label>
      <label class="field range">N <input type="range" min="1" id="${key}-n"><output for="${key}-n"></output></label>
      <p class="about"></p>`;
    box.querySelector("legend").textContent = title;
    [this.method, this.n, this.out] = [box.querySelector("select"), box.querySelector("input"), box.querySelector("output")];
    for (const name of Object.keys(METHODS)) this.method.append(new Option(name, name, false, name === method));
    this.method.addEventListener("change", () => this.changed(METHODS[this.method.value].usual));
    this.n.addEventListener("input", () => this.changed(this.n.value));
    this.changed(METHODS[method].usual);
  }

  changed(n) {
    const { rows, most, about } = METHODS[this.method.value];
    this.n.max = Math.max(1, Math.min(most ?? 64, Math.floor((model?.limits.rows ?? 64) / rows)));
    this.n.value = n;
    this.n.disabled = this.n.max === "1";
    this.out.textContent = this.n.value;
    this.box.querySelector(".about").textContent = about;
  }

  get search() {
    return { method: this.method.value, n: Number(this.n.value) };
  }
}

const ways = [new Way($("way-a"), "Search", "tts-var"), new Way($("way-b"), "Against", "best-of-n")];

function fail(error) {
  $("error").textContent = error?.message ?? "";
  $("error").hidden = !error;
}

function clear() {
  for (const panel of panels) panel.close();
  panels = [];
  document.querySelector(".verdict")?.remove();
  $("runs").className = "";
}

/** Shows runs side by side; `start` begins each in its panel. */
function stage(count, start) {
  clear();
  fail(null);
  $("runs").classList.toggle("pair", count > 1);
  panels = Array.from({ length: count }, () => new Panel(ended));
  panels.forEach((panel, i) => start(panel, i).catch(fail));
  $("runs").scrollIntoView({ behavior: "smooth", block: "nearest" });
}

async function paint(event) {
  event.preventDefault();
  fail(null);
  const compare = $("compare").checked;
  const seed = $("seed").value === "" ? Math.floor(Math.random() * 2 ** 32) : Number($("seed").value);
  $("paint").disabled = true;
  try {
    const jobs = [];
    for (const way of compare ? ways : ways.slice(0, 1)) {
      jobs.push(await post("/v1/jobs", { prompt: $("prompt").value, seed, previews: true, search: way.search }));
    }
    history.pushState(null, "", `#${jobs.map((job) => job.id).join(",")}`);
    stage(jobs.length, (panel, i) => panel.follow(jobs[i]));
  } catch (error) {
    fail(error);
  } finally {
    $("paint").disabled = false;
  }
}

/** A run is over: news for the list, and where two were compared, which one won. */
function ended(panel) {
  past().catch(fail);
  const settled = panels.every((one) => one.score !== undefined);
  $("live").textContent =
    panel.score === undefined
      ? `${panel.title.textContent} ended`
      : `${panel.title.textContent} scored ${show(panel.score)}`;
  if (panels.length !== 2 || !settled || panels.some((one) => typeof one.score !== "number")) return;
  const [a, b] = panels;
  const [x, y] = panels.map((one) => one.trace.cost.seconds.total);
  const better =
    a.score === b.score
      ? "Both score the same"
      : `${(a.score > b.score ? a : b).title.textContent} scores ${show(Math.abs(a.score - b.score))} more`;
  document.querySelector(".verdict")?.remove();
  const verdict = Object.assign(document.createElement("p"), { className: "verdict" });
  verdict.textContent = `${better}; ${a.title.textContent} took ${(x / y).toFixed(2)} times as long as ${b.title.textContent}.`;
  $("runs").prepend(verdict);
}

/** Opens the runs that the address names. */
async function visit() {
  const ids = location.hash
    .slice(1)
    .split(",")
    .filter((id) => /^[0-9a-f]+$/.test(id))
    .slice(0, 2);
  if (!ids.length) return clear();
  try {
    const jobs = await Promise.all(ids.map((id) => get(`/v1/jobs/${id}`)));
    stage(jobs.length, (panel, i) =>
      panel.follow(jobs[i], { quick: ["done", "failed", "cancelled", "interrupted"].includes(jobs[i].state) }),
    );
    $("prompt").value ||= jobs[0].prompt;
  } catch (error) {
    clear();
    fail(error);
  }
}

let before = null;

/** Lists earlier runs; `more` adds older ones below. */
async function past(more = false) {
  const { data, has_more } = await get(`/v1/jobs?limit=24${more && before ? `&before=${before}` : ""}`);
  const done = data.filter((job) => job.state === "done");
  before = data.at(-1)?.id;
  const items = await Promise.all(done.map(item));
  if (more) $("list").append(...items);
  else $("list").replaceChildren(...items);
  $("past").hidden = !$("list").children.length;
  $("older").hidden = !has_more;
  if (!items.length && has_more) await past(true); // the latest may all be waiting or have failed
}

const thumbs = new Map();

async function item(job) {
  const entry = document.createElement("li");
  const link = Object.assign(document.createElement("a"), { href: `#${job.id}` });
  const image = Object.assign(new Image(), { alt: "", loading: "lazy" });
  if (!thumbs.has(job.id)) thumbs.set(job.id, URL.createObjectURL(await blob(job.image_url)));
  image.src = thumbs.get(job.id);
  const name = Object.assign(document.createElement("span"), { textContent: job.prompt });
  const method = `${job.settings?.method ?? "own plan"}${job.settings?.n ? ` ${job.settings.n}` : ""}`;
  const about = Object.assign(document.createElement("small"), { textContent: `${method} · ${show(job.score)}` });
  link.append(image, name, about);
  entry.append(link);
  return entry;
}

async function openFile(file) {
  try {
    const trace = JSON.parse(await file.text());
    stage(1, (panel) => panel.open(trace, file));
  } catch (error) {
    fail(error instanceof SyntaxError ? new Error(`${file.name} is no JSON`) : error);
  }
}

/** Says which words the model does not know, while they are typed. */
function check() {
  const words =
    $("prompt")
      .value.toLowerCase()
      .match(/\p{L}+/gu) ?? [];
  const unknown = model?.words ? [...new Set(words.filter((word) => !model.words.includes(word)))] : [];
  $("words").textContent = unknown.length ? `${model.id} does not know: ${unknown.join(", ")}` : "";
}

async function begin() {
  for (const text of EXAMPLES) {
    const chip = Object.assign(document.createElement("button"), { type: "button", textContent: text });
    chip.addEventListener("click", () => {
      $("prompt").value = text;
      check();
      $("ask").requestSubmit();
    });
    $("examples").append(chip);
  }
  $("ask").addEventListener("submit", paint);
  $("prompt").addEventListener("input", check);
  $("compare").addEventListener("change", () => {
    $("way-b").hidden = !$("compare").checked;
  });
  $("open").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => $("file").files[0] && openFile($("file").files[0]));
  $("older").addEventListener("click", () => past(true).catch(fail));
  addEventListener("hashchange", visit);
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) openFile(event.dataTransfer.files[0]);
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") document.querySelectorAll(".cancel").forEach((button) => button.click());
  });
  [model] = (await get("/v1/models")).data;
  $("model").textContent = `${model.id} · ${model.sizes[0].replace("x", " × ")} pixels`;
  for (const way of ways) way.changed(way.n.value);
  await Promise.all([visit(), past()]);
}

begin().catch(fail);
