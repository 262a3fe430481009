// Checks a trace that was read from a file: its parts must fit each other, so that the page can
// follow parents and index by ids. The program makes the same checks when it reads a trace.

const MAX_SCALES = 256;
const MAX_SIDE = 65536;

/** The most tiles, one per candidate and scale, that the page draws. */
const MAX_TILES = 20_000;

/** Throws an error that names the first part that is wrong. */
export function checkTrace(trace) {
  if (trace?.schema !== "ttsvar.trace/1")
    throw new Error("this file is not a trace of a search (ttsvar.trace/1)");
  need(typeof trace.prompt === "string", "prompt");
  need(trace.negative == null || typeof trace.negative === "string", "negative");
  need(Number.isFinite(trace.seed), "seed");
  need(trace.settings == null || isObject(trace.settings), "settings");
  const scales = list(trace.scales, "scales");
  need(scales.length >= 1 && scales.length <= MAX_SCALES, "scales");
  for (const [i, grid] of scales.entries())
    need(
      Array.isArray(grid) && grid.length === 2 && grid.every((side) => whole(side, 1, MAX_SIDE)),
      `scales[${i}]`,
    );
  checkCandidates(trace);
  checkStages(trace);
  const ids = list(trace.finals, "finals").map((last) => last?.id);
  need(
    ids.every((id) => isId(trace, id)),
    "finals",
  );
  need(trace.finals.every(isScored), "finals");
  need(ids.includes(trace.winner), "winner");
  need(list(trace.warnings ?? [], "warnings").every(isObject), "warnings");
  checkCost(trace.cost);
  checkTiles(trace);
}

function checkCandidates({ candidates, scales, plan }) {
  list(candidates, "candidates").forEach((candidate, place) => {
    const at = `candidates[${place}]`;
    need(isObject(candidate) && candidate.id === place, `${at}.id`);
    const { parent, scale, history, tokens } = candidate;
    need(parent == null || whole(parent, 0, place - 1), `${at}.parent`);
    const first = parent == null ? 0 : candidates[parent].scale + 1;
    need(whole(scale, first, parent == null ? 0 : scales.length), `${at}.scale`);
    let next = 0;
    for (const scored of list(history, `${at}.history`)) {
      need(isScored(scored) && whole(scored.scale, next, scales.length - 1), `${at}.history`);
      next = scored.scale + 1;
    }
    next = scale;
    for (const drawn of list(tokens ?? [], `${at}.tokens`)) {
      need(isDrawn(drawn) && whole(drawn.scale, next, scales.length - 1), `${at}.tokens`);
      next = drawn.scale + 1;
    }
  });
  const starts = candidates.filter(({ parent }) => parent == null).length;
  need(whole(plan?.start, 1, MAX_SIDE), "plan.start");
  need(starts > 0 && starts % plan.start === 0, "plan.start");
}

function checkStages(trace) {
  const ended = new Set();
  const suspended = new Set();
  list(trace.stages, "stages").forEach((stage, number) => {
    const at = `stages[${number}]`;
    need(isObject(stage) && whole(stage.scale, 0, trace.scales.length - 1), `${at}.scale`);
    need(typeof stage.select === "string", `${at}.select`);
    for (const id of list(stage.ids, `${at}.ids`)) {
      const reached = isId(trace, id) && trace.candidates[id].scale <= stage.scale;
      need(reached && (stage.resumes ? suspended.delete(id) : !ended.has(id)), `${at}.ids`);
      ended.add(id);
    }
    const rows = stage.ids.length;
    const clusters = list(stage.clusters ?? [], `${at}.clusters`);
    need(clusters.length === 0 || clusters.length === rows, `${at}.clusters`);
    need(
      clusters.every((cluster) => cluster == null || whole(cluster, 0, rows - 1)),
      `${at}.clusters`,
    );
    checkChildren(trace, stage, at);
    if (suspends(stage))
      stage.ids.forEach((id, row) => stage.kept.includes(row) || suspended.add(id));
  });
}

/** Whether a stage suspends the candidates that it does not keep. */
const suspends = ({ select }) => select.startsWith("above");

/** Every child continues the row that was kept in its place. */
function checkChildren({ candidates }, stage, at) {
  const { scale, ids, kept, children } = stage;
  list(kept, `${at}.kept`);
  need(kept.length > 0 || suspends(stage), `${at}.kept`);
  need(list(children, `${at}.children`).length === kept.length, `${at}.kept`);
  const seen = new Set();
  kept.forEach((row, i) => {
    need(whole(row, 0, ids.length - 1), `${at}.kept`);
    const child = candidates[children[i]];
    const continues = child?.parent === ids[row] && child.scale === scale + 1;
    need(continues && !seen.has(child), `${at}.children`);
    seen.add(child);
  });
}

function checkCost(cost) {
  need(isObject(cost) && isObject(cost.flops) && isObject(cost.seconds), "cost");
  const numbers = [
    cost.images,
    cost.decodes,
    cost.previews ?? 0,
    cost.flops.generator,
    cost.flops.scorer,
    cost.flops.features,
    cost.seconds.total,
  ];
  need(
    numbers.every((number) => Number.isFinite(number) && number >= 0),
    "cost",
  );
}

/** A candidate has a tile for each scale until a stage ends it. */
function checkTiles({ candidates, scales, stages }) {
  const ends = new Map();
  for (const { scale, ids } of stages) for (const id of ids) ends.set(id, scale);
  let tiles = 0;
  for (const { id, scale } of candidates)
    tiles += Math.max(1, (ends.get(id) ?? scales.length - 1) - scale + 1);
  if (tiles > MAX_TILES)
    throw new Error(`this trace has ${tiles} images, and the page shows up to ${MAX_TILES}`);
}

const isObject = (value) =>
  typeof value === "object" && value !== null && !Array.isArray(value);

const whole = (value, least, most) => Number.isInteger(value) && value >= least && value <= most;

const isId = ({ candidates }, id) => whole(id, 0, candidates.length - 1);

/** A score is a number, or the name of a value that JSON cannot represent. */
const isScored = (scored) =>
  isObject(scored) &&
  (Number.isFinite(scored.score) || ["nan", "inf", "-inf"].includes(scored.score));

/** Statistics of drawn tokens: mean entropy in bits, mean log-likelihood in nats. */
const isDrawn = (drawn) =>
  isObject(drawn) &&
  between(drawn.entropy, 0, 64) &&
  between(drawn.log_likelihood, -1000, 0);

const between = (value, least, most) =>
  Number.isFinite(value) && value >= least && value <= most;

function list(value, name) {
  need(Array.isArray(value), name);
  return value;
}

function need(condition, name) {
  if (!condition) throw new Error(`this trace is damaged: ${name} is missing or wrong`);
}
