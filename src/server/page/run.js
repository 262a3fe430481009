// The state of a search: rounds of columns, built from the events of a job or from a trace.

import { checkTrace } from "./trace_check.js";

/**
 * @typedef {{
 *   id: number,
 *   parent: number | null,
 *   tiles: Map<number, Tile>,
 *   fate: string,
 *   cluster: number | null,
 * }} Candidate
 */
/**
 * A candidate after one scale. Its image is number `place` of `count` on the contact sheet at the
 * address `sheet`.
 * @typedef {{
 *   candidate: Candidate,
 *   scale: number,
 *   score: number | null,
 *   sheet: string | null,
 *   place: number,
 *   count: number,
 * }} Tile
 */

export class Run {
  constructor() {
    this.scales = [];
    /** For each round, its blocks between two selections: `{ from, to, ids, choice }`. */
    this.rounds = [];
    /** @type {Map<number, Candidate>} */
    this.candidates = new Map();
    this.winner = null;
    this.scale = null;
    this.best = null;
    this.rows = 0;
    this.warnings = [];
  }

  /** Applies an event of a job. */
  apply(name, data) {
    const handler = { started, scale, previews, scores, selection, warning, winner }[name];
    if (handler) handler(this, data);
  }

  get block() {
    return this.rounds.at(-1)?.at(-1);
  }

  /** The winner and all its ancestors. */
  lineage() {
    const ids = [];
    for (
      let id = this.winner;
      id != null && this.candidates.has(id);
      id = this.candidates.get(id).parent
    )
      ids.push(id);
    return new Set(ids);
  }

  /** The tile to show large: the winner, or the tile with the best score in the latest column. */
  leading() {
    if (this.winner != null) return this.imageTile(this.winner);
    const tiles = (this.block?.ids ?? [])
      .map((id) => this.imageTile(id))
      .filter((tile) => tile?.sheet);
    const score = (tile) => this.latestScore(tile.candidate.id) ?? -Infinity;
    return tiles.reduce((best, tile) => (best && score(best) >= score(tile) ? best : tile), null);
  }

  /** The last tile with an image of a candidate or, if it has none, of its ancestors. */
  imageTile(id) {
    for (
      let current = this.candidates.get(id);
      current;
      current = this.candidates.get(current.parent)
    ) {
      const tiles = [...current.tiles.values()];
      const tile = tiles.reverse().find((tile) => tile.sheet);
      if (tile) return tile;
    }
    return null;
  }

  /** The last score of a candidate's lineage. */
  latestScore(id) {
    for (
      let current = this.candidates.get(id);
      current;
      current = this.candidates.get(current.parent)
    ) {
      const scores = [...current.tiles.values()]
        .map((tile) => tile.score)
        .filter((score) => score != null);
      if (scores.length) return scores.at(-1);
    }
    return null;
  }
}

function started(run, { prompt, seed, scales, plan }) {
  Object.assign(run, { prompt, seed, scales, plan });
}

function scale(run, { scale, ids }) {
  if (scale === 0) run.rounds.push([]);
  const last = run.block;
  if (!last || last.choice)
    run.rounds.at(-1).push({ from: scale, to: scale, ids: [...ids], choice: null });
  else last.to = scale;
  for (const id of ids) tile(run, id, scale);
  run.scale = scale;
  run.rows += ids.length;
}

function candidateOf(run, id, parent = null) {
  if (!run.candidates.has(id))
    run.candidates.set(id, { id, parent, tiles: new Map(), fate: "", cluster: null });
  return run.candidates.get(id);
}

function tile(run, id, scale) {
  const candidate = candidateOf(run, id);
  if (!candidate.tiles.has(scale)) {
    candidate.tiles.set(scale, { candidate, scale, score: null, sheet: null, place: 0, count: 1 });
  }
  return candidate.tiles.get(scale);
}

function previews(run, { scale, ids, url }) {
  ids.forEach((id, place) =>
    Object.assign(tile(run, id, scale), { sheet: url, place, count: ids.length }),
  );
}

