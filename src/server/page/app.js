// The page: submits searches, shows runs, compares two of them, opens earlier ones.

import { blob, get, onTokenNeeded, post, postForm } from "./api.js";
import { Editor } from "./edit.js";
import { settingsOf } from "./image_settings.js";
import { Panel, operations } from "./panel.js";
import { show } from "./tree.js";

const $ = (id) => document.getElementById(id);

/** The largest N of the slider. */
const MAX_N = 64;

const EXAMPLES = [
  "a red circle and a blue star",
  "three green triangles",
  "a blue star above a red ring",
  "two orange rings",
];

let model = null;
let panels = [];
const editor = new Editor(showError);

/** Options of a search that have no field on the page, from an image. */
let extras = {};

/** The plan of an image. It is used until the user chooses another method or N. */
let plan = null;

onTokenNeeded(async (again) => {
  const dialog = $("secret");
  $("token").value = "";
  dialog.querySelector("h2").textContent = again
    ? "The token is wrong"
    : "This server requires a token";
  if (!dialog.open) dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return $("token").value;
});

/** The choice of one of the two searches. */
class SearchChoice {
  constructor(box, title, method) {
    this.box = box;
    const key = box.id;
    box.innerHTML = `<legend></legend>
      <label class="field">Method <select id="${key}-method"></select></label>
      <label class="field range">
        N <input type="range" min="1" id="${key}-n"><output for="${key}-n"></output>
      </label>
      <p class="about"></p>`;
    box.querySelector("legend").textContent = title;
    [this.method, this.n, this.out] = [
      box.querySelector("select"),
      box.querySelector("input"),
      box.querySelector("output"),
    ];
    this.initial = method;
    this.method.addEventListener("change", () => {
      onChoice(this);
      this.start();
    });
    this.n.addEventListener("input", () => {
      onChoice(this);
      this.update(this.n.value);
    });
  }

  /** Offers the methods of the model, and first the usual one unless another is meant. */
  offer(methods, usual) {
    this.methods = new Map(methods.map((method) => [method.name, method]));
    for (const name of this.methods.keys()) {
      const selected = name === (this.initial ?? usual);
      this.method.append(new Option(name, name, selected, selected));
    }
    this.start();
  }

  /** Takes the N that suits the chosen method. */
  start() {
    this.update(this.methods.get(this.method.value).n);
  }

  update(n) {
    const { max_n, description } = this.methods.get(this.method.value);
    this.n.max = Math.min(MAX_N, max_n);
    this.n.value = n;
    this.n.disabled = this.n.max === "1";
    this.out.textContent = this.n.value;
    this.box.querySelector(".about").textContent = description;
  }

  get search() {
    return { method: this.method.value, n: Number(this.n.value) };
  }
}

const choices = [
  new SearchChoice($("way-a"), "Search"),
  new SearchChoice($("way-b"), "Compare with", "best-of-n"),
];

function showError(error) {
  $("error").textContent = error?.message ?? "";
  $("error").hidden = !error;
}

function clear() {
  for (const panel of panels) panel.close();
  panels = [];
  document.querySelector(".verdict")?.remove();
  $("runs").className = "";
}

/** Shows runs side by side. `start` begins each one in its panel. */
function showRuns(count, start) {
  clear();
  showError(null);
  $("runs").classList.toggle("pair", count > 1);
  panels = Array.from({ length: count }, () => new Panel(onRunOver, model?.edits ? edit : null));
  panels.forEach((panel, i) => start(panel, i).catch(showError));
  $("runs").scrollIntoView({ behavior: "smooth", block: "nearest" });
}

async function submit(event) {
  event.preventDefault();
  if (!model) return;
  showError(null);
  const compare = $("compare").checked;
  const seed =
    $("seed").value === "" ? Math.floor(Math.random() * 2 ** 32) : Number($("seed").value);
  $("paint").disabled = true;
  try {
    const files = await editor.files();
    const jobs = [];
    for (const choice of compare ? choices : choices.slice(0, 1)) {
      const subject = model.classes ? "class" : "prompt";
      const shared = { [subject]: $("prompt").value, seed, previews: true };
      const { search, plan_of } = searchOf(choice);
      jobs.push(
        files
          ? await postForm("/v1/jobs", {
              ...shared,
              search: JSON.stringify(search),
              ...(plan_of && { plan_of: JSON.stringify(plan_of) }),
              ...files,
            })
          : await post("/v1/jobs", { ...shared, search, plan_of }),
      );
    }
    history.pushState(null, "", `#${jobs.map((job) => job.id).join(",")}`);
    showRuns(jobs.length, (panel, i) => panel.follow(jobs[i]));
  } catch (error) {
    showError(error);
  } finally {
    $("paint").disabled = false;
  }
}

