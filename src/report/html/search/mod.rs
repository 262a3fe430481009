//! The page of a search: the winner and why it won, every decoded candidate and its outcome, the
//! cost, the settings, the command that repeats it.

mod facts;
mod images;
mod tree;
mod why;

use images::PageImages;
use ttsvar_search::Trace;

use super::{
    super::{
        album::Album,
        command::{Command, PLAN_FILE, command},
        generations::{Generation, generations},
        markup::escaped,
    },
    data, document,
};
use crate::Result;

/// The style of the page.
const STYLE: &str = include_str!("search.css");

/// Draws the branches of the tree, and highlights ancestors and descendants of a candidate.
const SCRIPT: &str = include_str!("search.js");

/// Length in characters above which a prompt is set smaller.
const LONG: usize = 90;

/// The page of a finished search; `album` listened to it, and `trace` is its record.
///
/// ```no_run
/// # fn f(search: ttsvar::search::Search, plan: ttsvar::search::Plan) -> ttsvar::Result<()> {
/// let mut album = ttsvar::report::Album::default();
/// let outcome = ttsvar::search::run(&search, &"a red circle".into(), &plan, 0, &mut album)?;
/// std::fs::write("report.html", ttsvar::report::html::search::page(&outcome.trace, &album)?);
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`crate::Error::Input`] if the prompt contains a NUL, which a PNG cannot store.
pub fn page(trace: &Trace, album: &Album) -> Result<String> {
    let images = PageImages::new(album);
    let mut generations = generations(trace, album.rows());
    let hero = hero(trace, &generations, &images)?;
    let tree = tree::section(trace, &mut generations, &images)?;
    let body = [
        hero,
        repeat(&command(trace)),
        warnings(trace),
        tree,
        facts::section(trace),
        foot(trace),
    ]
    .concat();
    Ok(document(
        &format!("{} – ttsvar", trace.prompt),
        STYLE,
        &body,
        SCRIPT,
    ))
}

/// The winner, its prompt and how it was found.
fn hero(trace: &Trace, generations: &[Generation], images: &PageImages) -> Result<String> {
    let size = if trace.prompt.chars().count() > LONG {
        " class=\"long\""
    } else {
        ""
    };
    let without = trace
        .negative
        .as_ref()
        .map(|text| format!("<p class=\"without\">without {}</p>\n", escaped(text)));
    let best = trace.finals.iter().find(|last| last.id == trace.winner);
    let score = best
        .map(|best| format!("<b class=\"score\">{:.3}</b> ", best.score))
        .unwrap_or_default();
    Ok(format!(
        "<header class=\"hero\">\n<figure class=\"winner\">{}</figure>\n<div class=\"story\">\n\
         <p class=\"kind\">{}</p>\n<h1{size}>{}</h1>\n{}<p class=\"why\">{score}{}</p>\n{}</div>\n</header>\n",
        images.winner(trace)?,
        escaped(&kind(trace)),
        escaped(&trace.prompt),
        without.unwrap_or_default(),
        escaped(&why::verdict(trace)),
        path(trace, generations, images)?,
    ))
}

/// `tts-var, N = 2 · seed 4 · demo`
fn kind(trace: &Trace) -> String {
    let setting = |name: &str| trace.settings.get(name).and_then(facts::value);
    let mut kind = setting("method").unwrap_or_else(|| "custom plan".to_owned());
    if let Some(n) = setting("n") {
        kind += &format!(", N = {n}");
    }
    kind += &format!(" · seed {}", trace.seed);
    if let Some(model) = setting("model") {
        kind += &format!(" · {model}");
    }
    kind
}

/// The path of the winner through the stages, one image each.
fn path(trace: &Trace, generations: &[Generation], images: &PageImages) -> Result<String> {
    let mut steps = String::new();
    for generation in generations {
        let Some(member) = generation.members.iter().find(|member| member.ancestor) else {
            continue;
        };
        let picture = images.small(generation.scale, member.id, "")?;
        let scale = generation.scale;
        let words = why::step(trace, generation, member);
        steps += &format!(
            "<li>{picture}<b>scale {scale}</b> <span>{}</span></li>\n",
            escaped(&words)
        );
    }
    Ok(format!(
        "<ol class=\"path\" aria-label=\"the path of the winner\">\n{steps}</ol>\n"
    ))
}

fn repeat(command: &Command) -> String {
    let file = command.plan_file.as_ref().map(|toml| {
        let url = data("text/plain;charset=utf-8", toml.as_bytes());
        format!("<p>with <a download=\"{PLAN_FILE}\" href=\"{url}\">{PLAN_FILE}</a>, the plan shown below</p>\n")
    });
    format!(
        "<section class=\"repeat\">\n<h2>Command to repeat it</h2>\n\
         <pre id=\"command\" tabindex=\"0\">{}</pre>\n{}</section>\n",
        escaped(&command.line),
        file.unwrap_or_default()
    )
}

/// The warnings, with advice.
fn warnings(trace: &Trace) -> String {
    let line = |warning| format!("<li>{}\n", warning);
    let lines: Vec<String> = trace
        .warnings
        .iter()
        .map(|warning| {
            line(format!(
                "{} <small>{}</small>",
                escaped(&warning.to_string()),
                escaped(warning.advice())
            ))
        })
        .collect();
    if lines.is_empty() {
        return String::new();
    }
    format!(
        "<section class=\"warnings\">\n<h2>Warnings</h2>\n<ul>\n{}</ul>\n</section>\n",
        lines.concat()
    )
}

/// The footer, with the trace itself.
fn foot(trace: &Trace) -> String {
    let url = data("application/json", trace.to_json().as_bytes());
    format!(
        "<footer>ttsvar {} · <a download=\"trace.json\" href=\"{url}\">trace.json</a>, the record of this search</footer>\n",
        escaped(&trace.version)
    )
}
