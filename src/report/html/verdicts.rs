//! A page with every evaluated image, its verdict and the reason. It can be read without scripts; a
//! short script filters the images.

use std::{
    fmt::Write,
    path::{Component, Path, PathBuf},
};

use serde_json::Value;

use super::{super::markup::escaped, document};
use crate::eval::{MethodSummary, ResultRecord, Summary};

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
    let notes: String = page
        .notes
        .iter()
        .map(|note| format!("<p><small>{}</small></p>\n", escaped(note)))
        .collect();
    let title = escaped(page.title);
    let table = table(summary);
    let choices = choices(summary, page.graded);
    let mut body = format!("<h1>{title}</h1>\n{table}{notes}{choices}<main>\n");
    let mut sorted: Vec<&(PathBuf, &ResultRecord)> = records.iter().collect();
    sorted.sort_by_key(|(_, record)| record.case); // stable: keeps the order of methods and samples
    for of_prompt in sorted.chunk_by(|a, b| a.1.case == b.1.case) {
        body += &prompt(of_prompt, page.graded);
    }
    document(page.title, STYLE, &(body + "</main>\n"), SCRIPT)
}

/// One row per contender, as in the other tables.
fn table(summary: &Summary) -> String {
    let number = |value: f64| format!("{value:.3}");
    let row = |row: &MethodSummary| {
        let cell = |task: &&str| row.of_task(task).map_or("-".to_owned(), number);
        let tasks: String = summary
            .tasks
            .iter()
            .map(|task| format!("<td>{}", cell(task)))
            .collect();
        let (low, high) = row.interval;
        format!(
            "<tr><th>{}<td>{}{tasks}<td>{}<td>{} to {}<td>{}<td>{}\n",
            escaped(&row.method),
            row.n,
            number(row.overall),
            number(low),
            number(high),
            row.images,
            row.missing,
        )
    };
    let heads: String = summary
        .tasks
        .iter()
        .map(|task| format!("<th>{}", escaped(task)))
        .collect();
    let rows: String = summary.methods.iter().map(row).collect();
    format!(
        "<div class=\"wide\"><table><tr><th>method<th>N{heads}<th>overall<th>95&nbsp;% interval<th>evaluated<th>missing\n\
         {rows}</table></div>\n"
    )
}

fn choices(summary: &Summary, graded: bool) -> String {
    let option = |task: &&str| format!("<option>{}</option>", escaped(task));
    let tasks: String = summary.tasks.iter().map(option).collect();
    let verdict = match graded {
        true => "",
        false => {
            " <label>Verdict <select id=\"verdict\"><option value=\"\">all</option><option>right</option>\
             <option>wrong</option></select></label>"
        }
    };
    format!(
        "<form><label>Task <select id=\"task\"><option value=\"\">all</option>{tasks}</select></label>{verdict}</form>\n"
    )
}

fn prompt(of_prompt: &[&(PathBuf, &ResultRecord)], graded: bool) -> String {
    let Some((_, first)) = of_prompt.first() else {
        return String::new();
    };
    let task = escaped(&first.task);
    let words = escaped(&first.prompt);
    let mut html = format!(
        "<section data-task=\"{task}\"><h2>{words} <small>{task}</small></h2>\n<div class=\"row\">\n"
    );
    for (file, record) in of_prompt {
        html += &figure(file, record, graded);
    }
    html + "</div></section>\n"
}

fn figure(file: &Path, record: &ResultRecord, graded: bool) -> String {
    let class = if graded { "graded" } else { verdict(record) };
    let verdict = if graded {
        format!("{:.3}", record.correct)
    } else {
        verdict(record).to_owned()
    };
    let who = format!(
        "{}, N = {}, sample {}",
        record.method, record.n, record.sample
    );
    let mut html = format!(
        "<figure class=\"{class}\"><a href=\"{url}\"><img src=\"{url}\" loading=\"lazy\" alt=\"{alt}\"></a>\
         <figcaption><b>{verdict}</b> {who}",
        url = url(file),
        alt = escaped(&format!("{} by {who}: {verdict}", record.prompt)),
        who = escaped(&who),
    );
    for line in record.reason.lines() {
        let _ = write!(html, "<br>{}", escaped(line)); // writing to a text cannot fail
    }
    if let Some(seen) = record
        .details
        .as_ref()
        .map(seen)
        .filter(|seen| !seen.is_empty())
    {
        let _ = write!(html, "<br><small>{}</small>", escaped(&seen));
    }
    html + "</figcaption></figure>\n"
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
        let details = serde_json::json!({"dog": [[0, 0, 1, 1, 0.93], [0, 0, 1, 1, 0.41]], "cat": [[0, 0, 2, 2, 0.875]]});
        assert_eq!(seen(&details), "saw 2 dog (0.93, 0.41), 1 cat (0.88)");
        assert_eq!(seen(&serde_json::json!({})), "");
    }
}
