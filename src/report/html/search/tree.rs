//! All decoded candidates: one row of images per scale, each with its score, parent and outcome.

use ttsvar_search::Trace;

use super::{
    super::super::{
        clusters::{COLOURS, letters},
        generations::{Generation, Member},
        markup::escaped,
    },
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
) -> Result<String> {
    if let [only] = generations {
        // There are no parents to align with.
        only.members
            .sort_by(|a, b| number(b.score).total_cmp(&number(a.score)));
    }
    let legend = legend(generations);
    let mut rows = String::new();
    let mut before = None;
    for generation in generations {
        rows += &row(trace, generation, before, images)?;
        before = Some(generation.scale);
    }
    Ok(format!(
        "<section class=\"tree\">\n<h2>All candidates</h2>\n<p class=\"legend\">{legend}</p>\n<div class=\"grown\">\n\
         <svg class=\"branches\" aria-hidden=\"true\"></svg>\n{rows}</div>\n</section>\n"
    ))
}

/// A score to sort by.
fn number(score: Option<f32>) -> f32 {
    score.unwrap_or(f32::NAN).max(f32::NEG_INFINITY)
}

/// The legend of the marks that occur.
fn legend(generations: &[Generation]) -> String {
    let any =
        |what: fn(&Member) -> bool| generations.iter().any(|row| row.members.iter().any(what));
    let mut words = vec!["<span class=\"gold\">thick frame</span>: the winner and its ancestors"];
    words.extend(any(|member| member.fallen).then_some("pale, ×: discarded"));
    words.extend(any(|member| member.cluster.is_some()).then_some("letter: cluster"));
    words.extend(any(|member| member.score.is_some()).then_some("number: score"));
    words.extend(any(|member| member.weight.is_some()).then_some("bar and %: weight in the draw"));
    words.extend(any(|member| member.children > 1).then_some("×2: continued twice"));
    words.join(" · ")
}

/// One scale; `before` is that of the generation above.
fn row(
    trace: &Trace,
    generation: &mut Generation,
    before: Option<usize>,
    images: &PageImages,
) -> Result<String> {
    let words: Vec<String> = generation
        .words(trace)
        .iter()
        .map(|line| format!("<span>{}</span>", escaped(line)))
        .collect();
    let hidden = generation.hide();
    let scale = generation.scale;
    let count = generation.members.len();
    let last = scale + 1 == trace.scales.len();
    let mut members = String::new();
    for member in &generation.members {
        let above = before
            .zip(member.from)
            .map(|(scale, id)| format!(" data-from=\"s{scale}c{id}\""));
        members += &candidate(scale, last, member, &above.unwrap_or_default(), images)?;
    }
    let last = if last { " last" } else { "" };
    let many = if count > LINE { " many" } else { "" };
    let letters = generation
        .members
        .iter()
        .map(caption_width)
        .max()
        .unwrap_or(0);
    Ok(format!(
        "<section class=\"generation{last}\">\n<div class=\"what\"><h3>scale {scale}</h3><p>{}</p></div>\n\
         <ol class=\"members{many}\" style=\"--n: {count}; --letters: {letters}\">\n{members}</ol>\n{}</section>\n",
        words.join(" "),
        more(&hidden),
    ))
}

fn candidate(
    scale: usize,
    last: bool,
    member: &Member,
    above: &str,
    images: &PageImages,
) -> Result<String> {
    let class = match member {
        Member { ancestor: true, .. } if last => "winner",
        Member { ancestor: true, .. } => "ancestor",
        Member { fallen: true, .. } => "fallen",
        _ => "on",
    };
    let id = member.id;
    let description = sentence(scale, last, member);
    Ok(format!(
        "<li class=\"{class}\" id=\"s{scale}c{id}\"{above} tabindex=\"0\" title=\"{description}\">{}{}</li>\n",
        images.small(scale, id, &description)?,
        caption(member),
    ))
}

/// The caption of an image: number, parent, cluster, score, weight.
fn caption(member: &Member) -> String {
    let [red, green, blue] = COLOURS[member.cluster.unwrap_or(0) % COLOURS.len()];
    let cluster = member.cluster.map(|cluster| {
        format!(
            "<i class=\"cluster\" style=\"--colour: rgb({red} {green} {blue})\">{}</i> ",
            letters(cluster)
        )
    });
    let weight = member.weight.map(|weight| {
        let share = 100.0 * weight;
        format!(
            "<span class=\"weight\" style=\"--share: {share:.1}%\">{}</span>",
            percent(weight)
        )
    });
    let cluster = cluster.unwrap_or_default();
    let weight = weight.unwrap_or_default();
    format!(
        "<p><b>{}</b> <span>{cluster}{}</span>{weight}</p>",
        named(member),
        did(member)
    )
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
            .map(|from| format!("continues {from}")),
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
        0 if member.fallen => "discarded".to_owned(),
        0 if last => "finished".to_owned(),
        0 | 1 => "continues".to_owned(),
        times => format!("continued {times} times"),
    });
    words.join(", ")
}

/// Candidates without images: a table of their properties.
fn more(hidden: &[Member]) -> String {
    if hidden.is_empty() {
        return String::new();
    }
    let cell = |text: Option<String>| text.unwrap_or_else(|| "–".to_owned());
    let row = |member: &Member| {
        format!(
            "<tr><th>{}<td>{}<td>{}<td>{}<td>{}<td>{}\n",
            member.id,
            cell(member.from.map(|from| from.to_string())),
            cell(member.cluster.map(letters)),
            cell(member.score.map(|score| format!("{score:.3}"))),
            cell(member.weight.map(percent)),
            member.children,
        )
    };
    let rows: String = hidden.iter().map(row).collect();
    format!(
        "<details><summary>{} more without images</summary>\n<div class=\"wide\"><table>\n\
         <tr><th>candidate<th>from<th>cluster<th>score<th>weight<th>children\n{rows}</table></div></details>\n",
        hidden.len()
    )
}
