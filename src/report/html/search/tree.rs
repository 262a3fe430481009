//! All decoded candidates: one row of images per scale, each with its score, parent and outcome.

use maud::{Markup, html};
use ttsvar_search::{Layout, Region, Trace};

use super::{
    super::super::{
        clusters::{COLOURS, letters},
        generations::{Generation, Member},
    },
    answers,
    images::PageImages,
    why::percent,
};
use crate::Result;

/// Maximum number of images in a line on a wide screen; larger rows take several lines.
const LINE: usize = 18;

/// All generations, coarse to fine.
pub(super) fn section(
    trace: &Trace,
    generations: &mut [Generation],
    images: &PageImages,
) -> Result<Markup> {
    if let [only] = generations {
        // There are no parents to align with.
        only.members
            .sort_by(|a, b| number(b.score).total_cmp(&number(a.score)));
    }
    let steered = trace
        .candidates
        .iter()
        .any(|candidate| candidate.layout.is_some());
    let legend = legend(generations, steered);
    let mut rows = vec![];
    let mut before = None;
    for generation in generations {
        rows.push(row(trace, generation, before, images)?);
        before = Some(generation.scale);
    }
    Ok(html! {
        section.tree {
            h2 { "All candidates" }
            p.legend {
                span.gold { "orange frame" } ": the winner and its ancestors"
                @for words in legend {
                    " · " (words)
                }
            }
            div.grown {
                svg.branches aria-hidden="true" {}
                @for row in rows {
                    (row)
                }
            }
        }
    })
}

/// A score to sort by.
fn number(score: Option<f32>) -> f32 {
    score.unwrap_or(f32::NAN).max(f32::NEG_INFINITY)
}

/// The legend of the marks that occur.
fn legend(generations: &[Generation], steered: bool) -> Vec<&'static str> {
    let any =
        |what: fn(&Member) -> bool| generations.iter().any(|row| row.members.iter().any(what));
    let marks = [
        (any(Member::is_plain), "thin frame: other candidates"),
        (
            any(|member| member.fallen && !member.suspended),
            "faded, ×: discarded",
        ),
        (
            any(|member| member.fallen && member.suspended),
            "faded, ×: suspended",
        ),
        (any(|member| member.cluster.is_some()), "letter: cluster"),
        (any(|member| member.score.is_some()), "number: score"),
        (
            any(|member| member.weight.is_some()),
            "bar and %: weight in the draw",
        ),
        (any(|member| member.children > 1), "×2: continued twice"),
        (
            steered,
            "dashed: the region to which its concept is steered",
        ),
    ];
    marks
        .into_iter()
        .filter_map(|(occurs, words)| occurs.then_some(words))
        .collect()
}

/// One scale; `before` is that of the generation above.
fn row(
    trace: &Trace,
    generation: &mut Generation,
    before: Option<usize>,
    images: &PageImages,
) -> Result<Markup> {
    let words = generation.words(trace);
    let hidden = generation.hide();
    let scale = generation.scale;
    let count = generation.members.len();
    let last = scale + 1 == trace.scales.len();
    let letters = generation.members.iter().map(caption_width).max();
    let mut members = vec![];
    for member in &generation.members {
        members.push(candidate(trace, scale, member, before, images)?);
    }
    Ok(html! {
        section.generation.last[last] {
            div.what {
                h3 { "scale " (scale) }
                p {
                    @for (i, words) in words.iter().enumerate() {
                        @if i > 0 { " " }
                        span { (words) }
                    }
                }
            }
            ol.members.many[count > LINE]
                style=(format!("--n: {count}; --letters: {}", letters.unwrap_or(0))) {
                @for member in members {
                    (member)
                }
            }
            (more(&hidden))
        }
    })
}

fn candidate(
    trace: &Trace,
    scale: usize,
    member: &Member,
    before: Option<usize>,
    images: &PageImages,
) -> Result<Markup> {
    let last = scale + 1 == trace.scales.len();
    let class = match member {
        Member { ancestor: true, .. } if last => "winner",
        Member { ancestor: true, .. } => "ancestor",
        Member { fallen: true, .. } => "fallen",
        _ => "on",
    };
    let from = before
        .zip(member.from)
        .map(|(scale, id)| format!("s{scale}c{id}"));
    let id = member.id;
    let mut description = vec![sentence(scale, last, member)];
    description.extend(answers::wrong(trace, scale, id));
    let description = description.join("\n");
    Ok(html! {
        li class=(class) id=(format!("s{scale}c{id}")) data-from=[from] tabindex="0"
            title=(description) {
            div.image {
                (images.small(scale, id, &description)?)
                @for region in regions(trace, id) {
                    i.region style=(place(region)) { (region.text) }
                }
            }
            (caption(member))
        }
    })
}

