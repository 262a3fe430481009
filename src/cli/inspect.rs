//! `ttsvar inspect`: how an image was made, from its record or from a trace.

use std::path::Path;

use serde_json::{Value, json};
use ttsvar_search::{Question, Selection, Trace, number};

use super::{
    arguments,
    console::Console,
    generate,
    table::{Align, Table},
};
use crate::{
    Error, Result,
    file::read_text,
    image::{Content, Png, check_png, content_of},
    quoting,
    report::{Parameters, Provenance, unrecorded_flags},
    request::recorded::Origin,
};

/// Prints what every file says.
pub(super) fn run(typed: &arguments::Inspect, console: &Console) -> Result<()> {
    for (i, path) in typed.files.iter().enumerate() {
        let found = Found::read(path)?;
        let between = if i > 0 && !console.json { "\n" } else { "" };
        console.result(&format!(
            "{between}{}",
            if console.json {
                found.json(path).to_string()
            } else {
                found.words(path)
            }
        ))?;
    }
    Ok(())
}

/// The contents of a file.
enum Found {
    Image(Png, Box<Provenance>),
    Other(Png, Parameters),
    Trace(Box<Trace>),
}

impl Found {
    fn read(path: &Path) -> Result<Self> {
        let hint =
            "give a PNG written by `ttsvar generate`, or a trace written by its --trace option";
        let Content::Other(found @ ("JSON" | "text" | "unknown data" | "an empty file"), _) =
            content_of(path)?
        else {
            check_png(path)?;
            let png = Png::open(path)?;
            return Ok(match Origin::read(path, &png)? {
                Origin::Own(record) => Self::Image(png, record),
                Origin::Other(parameters) => Self::Other(png, parameters),
            });
        };
        let text = read_text(path)?;
        if !text.trim_start().starts_with('{') {
            let message = format!("expected a PNG or a trace, found {found}");
            return Err(Error::file(path, message).with_hint(hint));
        }
        let trace = Trace::from_json(&text).map_err(|error| {
            let error = Error::in_file(path, error);
            if error.hint().is_some() {
                error
            } else {
                error.with_hint(hint)
            }
        })?;
        Ok(Self::Trace(Box::new(trace)))
    }

    fn json(&self, path: &Path) -> Value {
        match self {
            Self::Image(png, record) => {
                let texts = record
                    .texts()
                    .into_iter()
                    .map(|(key, text)| (key.to_owned(), machine(key, text, record)));
                let mut object = json!({
                    "file": path.display().to_string(),
                    "width": png.image.width(),
                    "height": png.image.height(),
                });
                object
                    .as_object_mut()
                    .into_iter()
                    .for_each(|object| object.extend(texts.clone()));
                object
            }
            Self::Other(png, parameters) => other_as_json(path, png, parameters),
            Self::Trace(trace) => json!({ "file": path.display().to_string(), "trace": trace }),
        }
    }

    fn words(&self, path: &Path) -> String {
        match self {
            Self::Image(png, record) => of_image(path, png, record),
            Self::Other(png, parameters) => of_other(path, png, parameters),
            Self::Trace(trace) => of_trace(path, trace),
        }
    }
}

/// A text of a record as JSON: numbers as numbers, lists as lists.
fn machine(key: &str, text: String, record: &Provenance) -> Value {
    match key {
        "seed" => record.seed.into(),
        "score" => record.score().map_or(Value::Null, number::to_json),
        "settings" | "scores" => serde_json::from_str(&text).unwrap_or(Value::Null),
        "preview" => record.preview.map_or_else(|| text.into(), Value::from),
        _ => text.into(),
    }
}

fn of_image(path: &Path, png: &Png, record: &Provenance) -> String {
    let mut table = Table::plain(2);
    for (key, text) in record.texts() {
        let text = match key {
            "plan" => continue, // several lines, at the end
            "settings" => {
                let settings = record
                    .settings
                    .iter()
                    .map(|(name, value)| format!("{name} {}", plain(value)));
                settings.collect::<Vec<_>>().join(", ")
            }
            "scores" => {
                let scores = record
                    .scores
                    .iter()
                    .map(|scored| format!("{:.3} (scale {})", scored.score, scored.scale));
                scores.collect::<Vec<_>>().join(", ")
            }
            _ => text,
        };
        table.row([key.to_owned(), text]);
    }
    let (width, height) = (png.image.width(), png.image.height());
    let plan = record.plan.to_toml();
    let flags = unrecorded_flags(&record.settings).iter();
    let flags: String = flags
        .map(|(name, placeholder)| format!(" {name} {placeholder}"))
        .collect();
    format!(
        "{}: {width} × {height} pixels\n\n{table}\n\n{plan}\n\
         ttsvar generate --from {}{flags}   generates it again",
        quoting::path(path),
        quoting::file_argument(path)
    )
}

/// What another program recorded, as JSON; names are those of this program where it has one.
fn other_as_json(path: &Path, png: &Png, parameters: &Parameters) -> Value {
    json!({
        "file": path.display().to_string(),
        "width": png.image.width(),
        "height": png.image.height(),
        "prompt": parameters.prompt,
        "negative": parameters.negative,
        "seed": parameters.seed,
        "model": parameters.model,
        "cfg": parameters.cfg,
        "steps": parameters.steps,
        "sampler": parameters.sampler,
        "program": parameters.program,
    })
}

