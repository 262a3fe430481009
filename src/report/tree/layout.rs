//! Where everything stands in the picture of a search: rows of candidates from top to bottom, each
//! under the one that it continues.

use std::collections::BTreeMap;

use ttsvar_search::Trace;

use super::super::{
    canvas::{Point, Rect},
    generations::{Generation, Member, ancestor, generations},
    text::{self, Face},
};

/// Space around everything.
pub(super) const MARGIN: usize = 36;
/// Width of the column that names the stages.
const GUTTER: usize = 168;
/// Space between neighbours.
const GAP: usize = 14;
/// Height of the line beneath each picture.
pub(super) const CAPTION: usize = 24;
/// Space in which the branches run from one row to the next.
const BRANCHES: usize = 46;
/// Space between the header and the first row.
const HEADER_GAP: usize = 30;
/// Height of the legend.
const LEGEND: usize = 44;
/// Pictures side by side; rows of more have several lines.
const COLUMNS: usize = 32;
/// Pixels that a line of pictures may be wide.
const WIDEST: usize = 2600;
/// Pixels along the sides of a square picture, at least and at most.
const SMALLEST: usize = 64;
const LARGEST: usize = 128;
/// Width of a score beneath a picture.
const NARROWEST: usize = 52;
/// Width in which the header is legible.
const READABLE: usize = 640;

pub(super) const TITLE: Face = Face::Words(30.0);
pub(super) const FACTS: Face = Face::Words(16.0);
/// From one line of the header to the next.
pub(super) const TITLE_LINE: usize = 36;
pub(super) const FACTS_LINE: usize = 23;

/// A candidate in the picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Leaf {
    pub member: Member,
    pub place: Rect,
}

/// The candidates of one scale.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Row {
    pub scale: usize,
    pub top: usize,
    /// What happens here, a line each.
    pub words: Vec<String>,
    pub leaves: Vec<Leaf>,
}

/// A line from a candidate to one that continues it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Branch {
    pub from: Point,
    pub to: Point,
    /// Whether the winner descends along it.
    pub ancestor: bool,
}

/// The whole picture.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Layout {
    pub width: usize,
    pub height: usize,
    pub title: Vec<String>,
    pub facts: Vec<String>,
    pub rows: Vec<Row>,
    pub branches: Vec<Branch>,
}

impl Layout {
    /// `decoded` are the candidates that have images, scale by scale; `aspect` is width divided by
    /// height of those.
    pub(super) fn new(trace: &Trace, decoded: &[(usize, Vec<usize>)], aspect: f32) -> Self {
        let rows: Vec<Row> = rows(trace, decoded);
        let limit = WIDEST / Cell::new(SMALLEST, aspect).step();
        let limit = if rows.len() == 1 {
            squarish(rows[0].leaves.len()).min(limit)
        } else {
            COLUMNS.min(limit)
        };
        let most = rows
            .iter()
            .map(|row| grid(row.leaves.len(), limit).0)
            .max()
            .unwrap_or(1);
        let cell = Cell::new(side(most, aspect), aspect);
        let inner = (GUTTER + cell.across(most)).max(READABLE);
        let title = text::wrap(TITLE, &trace.prompt, inner as f32, 2);
        let facts = text::wrap(FACTS, &facts(trace), inner as f32, 2);
        let mut layout = Self {
            width: inner + 2 * MARGIN,
            height: 0,
            title,
            facts,
            rows,
            branches: vec![],
        };
        layout.place(trace, cell, limit);
        layout.branches = branches(trace, &layout.rows);
        layout
    }

    /// Gives every row and leaf its place; at most `limit` leaves stand side by side.
    fn place(&mut self, trace: &Trace, cell: Cell, limit: usize) {
        let (left, right) = (MARGIN + GUTTER, self.width - MARGIN);
        let mut top =
            MARGIN + TITLE_LINE * self.title.len() + FACTS_LINE * self.facts.len() + HEADER_GAP;
        let last = self.rows.len().saturating_sub(1);
        let mut above = BTreeMap::new();
        for (i, row) in self.rows.iter_mut().enumerate() {
            let (columns, lines) = grid(row.leaves.len(), limit);
            let double = Cell {
                width: 2 * cell.width,
                height: 2 * cell.height,
            };
            let fits = i == last && lines == 1 && double.across(columns) <= right - left;
            let cell = if fits { double } else { cell };
            let centre = centre(trace, &row.leaves, &above).unwrap_or((left + right) as f32 / 2.0);
            let across = cell.across(columns);
            let start = (centre as usize)
                .saturating_sub(across / 2)
                .min(right.saturating_sub(across))
                .max(left);
            for (i, leaf) in row.leaves.iter_mut().enumerate() {
                // Neighbours stand one under the other, so that branches to the next row do not
                // cross.
                let (column, line) = (i / lines, i % lines);
                leaf.place = cell.at(
                    start + column * cell.step(),
                    top + line * (cell.height + CAPTION + GAP),
                );
            }
            above = row
                .leaves
                .iter()
                .map(|leaf| (leaf.member.id, leaf.place))
                .collect();
            row.top = top;
            top += lines * (cell.height + CAPTION + GAP) - GAP + BRANCHES;
        }
        self.height = top - BRANCHES + LEGEND + MARGIN;
    }
}