/// The regions of the layout to which a candidate is steered.
fn regions(trace: &Trace, id: usize) -> &[Region] {
    let layout = trace
        .candidates
        .get(id)
        .and_then(|candidate| candidate.layout);
    let layouts = trace.steering.as_ref().map(|steering| &steering.layouts);
    let layout = layouts
        .zip(layout)
        .and_then(|(layouts, layout)| layouts.get(layout));
    layout.map_or(&[], Layout::as_slice)
}

/// The place of a region over its image.
fn place(region: &Region) -> String {
    let [left, top, right, bottom] = region.bounds.map(|fraction| 100.0 * fraction);
    format!(
        "left: {left:.1}%; top: {top:.1}%; width: {:.1}%; height: {:.1}%",
        right - left,
        bottom - top
    )
}

/// The caption of an image: number, parent, cluster, score, weight.
fn caption(member: &Member) -> Markup {
    html! {
        p {
            b { (named(member)) }
            " "
            span {
                @if let Some(cluster) = member.cluster {
                    @let [red, green, blue] = COLOURS[cluster % COLOURS.len()];
                    i.cluster style=(format!("--colour: rgb({red} {green} {blue})")) {
                        (letters(cluster))
                    }
                    " "
                }
                (did(member))
            }
            @if let Some(weight) = member.weight {
                span.weight style=(format!("--share: {:.1}%", 100.0 * weight)) {
                    (percent(weight))
                }
            }
        }
    }
}

/// The longest line of a caption.
fn caption_width(member: &Member) -> usize {
    let cluster = member
        .cluster
        .map_or(0, |cluster| letters(cluster).len() + 2);
    named(member)
        .len()
        .max(cluster + did(member).chars().count())
}

/// Its score and number of children.
fn did(member: &Member) -> String {
    let score = member.score.map(|score| format!("{score:.3}"));
    let times = (member.children > 1).then(|| format!("×{}", member.children));
    score.into_iter().chain(times).collect::<Vec<_>>().join(" ")
}

/// Its number and parent.
fn named(member: &Member) -> String {
    let from = member
        .from
        .filter(|from| *from != member.id)
        .map(|from| format!(" from {from}"));
    format!("{}{}", member.id, from.unwrap_or_default())
}

/// A description of a candidate, for tooltips and screen readers.
fn sentence(scale: usize, last: bool, member: &Member) -> String {
    let mut words = vec![format!("candidate {} after scale {scale}", member.id)];
    words.extend(
        member
            .from
            .filter(|from| *from != member.id)
            .map(|from| format!("child of {from}")),
    );
    words.extend(
        member
            .cluster
            .map(|cluster| format!("cluster {}", letters(cluster))),
    );
    words.extend(member.score.map(|score| format!("score {score:.3}")));
    words.extend(
        member
            .weight
            .map(|weight| format!("weight {}", percent(weight))),
    );
    words.push(match member.children {
        _ if last && member.ancestor => "the winner".to_owned(),
        0 if member.suspended => "suspended".to_owned(),
        0 if member.fallen => "discarded".to_owned(),
        0 if last => "finished".to_owned(),
        1 if member.suspended => "suspended, then resumed".to_owned(),
        0 | 1 => "continues".to_owned(),
        times => format!("continued {times} times"),
    });
    words.join(", ")
}

/// Candidates without images: a table of their properties.
fn more(hidden: &[Member]) -> Markup {
    if hidden.is_empty() {
        return html! {};
    }
    let cell = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    html! {
        details {
            summary { (hidden.len()) " more without images" }
            div.wide {
                table {
                    tr {
                        th { "candidate" }
                        th { "from" }
                        th { "cluster" }
                        th { "score" }
                        th { "weight" }
                        th { "children" }
                    }
                    @for member in hidden {
                        tr {
                            th { (member.id) }
                            td { (cell(member.from.map(|from| from.to_string()))) }
                            td { (cell(member.cluster.map(letters))) }
                            td { (cell(member.score.map(|score| format!("{score:.3}")))) }
                            td { (cell(member.weight.map(percent))) }
                            td { (member.children) }
                        }
                    }
                }
            }
        }
    }
}