/// The same for people.
fn of_other(path: &Path, png: &Png, parameters: &Parameters) -> String {
    let mut table = Table::plain(2);
    table.row(["prompt".to_owned(), parameters.prompt.clone()]);
    if let Some(negative) = &parameters.negative {
        table.row(["negative".to_owned(), negative.clone()]);
    }
    for (key, value) in parameters.pairs() {
        table.row([key.to_owned(), value]);
    }
    let (width, height) = (png.image.width(), png.image.height());
    format!(
        "{}: {width} × {height} pixels, made by another program\n\n{table}\n\n\
         ttsvar generate --from {}   uses its prompts and its seed",
        quoting::path(path),
        quoting::file_argument(path)
    )
}

/// A value without the quotes of JSON.
fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

fn of_trace(path: &Path, trace: &Trace) -> String {
    let mut head = Table::plain(2);
    head.row(["prompt".to_owned(), trace.prompt.clone()]);
    if let Some(negative) = &trace.negative {
        head.row(["negative".to_owned(), negative.clone()]);
    }
    head.row(["seed".to_owned(), trace.seed.to_string()]);
    for (name, value) in &trace.settings {
        head.row([name.clone(), plain(value)]);
    }
    if let Some(steering) = &trace.steering {
        head.row(["layout".to_owned(), steering.to_string()]);
    }
    head.row(["cost".to_owned(), generate::cost(trace)]);
    let best = trace
        .finals
        .iter()
        .find(|last| last.id == trace.winner)
        .map_or(f32::NAN, |best| best.score);
    head.row([
        "winner".to_owned(),
        format!("candidate {}, score {best:.3}", trace.winner),
    ]);
    let warnings: Vec<String> = trace
        .warnings
        .iter()
        .map(|warning| format!("\nwarning: {}", quoting::line(&warning.to_string())))
        .collect();
    format!(
        "{}: trace\n\n{head}\n\n{}\n{}",
        quoting::path(path),
        scales(trace),
        tokens(trace) + &answers(trace) + &warnings.concat()
    )
}

/// The answers about the winner, if a scorer was asked questions.
fn answers(trace: &Trace) -> String {
    use Align::{Left, Right};
    let mut tables = String::new();
    for (scorer, answers) in trace.answers_of(trace.winner) {
        let mut table = Table::new([("question", Left), ("answer", Left), ("probability", Right)]);
        for answered in answers {
            let Question { question, answer } = answered.question;
            let probability = format!("{:.2}", answered.probability);
            table.row([question, answer, probability]);
        }
        tables += &format!("\nanswers of {scorer} about the winner:\n\n{table}\n");
    }
    tables
}

/// The mean statistics of the tokens of each scale, if the trace has them.
fn tokens(trace: &Trace) -> String {
    use Align::Right;
    let heads = [
        ("scale", Right),
        ("entropy (bits)", Right),
        ("log-likelihood", Right),
    ];
    let mut table = Table::new(heads);
    let scales = 0..trace.scales.len();
    let means: Vec<_> = scales
        .filter_map(|scale| trace.mean_tokens(scale))
        .collect();
    if means.is_empty() {
        return String::new();
    }
    for mean in means {
        table.row([
            mean.scale.to_string(),
            format!("{:.4}", mean.entropy),
            format!("{:.4}", mean.log_likelihood),
        ]);
    }
    format!("\nsampled tokens, mean over all candidates:\n\n{table}\n")
}

/// One row per scale: rows computed, time, selection, scores.
fn scales(trace: &Trace) -> Table {
    use Align::{Left, Right};
    let heads = [
        ("scale", Right),
        ("grid", Left),
        ("rows", Right),
        ("states", Right),
        ("seconds", Right),
        ("selects", Left),
        ("continue", Right),
        ("scores: best", Right),
        ("mean", Right),
    ];
    let mut table = Table::new(heads);
    for (scale, [height, width]) in trace.scales.iter().enumerate() {
        let selection = trace.selection(scale);
        let last = scale + 1 == trace.scales.len();
        let scores = scores(trace, selection.as_ref(), last);
        let selects = match &selection {
            Some(selection) => selection.select,
            None if last => "the best",
            None => "-",
        };
        let on = selection.as_ref().map(|selection| selection.continuing);
        let number = |list: &[usize]| list.get(scale).map_or("-".to_owned(), usize::to_string);
        let seconds = trace.cost.seconds.transformer.get(scale);
        table.row([
            scale.to_string(),
            format!("{height}×{width}"),
            number(&trace.cost.rows),
            number(&trace.cost.states),
            seconds.map_or("-".to_owned(), |seconds| format!("{seconds:.2}")),
            selects.to_owned(),
            on.map_or("-".to_owned(), |on| on.to_string()),
            scores
                .iter()
                .copied()
                .reduce(f32::max)
                .map_or("-".to_owned(), |best| format!("{best:.3}")),
            mean(&scores).map_or("-".to_owned(), |mean| format!("{mean:.3}")),
        ]);
    }
    table
}

/// The finite scores that were given after a scale.
fn scores(trace: &Trace, selection: Option<&Selection>, last: bool) -> Vec<f32> {
    let here = selection
        .map(|selection| selection.scores.clone())
        .filter(|scores| !scores.is_empty());
    let finals = || trace.finals.iter().map(|last| last.score).collect();
    let scores: Vec<f32> = here.unwrap_or_else(|| if last { finals() } else { vec![] });
    scores
        .into_iter()
        .filter(|score| score.is_finite())
        .collect()
}

fn mean(scores: &[f32]) -> Option<f32> {
    (!scores.is_empty()).then(|| scores.iter().sum::<f32>() / scores.len() as f32)
}
