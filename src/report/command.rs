//! The command that repeats a search, derived from its trace.

use serde_json::{Map, Value};
use ttsvar_search::{Method, Select, Trace, Verifier};

use crate::quoting::argument;

/// A command that repeats a search.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// A line for a shell.
    pub line: String,
    /// The files that the line refers to.
    pub files: Vec<CommandFile>,
}

/// A file that a command reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct CommandFile {
    /// Its name.
    pub name: &'static str,
    /// What it contains, for a sentence.
    pub content: &'static str,
    /// Its text.
    pub text: String,
}

/// Name of the plan file, for plans that are no named method.
const PLAN_FILE: &str = "plan.toml";

/// Name of the steering file.
const STEER_FILE: &str = "steer.json";

/// Name of the file with questions.
const QUESTIONS_FILE: &str = "questions.jsonl";

/// The setting that names the image and the mask of an edit.
pub const EDIT: &str = "edit";

/// The flags whose values no record holds, with placeholders: the image and the mask of an edit.
pub fn unrecorded_flags(settings: &Map<String, Value>) -> &'static [(&'static str, &'static str)] {
    match settings.contains_key(EDIT) {
        true => &[("--image", "IMAGE"), ("--mask", "MASK")],
        false => &[],
    }
}

/// Settings that name scorers or extractors of the caller, which no command has.
pub const EXTERNAL: [&str; 2] = ["scorer", "extractor"];

/// Settings that the command takes up in their own way.
const SPECIAL: [&str; 8] = [
    "model",
    "method",
    "n",
    "openai",
    "steer",
    "questions",
    EDIT,
    CLASS,
];

/// The setting with the class of class-conditional models.
const CLASS: &str = "class";

/// The flag of a setting. Flags are called as the settings, but for the one that may be repeated.
fn flag_of(setting: &str) -> String {
    match setting {
        "scorers" => "--scorer".to_owned(),
        name => format!("--{}", name.replace('_', "-")),
    }
}

/// The command of the search with this trace. It includes all settings whose defaults may change in
/// later versions.
pub(super) fn command(trace: &Trace) -> Command {
    let text = |name: &str| trace.settings.get(name).and_then(plain);
    let mut words = vec!["ttsvar".to_owned(), "generate".to_owned()];
    let mut files = vec![];
    let mut flag = |name: &str, value: String| {
        if value.starts_with('-') {
            words.push(format!("{name}={}", argument(&value))); // cannot be mistaken for a flag
        } else {
            words.extend([name.to_owned(), argument(&value)]);
        }
    };
    if let Some(negative) = &trace.negative {
        flag("--negative", negative.clone());
    }
    if let Some(model) = text("model") {
        flag("--model", model);
    }
    let method = text("method");
    match &method {
        Some(method) => {
            flag("--method", method.clone());
            if let Some(n) = text("n") {
                flag("--n", n);
            }
            for (name, value) in plan_options(trace, method) {
                flag(name, value);
            }
        }
        None => {
            flag("--plan", PLAN_FILE.to_owned());
            files.push(CommandFile {
                name: PLAN_FILE,
                content: "the plan shown below",
                text: trace.plan.to_toml(),
            });
        }
    }
    if let Some(preview) = trace.preview {
        flag("--preview", preview.to_string());
    }
    let mut switches = vec![];
    for (name, value) in &trace.settings {
        if SPECIAL.contains(&name.as_str()) || EXTERNAL.contains(&name.as_str()) {
            continue;
        }
        match plain(value) {
            Some(value) => flag(&flag_of(name), value),
            None if *value == Value::Bool(true) => switches.push(flag_of(name)),
            None => {}
        }
    }
    for (name, typed) in [
        ("model", "--openai-model"),
        ("template", "--openai-template"),
    ] {
        if let Some(value) = trace
            .settings
            .get("openai")
            .and_then(|asked| plain(asked.get(name)?))
        {
            flag(typed, value);
        }
    }
    if let Some(steer) = trace.settings.get("steer") {
        match plain(steer) {
            Some(name) => flag("--steer", name),
            None => {
                flag("--steer", STEER_FILE.to_owned());
                files.push(CommandFile {
                    name: STEER_FILE,
                    content: "the layout",
                    text: format!("{steer:#}\n"),
                });
            }
        }
    }
    match trace.settings.get("questions") {
        Some(Value::Array(lists)) => {
            flag("--questions", QUESTIONS_FILE.to_owned());
            files.push(CommandFile {
                name: QUESTIONS_FILE,
                content: "the questions",
                text: lists.iter().map(|list| format!("{list}\n")).collect(),
            });
        }
        Some(Value::String(name)) => flag("--questions", name.clone()),
        _ => {}
    }
    for (name, placeholder) in unrecorded_flags(&trace.settings) {
        flag(name, (*placeholder).to_owned());
    }
    flag("--seed", trace.seed.to_string());
    let class = text(CLASS);
    if let Some(class) = &class {
        flag("--class", class.clone());
    }
    words.extend(switches);
    if class.is_none() {
        // A prompt at the end cannot be mistaken for a flag.
        words.extend(["--".to_owned(), argument(&trace.prompt)]);
    }
    Command {
        line: words.join(" "),
        files,
    }
}

/// The options of a named method's plan; all of its stages have the same ones.
fn plan_options(trace: &Trace, method: &str) -> Vec<(&'static str, String)> {
    let mut found: Vec<(&str, String)> = vec![];
    if let Some(enough) = trace.plan.enough() {
        found.push(("--enough", enough.to_string()));
    }
    if trace.plan.suspends() {
        found.push(("--finish", trace.plan.finish().to_string()));
    }
    for stage in trace.plan.stages() {
        let flags = match stage.select {
            Select::Cluster { features } => vec![("--features", features.to_string())],
            Select::Resample {
                potential,
                lambda,
                draw,
            } => vec![
                ("--potential", potential.to_string()),
                ("--lambda", lambda.to_string()),
                ("--draw", draw.to_string()),
            ],
            Select::Above { score } => vec![("--above", score.to_string())],
            Select::Top { k } if method == Method::Draft.to_string() => {
                vec![("--finish", k.to_string())]
            }
            Select::Top { .. } | Select::Drop => vec![],
        };
        let drafts = [Method::Auto, Method::Draft].map(|method| method.to_string());
        let chosen = stage.verifier != Verifier::Image || drafts.iter().any(|name| name == method);
        let verifier = (chosen && stage.select.scores()).then(|| stage.verifier.to_string());
        let flags = flags
            .into_iter()
            .chain(verifier.map(|name| ("--verifier", name)));
        for (name, value) in flags {
            if found.iter().all(|(known, _)| *known != name) {
                found.push((name, value));
            }
        }
    }
    found
}

/// A value as an argument, or a list over the scales; `None` for other JSON types.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Array(list) => {
            let values: Option<Vec<String>> = list.iter().map(plain).collect();
            values.map(|values| values.join(","))
        }
        _ => None,
    }
}
