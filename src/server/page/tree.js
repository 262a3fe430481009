// The tree of a search: one column per scale, one row per candidate. Clusters are grouped, and
// discarded candidates fade.

import { blob } from "./api.js";

const SVG = "http://www.w3.org/2000/svg";
const GAP = 5; // pixels between rows
const GROUP_GAP = 9; // more between clusters
const HEAD = 26; // for the numbers of the columns

/** The rows of a block from the top: by cluster if there are any, else in the parents' order. */
function order(run, block, above) {
  const row = new Map(above.map((id, i) => [id, i]));
  const by = (id) => row.get(run.candidates.get(id).parent) ?? 0;
  const ids = above.length ? [...block.ids].sort((a, b) => by(a) - by(b)) : [...block.ids];
  const clusters = block.choice?.clusters;
  if (!clusters) return ids.map((id) => ({ id, group: null }));
  const first = new Map();
  ids.forEach((id, i) => {
    const group = run.candidates.get(id).cluster;
    if (!first.has(group)) first.set(group, i);
  });
  const grouped = ids.map((id) => ({ id, group: run.candidates.get(id).cluster }));
  return grouped.sort((a, b) => first.get(a.group) - first.get(b.group));
}

/** The positions of tiles, groups and links, and the size of the whole tree. */
export function layout(run, width) {
  const columns =
    run.scales.length +
    (run.rounds.some((round) => round.at(-1)?.from === run.scales.length) ? 1 : 0);
  const widest = Math.max(
    1,
    ...run.rounds.flatMap((round) => round.map((block) => block.ids.length)),
  );
  const lanes = run.rounds.length > 1 ? widest * run.rounds.length : widest;
  const between = width < 420 ? 11 : 18; // pixels that a link has at least
  const size = Math.max(
    24,
    Math.min(72, (width - 12) / Math.max(columns, 1) - between, 440 / lanes - GAP),
  );
  const step = Math.max(
    size + between,
    Math.min((width - size - 12) / Math.max(columns - 1, 1), Math.max(size * 1.9, 112)),
  );
  const place = { size, step, columns, tiles: new Map(), groups: [], links: [] };
  let top = HEAD;
  for (const round of run.rounds) top = layRound(run, round, place, top);
  place.width = (columns - 1) * step + size + 12;
  place.height = top;
  return place;
}

function layRound(run, round, place, top) {
  const { size, step } = place;
  const orders = [];
  for (const block of round)
    orders.push(order(run, block, orders.at(-1)?.map(({ id }) => id) ?? []));
  const heights = orders.map((rows) => rows.length * (size + GAP) + breaks(rows) * GROUP_GAP);
  const height = Math.max(0, ...heights);
  round.forEach((block, i) => {
    let y = top + (height - heights[i]) / 2;
    let group = null;
    orders[i].forEach(({ id, group: mine }, row) => {
      if (row > 0 && mine !== orders[i][row - 1].group) y += GROUP_GAP;
      for (let scale = block.from; scale <= block.to; scale++)
        place.tiles.set(`${id}/${scale}`, { id, scale, x: scale * step + 4, y });
      if (block.choice?.clusters) {
        if (!group || group.cluster !== mine) {
          group = {
            cluster: mine,
            x: block.to * step,
            y: y - 4,
            height: 0,
            key: `${block.from}/${orders[i][row].id}`,
          };
          place.groups.push(group);
        }
        group.height = y + size + 4 - group.y;
      }
      y += size + GAP;
    });
    link(run, block, place);
  });
  return top + height + (run.rounds.length > 1 ? 2 : 0);
}

const breaks = (rows) => rows.filter(({ group }, i) => i > 0 && group !== rows[i - 1].group).length;

function link(run, block, place) {
  for (const id of block.ids) {
    const parent = run.candidates.get(id).parent;
    if (parent != null)
      place.links.push({ from: `${parent}/${block.from - 1}`, to: `${id}/${block.from}` });
    for (let scale = block.from; scale < block.to; scale++)
      place.links.push({ from: `${id}/${scale}`, to: `${id}/${scale + 1}` });
  }
}

const bitmaps = new Map();

