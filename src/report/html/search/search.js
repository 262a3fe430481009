const grown = document.querySelector(".grown");
const canvas = grown.querySelector(".branches");
const members = new Map(Array.from(grown.querySelectorAll("li[id]"), (li) => [li.id, li]));
const branches = new Map(); // by the id of the lower end

for (const li of [...members.values()].sort((a, b) => rank(a) - rank(b))) {
  if (!members.has(li.dataset.from)) continue;
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  if (rank(li)) path.classList.add("ancestor");
  canvas.append(path);
  branches.set(li.id, path);
}

// The winner's line is drawn on top.
function rank(li) {
  return li.matches(".ancestor, .winner") ? 1 : 0;
}

// From the caption of the parent to the image of the child. If a generation takes several lines,
// branches would cross images, so only those of the highlighted lineage are shown.
function draw() {
  const origin = grown.getBoundingClientRect();
  const wraps = new Map(Array.from(grown.querySelectorAll(".members"), (row) => [row, lines(row) > 1]));
  for (const [id, path] of branches) {
    const [upper, lower] = [members.get(members.get(id).dataset.from), members.get(id)];
    const [from, to] = [upper.getBoundingClientRect(), lower.getBoundingClientRect()];
    const [x1, y1] = [from.left + from.width / 2 - origin.left, from.bottom - origin.top];
    const [x2, y2] = [to.left + to.width / 2 - origin.left, to.top - origin.top];
    const offset = Math.max(12, (y2 - y1) * 0.5);
    path.setAttribute("d", `M${x1} ${y1} C${x1} ${y1 + offset} ${x2} ${y2 - offset} ${x2} ${y2}`);
    path.classList.toggle("far", wraps.get(upper.parentNode) || wraps.get(lower.parentNode));
  }
}

function lines(row) {
  return new Set(Array.from(row.children, (li) => li.offsetTop)).size;
}

// A candidate with its ancestors and descendants.
function line(li) {
  const kin = new Set();
  for (let up = li; up; up = members.get(up.dataset.from)) kin.add(up);
  const below = new Set([li]);
  for (const other of members.values()) if (below.has(members.get(other.dataset.from))) below.add(other);
  return new Set([...kin, ...below]);
}

function trace(event) {
  const li = event.target.closest?.("li[id]");
  for (const old of grown.querySelectorAll(".kin")) old.classList.remove("kin");
  grown.classList.toggle("tracing", Boolean(li));
  for (const kin of li ? line(li) : []) {
    kin.classList.add("kin");
    if (kin !== li || kin.dataset.from) branches.get(kin.id)?.classList.add("kin");
  }
}

grown.addEventListener("pointerover", trace);
grown.addEventListener("pointerleave", trace);
grown.addEventListener("focusin", trace);
grown.addEventListener("focusout", trace);
new ResizeObserver(draw).observe(grown);
draw();
