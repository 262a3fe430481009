//! Draws the tree of a search from its layout.

use ttsvar_search::{Image, Trace};

use super::{
    super::{
        album::Album,
        canvas::{Canvas, Colour, Rect},
        clusters::{COLOURS, letters},
        text::{self, Face},
    },
    layout::{Branch, CAPTION, FACTS, FACTS_LINE, Layout, Leaf, MARGIN, Row, TITLE, TITLE_LINE},
};
use crate::image::{Filter, Resize};

const PAPER: Colour = [250, 249, 246];
const INK: Colour = [28, 28, 30];
const SOFT: Colour = [104, 104, 110];
const FAINT: Colour = [206, 203, 196];
/// The winner and its ancestors.
const GOLD: Colour = [214, 72, 10];

/// How far dropped candidates fade into the background.
const FADE: f32 = 0.68;

const NAME: Face = Face::Strong(18.0);
const WORDS: Face = Face::Words(15.0);
const SCORE: Face = Face::Numbers(14.0);
const LETTER: Face = Face::Strong(14.0);

pub(super) fn draw(trace: &Trace, layout: &Layout, album: &Album) -> Image {
    let mut canvas = Canvas::new(layout.width, layout.height, PAPER);
    header(&mut canvas, layout);
    for branch in &layout.branches {
        let Branch { from, to, ancestor } = *branch;
        let (thickness, colour) = if ancestor { (3.0, GOLD) } else { (1.6, FAINT) };
        canvas.branch(from, (to.0, to.1 - 3.0), thickness, colour);
    }
    for row in &layout.rows {
        gutter(&mut canvas, row);
        for leaf in &row.leaves {
            if let Some(image) = album.image(row.scale, leaf.member.id) {
                candidate(&mut canvas, leaf, image, is_winner(trace, row, leaf));
            }
        }
    }
    legend(&mut canvas, layout);
    canvas.into_image()
}

/// Returns whether this is the winner.
fn is_winner(trace: &Trace, row: &Row, leaf: &Leaf) -> bool {
    leaf.member.ancestor && row.scale + 1 == trace.scales.len()
}

fn header(canvas: &mut Canvas, layout: &Layout) {
    let left = MARGIN as f32;
    let mut base = (MARGIN + TITLE_LINE - 12) as f32;
    for line in &layout.title {
        canvas.text(TITLE, left, base, line, INK);
        base += TITLE_LINE as f32;
    }
    for line in &layout.facts {
        canvas.text(FACTS, left, base - 8.0, line, SOFT);
        base += FACTS_LINE as f32;
    }
}

/// The description of a row, at its left.
fn gutter(canvas: &mut Canvas, row: &Row) {
    let left = MARGIN as f32;
    let top = row.top as f32;
    canvas.text(NAME, left, top + 14.0, &format!("scale {}", row.scale), INK);
    for (i, words) in row.words.iter().enumerate() {
        canvas.text(WORDS, left, top + 36.0 + 19.0 * i as f32, words, SOFT);
    }
}

fn candidate(canvas: &mut Canvas, leaf: &Leaf, image: &Image, winner: bool) {
    let Rect {
        left,
        top,
        width,
        height,
    } = leaf.place;
    let (thickness, frame) = match () {
        () if winner => (5, GOLD),
        () if leaf.member.ancestor => (3, GOLD),
        () if leaf.member.fallen => (1, FAINT),
        () => (1, INK),
    };
    canvas.frame(leaf.place, thickness, frame);
    let fade = if leaf.member.fallen { FADE } else { 0.0 };
    canvas.image(
        &image.resize(width, height, Filter::Bicubic),
        left,
        top,
        fade,
        PAPER,
    );
    if leaf.member.fallen {
        cross(canvas, left + width, top);
    }
    caption(canvas, leaf);
}

/// The mark of dropped candidates, in the corner whose right end and top are given.
fn cross(canvas: &mut Canvas, right: usize, top: usize) {
    canvas.fill(
        Rect {
            left: right.saturating_sub(17),
            top,
            width: 17,
            height: 17,
        },
        PAPER,
    );
    let right = right as f32;
    let top = top as f32;
    canvas.line(
        (right - 12.5, top + 4.5),
        (right - 4.5, top + 12.5),
        1.8,
        SOFT,
    );
    canvas.line(
        (right - 4.5, top + 4.5),
        (right - 12.5, top + 12.5),
        1.8,
        SOFT,
    );
}

/// The score, the cluster and the number of children, below the image.
fn caption(canvas: &mut Canvas, leaf: &Leaf) {
    let (centre, bottom) = leaf.place.bottom_centre();
    let ink = if leaf.member.fallen { SOFT } else { INK };
    let base = bottom + CAPTION as f32 - 5.0;
    if let Some(cluster) = leaf.member.cluster {
        chip(
            canvas,
            centre,
            bottom + CAPTION as f32 / 2.0 + 1.0,
            cluster,
            leaf.member.fallen,
        );
    }
    let mut words: Vec<String> = leaf
        .member
        .score
        .iter()
        .map(|score| format!("{score:.3}"))
        .collect();
    if leaf.member.children > 1 {
        words.push(format!("×{}", leaf.member.children));
    }
    if !words.is_empty() {
        let shift = if leaf.member.cluster.is_some() {
            26.0
        } else {
            0.0
        };
        canvas.text_centred(SCORE, centre + shift, base, &words.join(" "), ink);
    }
}

/// A cluster's letter on its colour; only outlined for dropped candidates.
fn chip(canvas: &mut Canvas, centre: f32, middle: f32, cluster: usize, fallen: bool) {
    let name = letters(cluster);
    let colour = COLOURS[cluster % COLOURS.len()];
    let width = (text::width(LETTER, &name) + 9.0).max(18.0) as usize;
    let left = (centre - width as f32 / 2.0).max(0.0) as usize;
    let place = Rect {
        left,
        top: (middle - 8.0) as usize,
        width,
        height: 17,
    };
    canvas.fill(place, colour);
    if fallen {
        canvas.fill(
            Rect {
                left: left + 1,
                top: place.top + 1,
                width: width - 2,
                height: 15,
            },
            PAPER,
        );
    }
    canvas.text_centred(
        LETTER,
        left as f32 + width as f32 / 2.0,
        middle + 5.5,
        &name,
        if fallen { colour } else { PAPER },
    );
}

fn legend(canvas: &mut Canvas, layout: &Layout) {
    let leaves = || layout.rows.iter().flat_map(|row| &row.leaves);
    let mut words = vec!["orange frame: the winner and its ancestors"];
    if leaves().any(|leaf| leaf.member.is_plain()) {
        words.push("black frame: other candidates");
    }
    if leaves().any(|leaf| leaf.member.fallen && !leaf.member.suspended) {
        words.push("pale, ×: discarded");
    }
    if leaves().any(|leaf| leaf.member.fallen && leaf.member.suspended) {
        words.push("pale, ×: suspended");
    }
    if leaves().any(|leaf| leaf.member.cluster.is_some()) {
        words.push("letter: cluster");
    }
    if leaves().any(|leaf| leaf.member.score.is_some()) {
        words.push("number: score");
    }
    if leaves().any(|leaf| leaf.member.children > 1) {
        words.push("×2: continued twice");
    }
    let base = (layout.height - MARGIN) as f32;
    canvas.text(WORDS, MARGIN as f32, base, &words.join("   ·   "), SOFT);
}