/// Columns and lines of a row of `count` leaves.
fn grid(count: usize, limit: usize) -> (usize, usize) {
    let lines = count.div_ceil(limit).max(1);
    (count.div_ceil(lines).max(1), lines)
}

/// Columns for leaves that stand alone: about twice as many as lines.
fn squarish(count: usize) -> usize {
    ((2.0 * count as f32).sqrt().ceil() as usize).clamp(8, COLUMNS)
}

/// Around which x coordinate a row stands: the mean of those whom its leaves continue.
fn centre(trace: &Trace, leaves: &[Leaf], above: &BTreeMap<usize, Rect>) -> Option<f32> {
    let parents: Vec<f32> = leaves
        .iter()
        .filter_map(|leaf| ancestor(trace, leaf.member.id, above))
        .map(|id| above[&id].top_centre().0)
        .collect();
    (!parents.is_empty()).then(|| parents.iter().sum::<f32>() / parents.len() as f32)
}

/// The size of a picture.
#[derive(Clone, Copy)]
struct Cell {
    width: usize,
    height: usize,
}

impl Cell {
    /// About as large as a square of `side`.
    fn new(side: usize, aspect: f32) -> Self {
        let root = aspect.clamp(0.25, 4.0).sqrt();
        Self {
            width: (side as f32 * root) as usize,
            height: (side as f32 / root) as usize,
        }
    }

    /// From one picture to its neighbour.
    fn step(self) -> usize {
        self.width.max(NARROWEST) + GAP
    }

    /// Width of `count` neighbours.
    fn across(self, count: usize) -> usize {
        (count * self.step()).saturating_sub(GAP)
    }

    fn at(self, left: usize, top: usize) -> Rect {
        let Self { width, height } = self;
        Rect {
            left: left + (width.max(NARROWEST) - width) / 2,
            top,
            width,
            height,
        }
    }
}

/// Pixels along a side of a picture where the widest row has `most`: large while there is room,
/// never too small to see.
fn side(most: usize, aspect: f32) -> usize {
    let room = (1800 / most).saturating_sub(GAP) as f32 / aspect.sqrt().max(1.0);
    (room as usize).clamp(SMALLEST, LARGEST)
}

/// The prompt's companions in the header.
fn facts(trace: &Trace) -> String {
    let setting = |name: &str| match trace.settings.get(name) {
        Some(serde_json::Value::String(value)) => Some(value.clone()),
        Some(serde_json::Value::Null) | None => None,
        Some(value) => Some(value.to_string()),
    };
    let mut facts = vec![setting("method").unwrap_or_else(|| "own plan".to_owned())];
    facts.extend(setting("n").map(|n| format!("N = {n}")));
    facts.push(format!("seed {}", trace.seed));
    facts.extend(setting("model"));
    let best = trace.finals.iter().find(|last| last.id == trace.winner);
    facts.extend(best.map(|best| format!("score {:.3}", best.score)));
    facts.push(format!("{} images decoded", trace.cost.decodes));
    facts.extend(
        trace
            .negative
            .as_ref()
            .map(|negative| format!("without {negative}")),
    );
    facts.join("   ·   ")
}

/// The rows in order, leaves in order, without places.
fn rows(trace: &Trace, decoded: &[(usize, Vec<usize>)]) -> Vec<Row> {
    let nowhere = Rect {
        left: 0,
        top: 0,
        width: 0,
        height: 0,
    };
    let row = |mut generation: Generation| {
        let mut words = generation.words(trace);
        let hidden = generation.hide().len();
        words.extend((hidden > 0).then(|| format!("{hidden} not shown")));
        let leaves = generation
            .members
            .into_iter()
            .map(|member| Leaf {
                member,
                place: nowhere,
            })
            .collect();
        Row {
            scale: generation.scale,
            top: 0,
            words,
            leaves,
        }
    };
    generations(trace, decoded).into_iter().map(row).collect()
}

fn branches(trace: &Trace, rows: &[Row]) -> Vec<Branch> {
    let mut branches = vec![];
    for pair in rows.windows(2) {
        let above: BTreeMap<usize, usize> = pair[0]
            .leaves
            .iter()
            .enumerate()
            .map(|(place, leaf)| (leaf.member.id, place))
            .collect();
        for leaf in &pair[1].leaves {
            let Some(parent) = ancestor(trace, leaf.member.id, &above) else {
                continue;
            };
            let from = pair[0].leaves[above[&parent]].place.bottom_centre();
            let from = (from.0, from.1 + CAPTION as f32);
            branches.push(Branch {
                from,
                to: leaf.place.top_centre(),
                ancestor: leaf.member.ancestor,
            });
        }
    }
    branches.sort_by_key(|branch| branch.ancestor); // the winner's lie on top
    branches
}