function scores(run, { scale, ids, scores }) {
  ids.forEach((id, i) => {
    tile(run, id, scale).score = number(scores[i]);
  });
  const found = ids
    .map((id) => run.candidates.get(id).tiles.get(scale).score)
    .filter((score) => !Number.isNaN(score));
  run.best = Math.max(run.best ?? -Infinity, ...found);
}

function selection(run, { scale, select, fates, clusters, resumes }) {
  if (resumes) return resumed(run, fates);
  const block = run.block;
  block.choice = { select, scale, clusters: clusters?.length ? clusters : null };
  const ended = select.startsWith("above") ? "suspended" : "discarded";
  fates.forEach(({ id, children }, i) => {
    const candidate = candidateOf(run, id);
    candidate.fate = children.length
      ? children.length > 1
        ? `continued ${children.length} times`
        : "continued"
      : ended;
    candidate.cluster = clusters?.[i] ?? null;
    for (const child of children) candidateOf(run, child, id).parent = id;
  });
  // Selected after the last scale: shown in an extra column, with the images of their parents.
  if (scale + 1 === run.scales.length) {
    const kept = fates.flatMap(({ children }) => children);
    run.rounds.at(-1).push({ from: scale + 1, to: scale + 1, ids: kept, choice: null });
    for (const id of kept)
      Object.assign(tile(run, id, scale + 1), {
        ...run.imageTile(run.candidates.get(id).parent),
        candidate: run.candidates.get(id),
        scale: scale + 1,
      });
  }
}

/** A suspended candidate is taken up again, in a row of its own. */
function resumed(run, fates) {
  for (const { id, children } of fates) {
    candidateOf(run, id).fate = "suspended, then resumed";
    for (const child of children) candidateOf(run, child, id).parent = id;
  }
  run.rounds.push([]);
}

function warning(run, { message, advice }) {
  run.warnings.push(advice ? `${message}: ${advice}` : message);
}

function winner(run, { id }) {
  run.winner = id;
}

/** A score of a trace: a number, or the name of a value that JSON cannot represent. */
function number(value) {
  return typeof value === "number" ? value : ({ inf: Infinity, "-inf": -Infinity }[value] ?? NaN);
}

/** The events that a trace records. Throws if it is not a trace or contradicts itself. */
export function eventsOf(trace) {
  checkTrace(trace);
  const events = [["started", trace]];
  const stages = [...trace.stages];
  const starts = trace.candidates.filter(({ parent }) => parent == null).map(({ id }) => id);
  const width = trace.plan.start;
  for (let at = 0; at < starts.length; at += width) {
    batch(trace, 0, starts.slice(at, at + width), stages, events);
  }
  // After all rounds, suspended candidates are resumed one by one.
  for (const stage of stages.filter(({ resumes }) => resumes)) {
    events.push(["selection", fatesOf(stage)]);
    batch(trace, stage.scale + 1, stage.children, [], events);
  }
  // A trace has no texts of its warnings
  for (const { kind, scale, message } of trace.warnings ?? [])
    events.push(["warning", { message: message ?? `${kind}, scale ${scale ?? "?"}` }]);
  events.push(["winner", { id: trace.winner }]);
  return events;
}

/** Adds the events of candidates that advance together; takes their stages from `stages`. */
function batch(trace, first, ids, stages, events) {
  for (let scale = first; scale < trace.scales.length && ids.length; scale++) {
    events.push(["scale", { scale, ids }]);
    events.push(...scoresOf(trace, scale, ids));
    const stage = stages[0];
    if (stage?.scale !== scale || stage.ids.join() !== ids.join()) continue;
    events.push(["selection", fatesOf(stages.shift())]);
    ids = stage.children;
  }
}

function scoresOf(trace, scale, ids) {
  const scored = ids
    .map((id) => [id, trace.candidates[id].history.find((scored) => scored.scale === scale)])
    .filter(([, found]) => found);
  if (!scored.length) return [];
  return [
    [
      "scores",
      { scale, ids: scored.map(([id]) => id), scores: scored.map(([, found]) => found.score) },
    ],
  ];
}

function fatesOf(stage) {
  const fates = stage.ids.map((id, row) => ({
    id,
    children: stage.children.filter((_, i) => stage.kept[i] === row),
  }));
  const { scale, select, clusters, resumes } = stage;
  return { scale, select, fates, clusters, resumes };
}
