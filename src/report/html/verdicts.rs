//! A page with every evaluated image, its verdict and the reason. It can be read without scripts; a
//! short script filters the images.

use std::path::{Component, Path, PathBuf};

use maud::{Markup, html};
use serde_json::Value;

use super::document;
use crate::eval::{ResultRecord, Summary};

/// The style of the page.
const STYLE: &str = include_str!("verdicts.css");

/// Filters the images by the two menus at the top.
const SCRIPT: &str = include_str!("verdicts.js");

/// The header of the page.
#[derive(Clone, Copy, Debug)]
pub struct Page<'a> {
    /// Name of the evaluation.
    pub title: &'a str,
    /// Notes on the results.
    pub notes: &'a [String],
    /// Whether verdicts are scores from 0 to 1 instead of right or wrong.
    pub graded: bool,
}

/// The page. Each record comes with the path of its image, relative to the folder of the page.
pub fn page(page: &Page<'_>, summary: &Summary, records: &[(PathBuf, &ResultRecord)]) -> String {
    let mut sorted: Vec<&(PathBuf, &ResultRecord)> = records.iter().collect();
    // A stable sort keeps the order of methods and samples.
    sorted.sort_by_key(|(_, record)| record.case);
    let body = html! {
        h1 { (page.title) }
        (table(summary))
        @for note in page.notes {
            p { small { (note) } }
        }
        (choices(summary, page.graded))
        main {
            @for records in sorted.chunk_by(|a, b| a.1.case == b.1.case) {
                (prompt(records, page.graded))
            }
        }
    };
    document(page.title, STYLE, &body, SCRIPT)
}

/// One row per contender, as in the other tables.
fn table(summary: &Summary) -> Markup {
    let number = |value: f64| format!("{value:.3}");
    html! {
        div.wide {
            table {
                tr {
                    th { "method" }
                    th { "N" }
                    @for task in &summary.tasks {
                        th { (task) }
                    }
                    th { "overall" }
                    th { "95\u{a0}% interval" }
                    th { "evaluated" }
                    th { "missing" }
                }
                @for row in &summary.methods {
                    tr {
                        th { (row.method) }
                        td { (row.n) }
                        @for task in &summary.tasks {
                            td { (row.of_task(task).map_or("-".to_owned(), number)) }
                        }
                        td { (number(row.overall)) }
                        td { (number(row.interval.0)) " to " (number(row.interval.1)) }
                        td { (row.images) }
                        td { (row.missing) }
                    }
                }
            }
        }
    }
}

/// The menus that filter the images.
fn choices(summary: &Summary, graded: bool) -> Markup {
    html! {
        form {
            label {
                "Task "
                select #task {
                    option value="" { "all" }
                    @for task in &summary.tasks {
                        option { (task) }
                    }
                }
            }
            @if !graded {
                " "
                label {
                    "Verdict "
                    select #verdict {
                        option value="" { "all" }
                        option { "right" }
                        option { "wrong" }
                    }
                }
            }
        }
    }
}

/// The images of one prompt.
fn prompt(records: &[&(PathBuf, &ResultRecord)], graded: bool) -> Markup {
    let Some((_, first)) = records.first() else {
        return html! {};
    };
    html! {
        section data-task=(first.task) {
            h2 { (first.prompt) " " small { (first.task) } }
            div.row {
                @for (file, record) in records {
                    (figure(file, record, graded))
                }
            }
        }
    }
}

fn figure(file: &Path, record: &ResultRecord, graded: bool) -> Markup {
    let class = if graded { "graded" } else { verdict(record) };
    let verdict = if graded {
        format!("{:.3}", record.correct)
    } else {
        verdict(record).to_owned()
    };
    let ResultRecord {
        prompt,
        method,
        n,
        sample,
        ..
    } = record;
    let contender = format!("{method}, N = {n}, sample {sample}");
    let url = url(file);
    let seen = record.details.as_ref().map(seen).unwrap_or_default();
    html! {
        figure class=(class) {
            a href=(url) {
                img src=(url) loading="lazy" alt={ (prompt) " by " (contender) ": " (verdict) };
            }
            figcaption {
                b { (verdict) } " " (contender)
                @for line in record.reason.lines() {
                    br; (line)
                }
                @if !seen.is_empty() {
                    br; small { (seen) }
                }
            }
        }
    }
}

fn verdict(record: &ResultRecord) -> &'static str {
    if record.correct >= 0.5 {
        "right"
    } else {
        "wrong"
    }
}

/// `saw 2 dog (0.93, 0.41), 1 cat (0.88)`: the classes with the last number of each row, the score.
/// The classes are the whole details or their field `objects`.
fn seen(details: &Value) -> String {
    let details = details.get("objects").unwrap_or(details);
    let class = |(name, rows): (&String, &Value)| {
        let rows = rows.as_array()?;
        let score = |row: &Value| Some(format!("{:.2}", row.as_array()?.last()?.as_f64()?));
        let scores: Vec<String> = rows.iter().filter_map(score).collect();
        Some(format!("{} {name} ({})", rows.len(), scores.join(", ")))
    };
    let classes: Vec<String> = details
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(class)
        .collect();
    if classes.is_empty() {
        String::new()
    } else {
        format!("saw {}", classes.join(", "))
    }
}

/// A path as a URL.
fn url(path: &Path) -> String {
    let text = path.to_string_lossy().replace('\\', "/");
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(&byte);
    text.bytes()
        .map(|byte| {
            if plain(byte) {
                (byte as char).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// The relative path from a folder to a file, both absolute.
pub fn relative_path(from: &Path, to: &Path) -> PathBuf {
    let from: Vec<Component> = from.components().collect();
    let to: Vec<Component> = to.components().collect();
    let common = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = std::iter::repeat_n(Component::ParentDir, from.len() - common);
    up.chain(to[common..].iter().copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_lead_from_the_page_to_the_image() {
        let path = relative_path(Path::new("/a/b/out"), Path::new("/a/c d/0.png"));
        assert_eq!(path, Path::new("../../c d/0.png"));
        assert_eq!(url(&path), "../../c%20d/0.png");
        assert_eq!(url(Path::new("a\"<b>.png")), "a%22%3Cb%3E.png");
    }

    #[test]
    fn detections_are_counted() {
        let details = serde_json::json!({
            "dog": [[0, 0, 1, 1, 0.93], [0, 0, 1, 1, 0.41]],
            "cat": [[0, 0, 2, 2, 0.875]],
        });
        assert_eq!(seen(&details), "saw 2 dog (0.93, 0.41), 1 cat (0.88)");
        assert_eq!(seen(&serde_json::json!({})), "");
    }
}
