// One run on the page: its state, its leading image, its tree of candidates, and its actions.

import { blob, download, events, get, post, save } from "./api.js";
import { Run, eventsOf } from "./run.js";
import { Tree, describe, drawTile, forget, show } from "./tree.js";

/** Milliseconds between a step and the next, so that fast searches can be followed. */
const PACE = { scale: 240, previews: 60, scores: 160, selection: 620 };

const reducedMotion = matchMedia("(prefers-reduced-motion: reduce)");

export class Panel {
  /**
   * `onEnd` is called when the run is over, and `onEdit` with the address of the image if a part of
   * it is to be regenerated.
   */
  constructor(onEnd = () => {}, onEdit = null) {
    this.onEnd = onEnd;
    this.onEdit = onEdit;
    this.element = document.getElementById("runs").appendChild(document.createElement("article"));
    this.element.className = "run";
    this.element.innerHTML = `
      <header><h2></h2><p class="state" role="status"></p><div class="actions"></div></header>
      <div class="scene">
        <figure>
          <div class="frame"><canvas class="lead" width="1" height="1" role="img"></canvas></div>
          <p class="asked"></p>
          <figcaption></figcaption>
        </figure>
        <div class="tree" tabindex="-1"></div>
      </div>
      <p class="told"></p><dl class="facts"></dl><ul class="warnings"></ul>`;
    const find = (selector) => this.element.querySelector(selector);
    [this.title, this.state, this.actions] = [find("h2"), find(".state"), find(".actions")];
    [this.lead, this.caption, this.told] = [find(".lead"), find("figcaption"), find(".told")];
    [this.facts, this.warnings, this.asked] = [find(".facts"), find(".warnings"), find(".asked")];
    this.tree = new Tree(find(".tree"), (id, scale) => this.inspect(id, scale));
    this.reset();
  }

  reset() {
    this.run = new Run();
    this.queue = [];
    this.stop = new AbortController();
  }

  /** Removes the panel. */
  close() {
    this.stop.abort();
    forget(this.run);
    this.element.remove();
  }

  /** Follows a job. Events that have already happened are played from the start. */
  async follow(job, { quick = false } = {}) {
    this.job = job;
    this.setTitle(job);
    this.setState(job.state === "queued" ? "queued" : "generating", "busy");
    this.setActions([["Cancel", () => this.cancel(), "cancel"]]);
    const playing = this.play(quick);
    try {
      for await (const { name, data } of events(job.id, this.stop.signal)) {
        if (name === "queued")
          this.setState(data.before ? `queued, ${data.before} ahead` : "next in the queue", "busy");
        this.queue.push([name, data]);
        this.wake?.();
      }
    } catch (error) {
      if (this.stop.signal.aborted) return;
      this.queue.push(["failed", { state: "failed", error: error.message }]);
      this.wake?.();
    }
    await playing;
  }

  /** Shows a search from its trace alone, which was read from `file`. */
  async open(trace, file) {
    const all = eventsOf(trace);
    this.job = null;
    [this.trace, this.file] = [trace, file];
    this.setTitle(trace);
    this.setState(`from ${file.name}; a trace holds no images`, "done");
    for (const [event, data] of all) this.run.apply(event, data);
    this.draw();
    this.showResult(trace);
  }

  /** Applies the events one by one. */
  async play(quick) {
    for (;;) {
      while (!this.queue.length) await new Promise((resolve) => (this.wake = resolve));
      const [name, data] = this.queue.shift();
      const began = performance.now();
      if (this.stop.signal.aborted) return;
      if (data.state && data.id === this.job.id) return this.over(data);
      if (name === "failed") return this.over(data);
      if (name !== "queued") this.run.apply(name, data);
      if (!quick) this.draw();
      const waits = (PACE[name] ?? 0) / (1 + this.queue.length / 60) - (performance.now() - began);
      if (!quick && !reducedMotion.matches && waits > 0)
        await new Promise((resolve) => setTimeout(resolve, waits));
    }
  }

  /** The job is over. */
  async over(job) {
    this.job = { ...this.job, ...job };
    this.draw();
    const texts = {
      done: "done",
      failed: job.error,
      cancelled: "cancelled",
      interrupted: "interrupted: the server shut down",
    };
    this.setState(texts[job.state], job.state);
    this.setActions([]);
    if (job.state === "done") {
      this.trace = await get(job.trace_url);
      if (!this.run.rounds.length)
        for (const [event, data] of eventsOf(this.trace)) this.run.apply(event, data);
      await this.showWinner(job.image_url);
      this.draw();
      this.showResult(this.trace);
    }
    this.element.classList.toggle("dead", job.state !== "done");
    this.onEnd(this);
  }

  async showWinner(url) {
    const image = await createImageBitmap(await blob(url));
    [this.lead.width, this.lead.height] = [image.width, image.height];
    this.lead.getContext("2d").drawImage(image, 0, 0);
    this.lead.dataset.shows = "winner";
    this.lead.classList.add("painted");
    this.element.classList.add("won");
  }

  async cancel() {
    await post(`/v1/jobs/${this.job.id}/cancel`, {}).catch(() => {}); // it is already over
  }

