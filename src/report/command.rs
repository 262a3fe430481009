//! The command that repeats a search, made from its trace.

use serde_json::Value;
use ttsvar_search::{Select, Trace};

/// How a search is repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Command {
    /// A line for a shell.
    pub line: String,
    /// The file that the line names, where the plan is no named method's.
    pub plan_file: Option<String>,
}

/// What the line calls the file of a plan.
pub(super) const PLAN_FILE: &str = "plan.toml";

/// The settings of a trace that are flags of their own, and those flags.
const FLAGS: [(&str, &str); 10] = [
    ("cfg", "--cfg"),
    ("cfg_layer", "--cfg-layer"),
    ("tau", "--tau"),
    ("top_p", "--top-p"),
    ("top_k", "--top-k"),
    ("aspect", "--aspect"),
    ("pixels", "--pixels"),
    ("schedule", "--schedule"),
    ("dtype", "--dtype"),
    ("scorers", "--scorer"),
];

/// The command of the search that left this trace. It says all that a later version might choose
/// differently.
pub(super) fn command(trace: &Trace) -> Command {
    let text = |name: &str| trace.settings.get(name).and_then(plain);
    let mut words = vec!["ttsvar".to_owned(), "generate".to_owned()];
    let mut flag = |name: &str, value: String| {
        if value.starts_with('-') {
            words.push(format!("{name}={}", quoted(&value))); // cannot be taken for a flag
        } else {
            words.extend([name.to_owned(), quoted(&value)]);
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
            text("n").into_iter().for_each(|n| flag("--n", n));
            choices(trace)
                .into_iter()
                .for_each(|(name, value)| flag(name, value));
        }
        None => flag("--plan", PLAN_FILE.to_owned()),
    }
    if let Some(preview) = trace.preview {
        flag("--preview", preview.to_string());
    }
    for (name, typed) in FLAGS {
        text(name).into_iter().for_each(|value| flag(typed, value));
    }
    flag("--seed", trace.seed.to_string());
    // A prompt at the end cannot be taken for a flag.
    words.extend(["--".to_owned(), quoted(&trace.prompt)]);
    Command {
        line: words.join(" "),
        plan_file: method.is_none().then(|| trace.plan.to_toml()),
    }
}

/// What a named method leaves open and this plan decides; all its stages decide alike.
fn choices(trace: &Trace) -> Vec<(&'static str, String)> {
    let mut found: Vec<(&str, String)> = vec![];
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
            Select::Top { .. } | Select::Drop => vec![],
        };
        for (name, value) in flags {
            if found.iter().all(|(known, _)| *known != name) {
                found.push((name, value));
            }
        }
    }
    found
}

/// A value as it is typed; none for what cannot be.
fn plain(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A word as a POSIX shell reads it back.
fn quoted(word: &str) -> String {
    let harmless = |c: char| c.is_ascii_alphanumeric() || "-_./:=,+%@".contains(c);
    if !word.is_empty() && word.chars().all(harmless) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("16:9"), "16:9");
        assert_eq!(quoted(""), "''");
        assert_eq!(
            quoted("it's a $(rm) `x` \"y\" <script>"),
            r#"'it'\''s a $(rm) `x` "y" <script>'"#
        );
    }
}
