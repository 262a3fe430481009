// Traces that the page reads: whole ones give events, damaged ones an error, and none hangs.

import assert from "node:assert/strict";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pathToFileURL } from "node:url";

// Beside a description that says that the files are modules
const folder = mkdtempSync(join(tmpdir(), "ttsvar-modules-"));
cpSync(new URL("../../src/server/page", import.meta.url), folder, { recursive: true });
writeFileSync(join(folder, "package.json"), '{"type": "module"}');
after(() => rmSync(folder, { recursive: true }));
const { Run, eventsOf } = await import(pathToFileURL(join(folder, "run.js")).href);

/** The trace that docs/trace.md shows. */
const documented = readFileSync(new URL("../../docs/trace.md", import.meta.url), "utf8")
  .split("```json\n")[1]
  .split("```")[0];

test("the documented trace becomes a run", () => {
  const run = new Run();
  for (const [name, data] of eventsOf(JSON.parse(documented))) run.apply(name, data);
  assert.equal(run.winner, 5);
  assert.deepEqual([...run.lineage()], [5, 3, 1]);
  assert.deepEqual(run.warnings, []);
  const warned = { ...JSON.parse(documented), warnings: [{ kind: "few-distinct", scale: 2 }] };
  for (const [name, data] of eventsOf(warned)) run.apply(name, data);
  assert.deepEqual(run.warnings, ["few-distinct, scale 2"]);
});

const DAMAGES = [
  ["schema", "ttsvar.trace/9"],
  ["prompt", 7],
  ["seed", "1"],
  ["plan", null],
  ["plan.start", 0],
  ["plan.start", -3],
  ["plan.start", 0.5],
  ["plan.start", 2],
  ["plan.start", "3"],
  ["scales", { length: 1e9 }],
  ["scales", []],
  ["scales", Array(1e5).fill([1, 1])],
  ["scales.0", [1e9, 1]],
  ["scales.0", { length: 2 }],
  ["candidates", { length: 1e9 }],
  ["candidates", []],
  ["candidates.1.id", 2],
  ["candidates.5.parent", 5],
  ["candidates.5.parent", 99],
  ["candidates.4.parent", 5],
  ["candidates.5.scale", 1e9],
  ["candidates.5.scale", 1],
  ["candidates.0.scale", 1],
  ["candidates.5.history", { length: 1e9 }],
  ["candidates.5.history.0.scale", 99],
  ["candidates.5.history.0.score", null],
  ["stages", { length: 1e9 }],
  ["stages.0.scale", 99],
  ["stages.0.ids", { length: 1e9 }],
  ["stages.0.ids.0", 99],
  ["stages.0.ids.0", 1],
  ["stages.0.clusters", [0]],
  ["stages.0.clusters", { length: 1e9 }],
  ["stages.0.kept.0", 7],
  ["stages.0.children", []],
  ["stages.0.children.0", 0],
  ["finals", []],
  ["finals.0.id", 99],
  ["winner", 99],
  ["winner", 0],
  ["warnings", { length: 1e9 }],
  ["warnings", [null]],
  ["cost", null],
  ["cost.seconds", null],
  ["cost.seconds.total", "long"],
  ["cost.flops.generator", -1],
];

for (const [path, value] of DAMAGES) {
  test(`a trace with ${path} = ${JSON.stringify(value).slice(0, 40)} is refused`, () => {
    const trace = JSON.parse(documented);
    const keys = path.split(".");
    const last = keys.pop();
    keys.reduce((part, key) => part[key], trace)[last] = value;
    assert.throws(() => eventsOf(trace), /this trace is damaged|not a trace/);
  });
}

test("what is no trace at all is refused", () => {
  for (const value of [null, 7, "x", [], {}, [{}]])
    assert.throws(() => eventsOf(value), /not a trace/);
});

test("a trace with more images than the page can draw is refused", () => {
  const trace = JSON.parse(documented);
  trace.plan.start = 30_000;
  trace.candidates = Array.from({ length: 30_000 }, (_, id) => ({
    id,
    parent: null,
    scale: 0,
    row: id,
    history: [],
  }));
  Object.assign(trace, { stages: [], winner: 0, finals: [{ id: 0, score: 1 }] });
  assert.throws(() => eventsOf(trace), /90000 images/);
});