/** The options of a search, and the name of its plan if an image gave it. */
function searchOf(choice) {
  const { schedule, ...options } = extras;
  if (plan && choice === choices[0])
    return { search: { ...options, ...plan.options }, plan_of: plan.name };
  const search = { ...options, ...choice.search };
  // The only method that has a schedule
  if (schedule && search.method === "tts-var") search.schedule = schedule;
  return { search };
}

/** Another method or N: the plan of an image is no longer that of the first search. */
function onChoice(choice) {
  if (choice === choices[0]) setExtras(extras);
}

/** Takes an image of the server as the one to edit. */
async function edit(url) {
  showError(null);
  await editor.open(await blob(url));
  $("ask").scrollIntoView({ behavior: "smooth", block: "start" });
}

/** Updates the list after a run, and reports the better one if two runs are compared. */
function onRunOver(panel) {
  listRuns().catch(showError);
  const over = panels.every((panel) => panel.score !== undefined);
  $("live").textContent =
    panel.score === undefined
      ? `${panel.title.textContent} ended`
      : `${panel.title.textContent} scored ${show(panel.score)}`;
  if (panels.length !== 2 || !over || panels.some((panel) => typeof panel.score !== "number"))
    return;
  const [a, b] = panels;
  const winner = a.score > b.score ? a : b;
  const better =
    a.score === b.score
      ? "Both score the same"
      : `${winner.title.textContent} scores ${show(Math.abs(a.score - b.score))} higher`;
  document.querySelector(".verdict")?.remove();
  const verdict = Object.assign(document.createElement("p"), { className: "verdict" });
  verdict.textContent = `${better}; ${compareCost(a, b)}.`;
  $("runs").prepend(verdict);
}

/**
 * Compares the costs of two runs, without the previews that only this page asks for. Operations do
 * not depend on what else the machine does; the time is the fallback for models that count none.
 */
function compareCost(a, b) {
  const names = [a, b].map((panel) => panel.title.textContent);
  const [x, y] = [a, b].map((panel) => operations(panel.trace.cost));
  if (x && y) return `${names[0]} used ${(x / y).toFixed(2)} times the compute of ${names[1]}`;
  const [s, t] = [a, b].map((panel) => panel.trace.cost.seconds.total);
  return `${names[0]} took ${(s / t).toFixed(2)} times as long as ${names[1]}`;
}

/** Opens the runs in the address. */
async function openFromAddress() {
  const ids = location.hash
    .slice(1)
    .split(",")
    .filter((id) => /^[0-9a-f]+$/.test(id))
    .slice(0, 2);
  if (!ids.length) return clear();
  try {
    const jobs = await Promise.all(ids.map((id) => get(`/v1/jobs/${id}`)));
    showRuns(jobs.length, (panel, i) =>
      panel.follow(jobs[i], {
        quick: ["done", "failed", "cancelled", "interrupted"].includes(jobs[i].state),
      }),
    );
    // The prompt of a class is what scorers read.
    const subject = model?.classes ? /^a photo of a /u : "";
    $("prompt").value ||= jobs[0].prompt.replace(subject, "");
  } catch (error) {
    clear();
    showError(error);
  }
}

let before = null;

/** Lists earlier runs. With `more`, older ones are added below. */
async function listRuns(more = false) {
  const { data, has_more } = await get(
    `/v1/jobs?limit=24${more && before ? `&before=${before}` : ""}`,
  );
  const done = data.filter((job) => job.state === "done");
  before = data.at(-1)?.id;
  const items = await Promise.all(done.map(listItem));
  if (more) $("list").append(...items);
  else $("list").replaceChildren(...items);
  $("past").hidden = !$("list").children.length;
  $("older").hidden = !has_more;
  // The latest jobs may all be queued or failed
  if (!items.length && has_more) await listRuns(true);
}

const thumbs = new Map();

/** The address of the image of a job, or null if it cannot be read. Its run is listed all the same. */
async function thumbOf(job) {
  try {
    if (!thumbs.has(job.id)) thumbs.set(job.id, URL.createObjectURL(await blob(job.image_url)));
    return thumbs.get(job.id);
  } catch {
    return null;
  }
}