/** The bitmap of a contact sheet, fetched once. */
function bitmap(url) {
  if (!bitmaps.has(url)) bitmaps.set(url, blob(url).then(createImageBitmap));
  return bitmaps.get(url);
}

/** Draws one image of a contact sheet. */
export async function drawTile(canvas, tile) {
  const key = `${tile.sheet}#${tile.place}`;
  if (canvas.dataset.shows === key) return;
  canvas.dataset.shows = key;
  const sheet = await bitmap(tile.sheet).catch(() => null);
  if (!sheet || canvas.dataset.shows !== key) return;
  const width = sheet.width / tile.count;
  canvas.width = width;
  canvas.height = sheet.height;
  canvas.getContext("2d").drawImage(sheet, -tile.place * width, 0);
  canvas.classList.add("painted");
}

/** Frees the memory of a run's images. */
export function forget(run) {
  for (const { tiles } of run.candidates.values())
    for (const { sheet } of tiles.values()) bitmaps.delete(sheet);
}

export class Tree {
  /** Fills `box`. `onFocus` is called with the tile that the user points at. */
  constructor(box, onFocus) {
    this.box = box;
    this.onFocus = onFocus;
    this.tiles = new Map();
    this.groups = new Map();
    this.links = new Map();
    this.field = document.createElement("div");
    this.field.className = "field-of-tiles";
    this.field.setAttribute("role", "group");
    this.field.setAttribute("aria-label", "Candidates by scale. Arrow keys move between them.");
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("aria-hidden", "true");
    this.field.append(this.svg);
    box.replaceChildren(this.field);
    this.field.addEventListener("keydown", (event) => this.move(event));
    this.observer = new ResizeObserver(() => this.run && this.draw(this.run));
    this.observer.observe(box);
  }

  /** Releases the box for another tree. */
  close() {
    this.observer.disconnect();
  }

  draw(run) {
    this.run = run;
    const place = layout(run, this.box.clientWidth);
    this.place = place;
    Object.assign(this.field.style, { width: `${place.width}px`, height: `${place.height}px` });
    this.field.style.setProperty("--tile", `${place.size}px`);
    this.field.classList.toggle("small", place.size < 38);
    this.svg.setAttribute("width", place.width);
    this.svg.setAttribute("height", place.height);
    const winning = run.lineage();
    this.drawHeads(run, place);
    this.drawGroups(place);
    this.drawLinks(place, winning);
    for (const [key, spot] of place.tiles) this.updateTile(run, key, spot, winning);
    this.scroll(run, place);
  }

  drawHeads(run, { columns, step, size }) {
    this.heads ??= [];
    while (this.heads.length < columns) {
      const head = document.createElement("span");
      head.className = "head";
      this.field.append(head);
      this.heads.push(head);
    }
    this.heads.forEach((head, i) => {
      const grid = run.scales[i];
      // Narrow columns have the number of the scale, marked so that it is not taken for a size
      head.textContent = grid ? (size < 34 ? `S${i}` : `${grid[0]}×${grid[1]}`) : "kept";
      head.title = grid
        ? `Scale ${i}: ${grid[0]} by ${grid[1]} tokens`
        : "Selected after the last scale";
      head.classList.toggle("now", i === run.scale && run.winner == null);
      Object.assign(head.style, { left: `${i * step + 4}px`, width: `${size}px` });
    });
  }

  drawGroups({ groups, size }) {
    const seen = new Set();
    for (const { key, cluster, x, y, height } of groups) {
      seen.add(key);
      if (!this.groups.has(key)) {
        const box = document.createElement("div");
        box.className = "cluster";
        this.groups.set(key, box);
        this.field.insertBefore(box, this.svg.nextSibling);
      }
      const box = this.groups.get(key);
      box.style.setProperty("--hue", `${((cluster ?? 0) * 137.5) % 360}`);
      Object.assign(box.style, {
        left: `${x}px`,
        top: `${y}px`,
        width: `${size + 8}px`,
        height: `${height}px`,
      });
    }
    for (const [key, box] of this.groups)
      if (!seen.has(key)) this.groups.delete(key) && box.remove();
  }