  setTitle({ prompt, negative, settings }) {
    const n = settings?.n == null ? "" : ` · N = ${settings.n}`;
    this.title.textContent = `${settings?.method ?? "custom plan"}${n}`;
    this.asked.textContent = negative ? `${prompt} (without: ${negative})` : prompt;
    this.lead.setAttribute("aria-label", prompt);
  }

  setState(text, kind) {
    this.state.textContent = text;
    this.element.dataset.state = kind;
  }

  setActions(actions) {
    this.actions.replaceChildren(
      ...actions.map(([text, action, kind]) => {
        const button = document.createElement("button");
        Object.assign(button, {
          type: "button",
          textContent: text,
          className: `quiet ${kind ?? ""}`,
        });
        button.addEventListener("click", action);
        return button;
      }),
    );
  }

  draw() {
    if (!this.run.scales.length) return;
    this.tree.draw(this.run);
    this.element.classList.toggle("tall", this.tree.place.height > 640);
    const lead = this.run.leading();
    if (lead && this.lead.dataset.shows !== "winner") drawTile(this.lead, lead);
    if (this.element.dataset.state === "busy") {
      const at =
        this.run.scale == null
          ? "starting"
          : `scale ${this.run.scale} (last: ${this.run.scales.length - 1})`;
      this.setState(
        this.run.rounds.length > 1 ? `round ${this.run.rounds.length}, ${at}` : at,
        "busy",
      );
    }
    const best = this.run.winner != null ? this.run.latestScore(this.run.winner) : this.run.best;
    this.caption.textContent = Number.isFinite(best)
      ? `${this.run.winner != null ? "Winner" : "Best so far"}: ${show(best)}`
      : "";
    this.warnings.replaceChildren(
      ...this.run.warnings.map((text) =>
        Object.assign(document.createElement("li"), { textContent: text }),
      ),
    );
    this.inspect(null);
  }

  /** Describes the candidate that the user points at, or else the last selection. */
  inspect(id, scale) {
    if (id != null) {
      const candidate = this.run.candidates.get(id);
      this.told.textContent = describe(this.run, candidate, candidate.tiles.get(scale));
      return;
    }
    const choices = this.run.rounds.at(-1)?.filter((block) => block.choice) ?? [];
    const last = choices.at(-1);
    const discarded = last?.ids.filter(
      (id) => this.run.candidates.get(id).fate === "discarded",
    ).length;
    this.told.textContent = last
      ? `After scale ${last.choice.scale}: ${last.choice.select}, ` +
        `${discarded} of ${last.ids.length} discarded`
      : "";
  }

  /** Shows the cost of the run and the downloads. */
  showResult(trace) {
    const { cost } = trace;
    const flops = operations(cost);
    const final = trace.finals.find((finished) => finished.id === trace.winner);
    this.score = final?.score;
    const facts = [
      ["Score", typeof this.score === "number" ? show(this.score) : this.score],
      ["Seed", trace.seed],
      ["Finished", plural(cost.images, "image")],
      ["Decodes", cost.decodes],
      ["Compute", flops ? `${(flops / 1e9).toPrecision(3)} GFLOP` : "–"],
      ["Time", `${cost.seconds.total.toFixed(2)} s`],
    ];
    if (cost.previews) facts.push(["Previews", `${cost.previews} decodes, not counted`]);
    this.facts.replaceChildren(
      ...facts.map(([name, value]) => {
        const fact = document.createElement("div");
        fact.append(element("dt", name), element("dd", value));
        return fact;
      }),
    );
    const job = this.job;
    const words = trace.prompt.match(/[a-z0-9]+/gi) ?? ["image"];
    const stem = `ttsvar-${words.slice(0, 8).join("-")}-${trace.seed}`;
    const downloads = job
      ? [
          ["Image", () => download(job.image_url, `${stem}.png`), "image"],
          ["Trace", () => download(job.trace_url, `${stem}.trace.json`), "trace"],
          ...(job.report_url
            ? [["Report", () => download(job.report_url, `${stem}.html`), "report"]]
            : []),
          ...(this.onEdit ? [["Edit", () => this.onEdit(job.image_url), "edit"]] : []),
          ["Replay", () => this.replay(), "replay"],
        ]
      : [["Trace", () => save(this.file, `${stem}.trace.json`), "trace"]];
    this.setActions([...downloads, ["Close", () => this.close(), "close"]]);
  }

  /** Plays the run again. */
  replay() {
    const job = this.job;
    forget(this.run);
    this.reset();
    this.tree.close();
    this.tree = new Tree(this.element.querySelector(".tree"), (id, scale) =>
      this.inspect(id, scale),
    );
    this.element.classList.remove("won");
    this.lead.dataset.shows = "";
    this.follow({ ...job, state: "running" });
  }
}

/** The operations of a search, without previews. */
export function operations({ flops }) {
  return flops.generator + flops.scorer + flops.features + (flops.verifier ?? 0);
}

function element(name, text) {
  return Object.assign(document.createElement(name), { textContent: String(text) });
}

function plural(n, noun) {
  return `${n} ${noun}${n === 1 ? "" : "s"}`;
}
