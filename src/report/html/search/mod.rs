//! The page of a search: the winner and why it won, every decoded candidate and its outcome, the
//! cost, the settings, the command that repeats it.

mod answers;
mod facts;
mod images;
mod tree;
mod why;

use images::PageImages;
use maud::{Markup, html};
use ttsvar_search::Trace;

use super::{
    super::{
        album::Album,
        command::{Command, command},
        generations::{Generation, generations},
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
    let body = html! {
        (hero(trace, &generations, &images)?)
        (repeat(&command(trace)))
        (warnings(trace))
        (tree::section(trace, &mut generations, &images)?)
        (facts::section(trace))
        (foot(trace))
    };
    let title = format!("{} – ttsvar", trace.prompt);
    Ok(document(&title, STYLE, &body, SCRIPT))
}

/// The winner, its prompt and how it was found.
fn hero(trace: &Trace, generations: &[Generation], images: &PageImages) -> Result<Markup> {
    let size = (trace.prompt.chars().count() > LONG).then_some("long");
    let best = trace.finals.iter().find(|last| last.id == trace.winner);
    Ok(html! {
        header.hero {
            figure.winner { (images.winner(trace)?) }
            div.story {
                p.kind { (kind(trace)) }
                h1 class=[size] { (trace.prompt) }
                @if let Some(negative) = &trace.negative {
                    p.without { "without " (negative) }
                }
                p.why {
                    @if let Some(best) = best {
                        b.score { (format!("{:.3}", best.score)) } " "
                    }
                    (why::verdict(trace))
                }
                (path(trace, generations, images)?)
            }
        }
    })
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
fn path(trace: &Trace, generations: &[Generation], images: &PageImages) -> Result<Markup> {
    let mut steps = vec![];
    for generation in generations {
        let Some(member) = generation.members.iter().find(|member| member.ancestor) else {
            continue;
        };
        let image = images.small(generation.scale, member.id, "")?;
        steps.push(html! {
            li {
                (image)
                b { "scale " (generation.scale) }
                " "
                span { (why::step(trace, generation, member)) }
            }
        });
    }
    Ok(html! {
        ol.path aria-label="the path of the winner" {
            @for step in &steps {
                (step)
            }
        }
    })
}

/// The command that repeats the search.
fn repeat(command: &Command) -> Markup {
    let url = |text: &str| data("text/plain;charset=utf-8", text.as_bytes());
    html! {
        section.repeat {
            h2 { "Command to repeat it" }
            pre #command tabindex="0" { (command.line) }
            @for file in &command.files {
                p {
                    "with "
                    a download=(file.name) href=(url(&file.text)) { (file.name) }
                    ", " (file.content)
                }
            }
        }
    }
}

/// The warnings, with advice.
fn warnings(trace: &Trace) -> Markup {
    html! {
        @if !trace.warnings.is_empty() {
            section.warnings {
                h2 { "Warnings" }
                ul {
                    @for warning in &trace.warnings {
                        li { (warning) " " small { (warning.advice()) } }
                    }
                }
            }
        }
    }
}

/// The footer, with the trace itself.
fn foot(trace: &Trace) -> Markup {
    html! {
        footer {
            "ttsvar " (trace.version) " · "
            a download="trace.json" href=(data("application/json", trace.to_json().as_bytes())) {
                "trace.json"
            }
            ", the record of this search"
        }
    }
}
