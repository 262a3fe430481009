//! Settings and cost of a search, as tables.

use maud::{Markup, html};
use serde_json::Value;
use ttsvar_search::{Final, Trace, mixer::Part};

use super::{
    super::super::numbers::{counted, operations},
    answers,
};

/// Cost, settings, scales, plan.
pub(super) fn section(trace: &Trace) -> Markup {
    html! {
        section.facts {
            @if !trace.answers.is_empty() {
                div { h2 { "Answers" } (answers::tables(trace)) }
            }
            @if !trace.held_out.is_empty() {
                div { h2 { "Held-out scores" } (held_out(trace)) }
            }
            div { h2 { "Cost" } (cost(trace)) }
            div { h2 { "Time" } (time(trace)) }
            div.settings { h2 { "Settings" } (settings(trace)) }
            div { h2 { "Scales" } (scales(trace)) }
            div.plan {
                h2 { "Plan" }
                pre tabindex="0" { (trace.plan.to_toml().trim_end()) }
            }
        }
    }
}

/// A value without the quotes of JSON; `None` for null.
pub(super) fn value(value: &Value) -> Option<String> {
    match value {
        Value::Null => None,
        Value::String(text) => Some(text.clone()),
        other => Some(other.to_string()),
    }
}

fn table(rows: &[(&str, String)]) -> Markup {
    html! {
        table {
            @for (name, value) in rows {
                tr { th { (name) } td { (value) } }
            }
        }
    }
}

/// The scores of the finished candidates by scorers that the search did not use, the best by the
/// search first.
fn held_out(trace: &Trace) -> Markup {
    let mut finals: Vec<&Final> = trace.finals.iter().collect();
    finals.sort_by(|a, b| b.score.total_cmp(&a.score));
    let score = |part: &Part, id: usize| {
        let place = part.ids.iter().position(|scored| *scored == id)?;
        Some(format!("{:.3}", part.scores.get(place)?))
    };
    html! {
        p { small { "by scorers that the search did not use" } }
        div.wide {
            table.scales {
                tr {
                    th { "candidate" }
                    th { "search" }
                    @for part in &trace.held_out {
                        th { (part.scorer) }
                    }
                }
                @for last in finals {
                    tr {
                        th { (last.id) @if last.id == trace.winner { " (winner)" } }
                        td { (format!("{:.3}", last.score)) }
                        @for part in &trace.held_out {
                            td { (score(part, last.id).unwrap_or_else(|| "–".to_owned())) }
                        }
                    }
                }
            }
        }
    }
}

/// Counts and operations; the seconds have their own table.
fn cost(trace: &Trace) -> Markup {
    let cost = &trace.cost;
    let flops = |flops: f64| {
        if flops > 0.0 {
            operations(flops)
        } else {
            "not counted".to_owned()
        }
    };
    let mut rows = vec![
        ("finished", counted(cost.images, "image")),
        ("decoded", counted(cost.decodes, "image")),
        ("scored", counted(cost.scorings, "image")),
        ("predicted", counted(cost.verifications, "score")),
        ("features extracted", counted(cost.extractions, "image")),
        ("operations", flops(cost.flops.total())),
    ];
    if cost.flops.total() > 0.0 {
        rows.push(("– generator", flops(cost.flops.generator)));
        if cost.scorings > 0 {
            rows.push(("– scorer", flops(cost.flops.scorer)));
        }
        if cost.verifications > 0 {
            rows.push(("– verifier", flops(cost.flops.verifier)));
        }
        if cost.extractions > 0 {
            rows.push(("– features", flops(cost.flops.features)));
        }
    }
    if cost.previews > 0 {
        let previews = counted(cost.previews, "image");
        rows.push(("previews, not counted", previews));
    }
    table(&rows)
}

/// Seconds of each phase, with a bar for the share.
fn time(trace: &Trace) -> Markup {
    let seconds = &trace.cost.seconds;
    let mut phases = vec![
        ("text", seconds.text),
        ("transformer", seconds.transformer.iter().sum()),
        ("decode", seconds.decode),
        ("features", seconds.features),
        ("scorer", seconds.scorer),
        ("verifier", seconds.verifier),
        ("selection", seconds.selection),
    ];
    let known: f64 = phases.iter().map(|(_, seconds)| seconds).sum();
    phases.push(("other", (seconds.total - known).max(0.0)));
    let whole = seconds.total.max(known).max(f64::MIN_POSITIVE);
    let share = |seconds: f64| format!("--share: {:.1}%", 100.0 * seconds / whole);
    html! {
        table {
            @for (name, seconds) in phases {
                tr {
                    th { (name) }
                    td { (format!("{seconds:.2} s")) }
                    td { i.bar style=(share(seconds)) {} }
                }
            }
            tr {
                th { "total" }
                td { (format!("{:.2} s", seconds.total)) }
                td {}
            }
        }
    }
}

fn settings(trace: &Trace) -> Markup {
    let mut rows = vec![];
    for (name, setting) in &trace.settings {
        if let Some(value) = value(setting) {
            rows.push((name.as_str(), value));
        }
    }
    if let Some(steering) = &trace.steering {
        rows.push(("layout", steering.to_string()));
    }
    rows.push(("seed", trace.seed.to_string()));
    let preview = trace
        .preview
        .map_or("full size".to_owned(), |pixels| format!("{pixels} pixels"));
    rows.push(("previews", preview));
    table(&rows)
}

/// The work at each scale.
fn scales(trace: &Trace) -> Markup {
    let cost = &trace.cost;
    let number =
        |list: &[usize], scale: usize| list.get(scale).map_or("–".to_owned(), usize::to_string);
    let seconds = |scale: usize| cost.seconds.transformer.get(scale).copied().unwrap_or(0.0);
    let tokens: Vec<_> = (0..trace.scales.len())
        .map(|scale| trace.mean_tokens(scale))
        .collect();
    let has_tokens = tokens.iter().any(Option::is_some);
    html! {
        div.wide {
            table.scales {
                tr {
                    th { "scale" }
                    th { "grid" }
                    th { "rows" }
                    th { "states" }
                    th { "seconds" }
                    @if has_tokens {
                        th title="mean of all candidates, in bits" { "entropy" }
                        th title="mean of all candidates" { "log-likelihood" }
                    }
                    th { "selection" }
                }
                @for (scale, [height, width]) in trace.scales.iter().enumerate() {
                    tr {
                        th { (scale) }
                        td { (height) " × " (width) }
                        td { (number(&cost.rows, scale)) }
                        td { (number(&cost.states, scale)) }
                        td { (format!("{:.2}", seconds(scale))) }
                        @if has_tokens {
                            td { (tokens[scale].map_or("–".to_owned(), |mean| format!("{:.4}", mean.entropy))) }
                            td { (tokens[scale].map_or("–".to_owned(), |mean| format!("{:.4}", mean.log_likelihood))) }
                        }
                        td {
                            @if let Some(selection) = trace.selection(scale) {
                                (selection.select) ": " (selection.reached) " → " (selection.continuing)
                            }
                        }
                    }
                }
            }
        }
    }
}
