//! The rooms of ARCHITECTURE.md: reads the paths in the sources and fails when one is entered from
//! the wrong side.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// Which rooms a room may use, besides itself and `error`.
const ROOMS: [(&str, &[&str]); 23] = [
    ("error", &[]),
    ("rng", &[]),
    ("file", &[]),
    ("image", &["file"]),
    ("nn", &[]),
    ("hub", &["nn"]), // for the trait that a weight file implements
    ("text", &["hub"]),
    ("demo", &["hub"]),
    ("models", &["nn"]),
    ("pipelines", &["image", "models", "nn", "rng", "text"]),
    ("scorers", &["features", "image", "models", "nn", "text"]),
    ("features", &["image", "models", "nn", "text"]),
    (
        "detectors",
        &["features", "hub", "image", "models", "nn", "text"],
    ),
    (
        "search",
        &["features", "image", "pipelines", "rng", "scorers"],
    ),
    (
        "eval",
        &[
            "detectors",
            "features",
            "file",
            "image",
            "pipelines",
            "rng",
            "scorers",
            "search",
        ],
    ),
    (
        "bench",
        &[
            "eval",
            "features",
            "image",
            "models",
            "nn",
            "pipelines",
            "scorers",
            "search",
        ],
    ),
    ("report", &["eval", "file", "image", "search"]),
    (
        "bundle",
        &[
            "demo",
            "features",
            "hub",
            "image",
            "models",
            "nn",
            "pipelines",
            "scorers",
            "text",
        ],
    ),
    (
        "request",
        &["bundle", "features", "hub", "models", "pipelines", "search"],
    ),
    (
        "server",
        &[
            "bundle",
            "file",
            "image",
            "pipelines",
            "report",
            "request",
            "search",
        ],
    ),
    (
        "cli",
        &[
            "bench",
            "bundle",
            "detectors",
            "eval",
            "features",
            "file",
            "hub",
            "image",
            "models",
            "pipelines",
            "report",
            "request",
            "scorers",
            "search",
            "server",
        ],
    ),
    (
        "lib",
        &[
            "cli",
            "bundle",
            "eval",
            "features",
            "hub",
            "image",
            "pipelines",
            "report",
            "request",
            "scorers",
            "search",
        ],
    ),
    ("main", &[]),
];

/// Rooms that never see a tensor.
const WITHOUT_TENSORS: [&str; 10] = [
    "image", "rng", "search", "eval", "report", "request", "server", "cli", "text", "demo",
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// Code without comments.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| line.split("//").next().unwrap_or(""))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The first segments of all paths that begin with `crate::`, those in braces included.
fn entered(code: &str) -> BTreeSet<String> {
    let mut rooms = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            rooms.extend(first_segments(group));
        } else {
            rooms.extend(first_segments(rest).into_iter().next());
        }
    }
    rooms
}

/// The words that begin the items of a brace group, which ends where its brace closes.
fn first_segments(group: &str) -> Vec<String> {
    let (mut depth, mut words, mut word, mut begins) = (0, Vec::new(), String::new(), true);
    for c in group.chars() {
        if c.is_alphanumeric() || c == '_' {
            if begins {
                word.push(c);
            }
            continue;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
            begins = false;
        }
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => begins = true,
            _ => {}
        }
    }
    words
}

fn room(path: &Path) -> String {
    let path = path
        .strip_prefix(Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
        .unwrap();
    path.iter()
        .next()
        .unwrap()
        .to_string_lossy()
        .trim_end_matches(".rs")
        .to_owned()
}

#[test]
fn no_room_is_entered_from_the_wrong_side() {
    let mut wrong = Vec::new();
    for path in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        let (here, code) = (room(&path), code(&path));
        let (_, may) = ROOMS
            .iter()
            .find(|(name, _)| *name == here)
            .unwrap_or_else(|| panic!("`{here}` is no room"));
        for there in entered(&code)
            .into_iter()
            .filter(|there| ROOMS.iter().any(|(name, _)| name == there))
        {
            if there != here && there != "error" && !may.contains(&there.as_str()) {
                wrong.push(format!(
                    "{} enters `{there}`, which `{here}` may not use",
                    path.display()
                ));
            }
        }
        if WITHOUT_TENSORS.contains(&here.as_str()) && code.contains("candle_") {
            wrong.push(format!(
                "{} uses tensors, which `{here}` never sees",
                path.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn paths_are_read_in_every_spelling() {
    let code = "use crate::{\n    Error, hub::{self, Blob},\n    nn::Weights};\nlet x = crate::rng::Stream::new(image::y);";
    assert_eq!(
        entered(code).into_iter().collect::<Vec<_>>(),
        ["Error", "hub", "nn", "rng"]
    );
}