  drawLinks({ links, tiles, size }, winning) {
    for (const { from, to } of links) {
      const [a, b, key] = [tiles.get(from), tiles.get(to), `${from}>${to}`];
      if (!a || !b) continue;
      if (!this.links.has(key)) {
        const path = document.createElementNS(SVG, "path");
        this.links.set(key, path);
        this.svg.append(path);
      }
      const path = this.links.get(key);
      const [x, y, u, v] = [a.x + size, a.y + size / 2, b.x, b.y + size / 2];
      path.setAttribute("d", `M${x} ${y}C${(x + u) / 2} ${y} ${(x + u) / 2} ${v} ${u} ${v}`);
      path.classList.toggle("winning", winning.has(a.id) && winning.has(b.id));
    }
  }

  updateTile(run, key, { id, scale, x, y }, winning) {
    const candidate = run.candidates.get(id);
    const tile = candidate.tiles.get(scale);
    if (!this.tiles.has(key)) this.tiles.set(key, this.newTile(id, scale));
    const button = this.tiles.get(key);
    button.style.transform = `translate(${x}px, ${y}px)`;
    const last = Math.max(...candidate.tiles.keys()) === scale;
    button.classList.toggle("fallen", ["discarded", "suspended"].includes(candidate.fate));
    button.classList.toggle("winning", winning.has(id));
    button.classList.toggle("winner", id === run.winner && last);
    button.querySelector("b").textContent = tile.score == null ? "" : show(tile.score);
    button.setAttribute("aria-label", describe(run, candidate, tile));
    if (tile.sheet) drawTile(button.querySelector("canvas"), tile);
  }

  newTile(id, scale) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "tile";
    button.tabIndex = this.tiles.size ? -1 : 0;
    button.append(document.createElement("canvas"), document.createElement("b"));
    button.addEventListener("focus", () => this.focusTile(id, scale, button));
    button.addEventListener("pointerenter", () => this.onFocus(id, scale));
    button.addEventListener("pointerleave", () => this.onFocus(null));
    button.addEventListener("blur", () => this.onFocus(null));
    this.field.append(button);
    return button;
  }

  focusTile(id, scale, button) {
    for (const other of this.tiles.values()) other.tabIndex = -1;
    button.tabIndex = 0;
    this.onFocus(id, scale);
  }

  /** Arrow keys move along the scales and within a column. */
  move(event) {
    const [dx, dy] = {
      ArrowLeft: [-1, 0],
      ArrowRight: [1, 0],
      ArrowUp: [0, -1],
      ArrowDown: [0, 1],
    }[event.key] ?? [0, 0];
    const key = [...this.tiles].find(([, button]) => button === document.activeElement)?.[0];
    const here = this.place?.tiles.get(key);
    if ((!dx && !dy) || !here) return;
    event.preventDefault();
    const column = [...this.place.tiles].filter(
      ([, spot]) => spot.scale === here.scale + dx && (dx || Math.sign(spot.y - here.y) === dy),
    );
    column.sort(([, a], [, b]) => Math.abs(a.y - here.y) - Math.abs(b.y - here.y));
    const next = this.tiles.get(column[0]?.[0]);
    next?.focus({ preventScroll: true });
    next?.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  /** Scrolls to the current column if the tree is wider than its box. */
  scroll(run, { step, size, width }) {
    if (width <= this.box.clientWidth || run.scale === this.scrolled) return;
    this.scrolled = run.scale;
    this.box.scrollTo({ left: run.scale * step + size + 20 - this.box.clientWidth });
  }
}

export function show(score) {
  return Number.isFinite(score) ? score.toFixed(2).replace("-", "−") : String(score);
}

/** Describes a tile. */
export function describe(run, candidate, tile) {
  const parts = [
    `Candidate ${candidate.id}`,
    tile.scale < run.scales.length ? `scale ${tile.scale}` : "selected at the end",
  ];
  if (tile.score != null) parts.push(`score ${show(tile.score)}`);
  const last = Math.max(...candidate.tiles.keys()) === tile.scale;
  if (last && candidate.cluster != null) parts.push(`cluster ${candidate.cluster + 1}`);
  if (candidate.id === run.winner && last) parts.push("the winner");
  else if (last && candidate.fate) parts.push(candidate.fate);
  return parts.join(", ");
}
