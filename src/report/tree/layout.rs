//! The layout of the tree of a search: rows of candidates from top to bottom, each below its
//! parent.

use std::collections::BTreeMap;

use ttsvar_search::Trace;

use super::super::{
    canvas::{Point, Rect},
    generations::{Generation, Member, ancestor, generations},
    numbers,
    text::{self, Face},
};

/// Margin of the image.
pub(super) const MARGIN: usize = 36;
/// Width of the column with the stages.
const GUTTER: usize = 168;
/// Gap between neighbours.
const GAP: usize = 14;
/// Height of the line below each image.
pub(super) const CAPTION: usize = 24;
/// Gap for the branches from one row to the next.
const BRANCHES: usize = 46;
/// Gap between the header and the first row.
const HEADER_GAP: usize = 30;
/// Height of the legend.
const LEGEND: usize = 44;
/// Maximum number of images in a line; larger rows have several lines.
const COLUMNS: usize = 32;
/// Maximum width of a line of images.
const WIDEST: usize = 2600;
/// Minimum and maximum side of a square image in pixels.
const SMALLEST: usize = 64;
const LARGEST: usize = 128;
/// Width of a score below an image.
const NARROWEST: usize = 52;
/// Minimum width of the header.
const READABLE: usize = 640;

pub(super) const TITLE: Face = Face::Words(30.0);
pub(super) const FACTS: Face = Face::Words(16.0);
/// Line height of title and facts.
pub(super) const TITLE_LINE: usize = 36;
pub(super) const FACTS_LINE: usize = 23;

/// A candidate in the tree.
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
    /// Its description, one line each.
    pub words: Vec<String>,
    pub leaves: Vec<Leaf>,
}

/// A line from a candidate to its child.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Branch {
    pub from: Point,
    pub to: Point,
    /// Whether it leads to the winner.
    pub ancestor: bool,
}

/// The whole layout.
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
    /// `decoded` lists the candidates with images, scale by scale; `aspect` is their width /
    /// height.
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

    /// Places every row and leaf, with up to `limit` leaves per line.
    fn place(&mut self, trace: &Trace, cell: Cell, limit: usize) {
        let left = MARGIN + GUTTER;
        let right = self.width - MARGIN;
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
                // Neighbours are below each other, so branches to the next row do not cross.
                let column = i / lines;
                let line = i % lines;
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

/// Columns of a single row: about twice as many as lines.
fn squarish(count: usize) -> usize {
    ((2.0 * count as f32).sqrt().ceil() as usize).clamp(8, COLUMNS)
}

/// The x coordinate of the centre of a row: the mean of the parents of its leaves.
fn centre(trace: &Trace, leaves: &[Leaf], above: &BTreeMap<usize, Rect>) -> Option<f32> {
    let parents: Vec<f32> = leaves
        .iter()
        .filter_map(|leaf| ancestor(trace, leaf.member.id, above))
        .map(|id| above[&id].top_centre().0)
        .collect();
    (!parents.is_empty()).then(|| parents.iter().sum::<f32>() / parents.len() as f32)
}

/// The size of an image.
#[derive(Clone, Copy)]
struct Cell {
    width: usize,
    height: usize,
}

impl Cell {
    /// A cell with about the area of a square of `side`.
    fn new(side: usize, aspect: f32) -> Self {
        let root = aspect.clamp(0.25, 4.0).sqrt();
        Self {
            width: (side as f32 * root) as usize,
            height: (side as f32 / root) as usize,
        }
    }

    /// Distance from one image to its neighbour.
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

/// Side of an image in pixels if the widest row has `most`: large if there is room, but always
/// legible.
fn side(most: usize, aspect: f32) -> usize {
    let room = (1800 / most).saturating_sub(GAP) as f32 / aspect.sqrt().max(1.0);
    (room as usize).clamp(SMALLEST, LARGEST)
}

/// The facts in the header.
fn facts(trace: &Trace) -> String {
    let setting = |name: &str| match trace.settings.get(name) {
        Some(serde_json::Value::String(value)) => Some(value.clone()),
        Some(serde_json::Value::Null) | None => None,
        Some(value) => Some(value.to_string()),
    };
    let mut facts = vec![setting("method").unwrap_or_else(|| "custom plan".to_owned())];
    facts.extend(setting("n").map(|n| format!("N = {n}")));
    facts.push(format!("seed {}", trace.seed));
    facts.extend(setting("model"));
    let best = trace.finals.iter().find(|last| last.id == trace.winner);
    facts.extend(best.map(|best| format!("score {:.3}", best.score)));
    let decoded = numbers::counted(trace.cost.decodes, "image");
    facts.push(format!("{decoded} decoded"));
    let steering = trace.steering.as_ref();
    if steering.is_some_and(|steering| !steering.layouts.is_empty()) {
        facts.push("steered".to_owned());
    }
    facts.extend(
        trace
            .negative
            .as_ref()
            .map(|negative| format!("without {negative}")),
    );
    facts.join("   ·   ")
}

/// The rows and leaves in order, not placed yet.
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
    branches.sort_by_key(|branch| branch.ancestor); // those of the winner are drawn last
    branches
}