async function listItem(job) {
  const entry = document.createElement("li");
  const link = Object.assign(document.createElement("a"), { href: `#${job.id}` });
  const image = Object.assign(new Image(), { alt: "", loading: "lazy" });
  const thumb = await thumbOf(job);
  if (thumb) image.src = thumb;
  const name = Object.assign(document.createElement("span"), { textContent: job.prompt });
  const { method, n } = job.settings ?? {};
  const search = `${method ?? "custom plan"}${n ? ` ${n}` : ""}`;
  const about = Object.assign(document.createElement("small"), {
    textContent: `${search} · ${show(job.score)}`,
  });
  link.append(image, name, about);
  entry.append(link);
  return entry;
}

/** Takes the settings of an image into the form. */
function takeSettings({ prompt, seed, method, n, more, plan }) {
  // The prompt of a class is what scorers read
  const name = model?.classes?.[more.class];
  if (name !== undefined) delete more.class;
  $("prompt").value = name ?? prompt;
  $("seed").value = Number.isSafeInteger(Number(seed ?? "x")) ? seed : "";
  const [choice] = choices;
  if (choice.methods.has(method)) {
    choice.method.value = method;
    choice.update(n ?? choice.methods.get(method).n);
  }
  setExtras(more, plan);
  checkWords();
}

/** Shows the options that have no field and the plan of an image, with a button that drops them. */
function setExtras(options, from = null) {
  [extras, plan] = [options, from];
  const shown = plan ? { ...options, plan: plan.options.plan } : options;
  const texts = Object.entries(shown).map(([name, value]) => {
    const text = typeof value === "string" ? value : JSON.stringify(value);
    return `${name} ${text.length > 60 ? `${text.slice(0, 60)}…` : text}`;
  });
  $("extras").hidden = !texts.length;
  $("extras-text").textContent = `From the image: ${texts.join(" · ")}`;
}

async function openFile(file) {
  try {
    if (file.type.startsWith("image/")) {
      takeSettings(settingsOf(new Uint8Array(await file.arrayBuffer())));
      showError(null);
      return;
    }
    const trace = JSON.parse(await file.text());
    showRuns(1, (panel) => panel.open(trace, file));
  } catch (error) {
    showError(error instanceof SyntaxError ? new Error(`${file.name} is neither a trace nor an image`) : error);
  }
}

/** Reports words that the model does not know, while they are typed. */
function checkWords() {
  const words =
    $("prompt")
      .value.toLowerCase()
      .match(/\p{L}+/gu) ?? [];
  const unknown = model?.words
    ? [...new Set(words.filter((word) => !model.words.includes(word)))]
    : [];
  $("words").textContent = unknown.length ? `${model.id} does not know: ${unknown.join(", ")}` : "";
}

/** Asks for a class instead of a prompt, for class-conditional models. */
function askForClass(names) {
  const list = Object.assign(document.createElement("datalist"), { id: "classes" });
  for (const value of names)
    list.append(Object.assign(document.createElement("option"), { value }));
  $("prompt").after(list);
  $("prompt").setAttribute("list", "classes");
  $("prompt").placeholder = `A class, such as ${names[0]}`;
  document.querySelector('label[for="prompt"]').textContent = "Class";
  $("examples").hidden = true;
}

async function start() {
  for (const text of EXAMPLES) {
    const chip = Object.assign(document.createElement("button"), {
      type: "button",
      textContent: text,
    });
    chip.addEventListener("click", () => {
      $("prompt").value = text;
      checkWords();
      $("ask").requestSubmit();
    });
    $("examples").append(chip);
  }
  $("ask").addEventListener("submit", submit);
  $("prompt").addEventListener("input", checkWords);
  $("compare").addEventListener("change", () => {
    $("way-b").hidden = !$("compare").checked;
  });
  $("open").addEventListener("click", () => $("file").click());
  $("file").addEventListener("change", () => $("file").files[0] && openFile($("file").files[0]));
  $("drop-extras").addEventListener("click", () => setExtras({}));
  $("older").addEventListener("click", () => listRuns(true).catch(showError));
  addEventListener("hashchange", openFromAddress);
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    if (event.dataTransfer.files[0]) openFile(event.dataTransfer.files[0]);
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape")
      document.querySelectorAll(".cancel").forEach((button) => button.click());
  });
  [model] = (await get("/v1/models")).data;
  $("model").textContent = `${model.id} · ${model.sizes[0].replace("x", " × ")} pixels`;
  editor.setSize(model.sizes[0]);
  $("edit").hidden = !model.edits;
  if (model.classes) askForClass(model.classes);
  for (const choice of choices) choice.offer(model.method_details, model.usual_method);
  await Promise.all([openFromAddress(), listRuns()]);
}

start().catch(showError);
