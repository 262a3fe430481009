//! The modules of ARCHITECTURE.md: reads the paths in the sources and fails when a module uses
//! another one that it may not use. Imports, re-exports and aliases are followed to the module that
//! defines an item, so that none of them is a way round the table.

mod paths;

use std::path::Path;

use paths::Sources;

/// What each module may use, besides itself and `error`. `search` is the crate `ttsvar-search`,
/// which the compiler keeps free of everything else; `tensors` are those of the tensor library.
const MODULES: [(&str, &[&str]); 31] = [
    ("clock", &[]),
    ("error", &["search", "tensors"]),
    ("file", &["input"]),
    ("hash", &[]),
    ("input", &[]),
    ("interrupt", &["search"]),
    ("quoting", &[]),
    ("threads", &[]),
    ("options", &["file", "search"]),
    ("image", &["file", "input", "search"]),
    ("nn", &["tensors"]),
    ("hub", &["file", "input", "nn", "options", "tensors"]),
    ("text", &["file", "hub", "search"]),
    ("demo", &["hub"]),
    ("process", &[]),
    ("loading", &["nn", "search", "tensors"]),
    ("models", &["interrupt", "nn", "tensors"]),
    (
        "pipelines",
        &[
            "hub", "loading", "models", "nn", "options", "search", "tensors", "text",
        ],
    ),
    (
        "features",
        &["image", "models", "nn", "search", "tensors", "text"],
    ),
    (
        "scorers",
        &[
            "detectors",
            "eval",
            "features",
            "file",
            "hub",
            "image",
            "interrupt",
            "loading",
            "models",
            "nn",
            "options",
            "search",
            "tensors",
            "text",
        ],
    ),
    (
        "detectors",
        &[
            "features", "hub", "image", "models", "nn", "search", "tensors", "text",
        ],
    ),
    (
        "eval",
        &[
            "detectors",
            "file",
            "hash",
            "image",
            "input",
            "search",
            "threads",
        ],
    ),
    ("collect", &["eval", "file", "input", "search", "threads"]),
    (
        "bench",
        &[
            "eval",
            "image",
            "models",
            "nn",
            "pipelines",
            "process",
            "search",
            "tensors",
        ],
    ),
    (
        "report",
        &["clock", "eval", "file", "image", "quoting", "search"],
    ),
    (
        "system",
        &[
            "demo",
            "features",
            "hub",
            "loading",
            "models",
            "options",
            "pipelines",
            "quoting",
            "scorers",
            "search",
            "tensors",
            "text",
        ],
    ),
    (
        "request",
        &[
            "hash",
            "image",
            "loading",
            "options",
            "pipelines",
            "report",
            "scorers",
            "search",
            "system",
        ],
    ),
    (
        "server",
        &[
            "clock",
            "file",
            "image",
            "input",
            "loading",
            "options",
            "pipelines",
            "process",
            "report",
            "request",
            "search",
            "system",
            "threads",
        ],
    ),
    (
        "cli",
        &[
            "bench",
            "collect",
            "detectors",
            "eval",
            "features",
            "file",
            "hub",
            "image",
            "input",
            "interrupt",
            "loading",
            "models",
            "options",
            "pipelines",
            "quoting",
            "report",
            "request",
            "scorers",
            "search",
            "server",
            "system",
            "tensors",
            "threads",
        ],
    ),
    ("lib", &["error", "search"]),
    ("main", &["cli"]),
];

/// Re-exports that count as the re-exporting module's own. Every other one counts as what it leads
/// to.
const OFFERED: [&str; 3] = [
    // Measurements that the tables of the program print.
    "bench::check_kernels",
    "bench::gpu_peak_bytes",
    // The data types that options name.
    "loading::Dtype",
];

/// Other crates that the table names.
const CRATES: [(&str, &str); 3] = [
    ("candle_core", "tensors"),
    ("candle_nn", "tensors"),
    ("ttsvar_search", "search"),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What the sources use against the table, one line per path.
fn violations(sources: &Sources) -> Vec<String> {
    let mut wrong = Vec::new();
    for found in sources.dependencies() {
        let owner = CRATES
            .iter()
            .find(|(name, _)| *name == found.owner)
            .map_or(found.owner.as_str(), |(_, name)| name);
        let known = owner == "tensors" || MODULES.iter().any(|(name, _)| *name == owner);
        let allowed = MODULES
            .iter()
            .find(|(name, _)| *name == found.top_level)
            .is_some_and(|(_, may)| may.contains(&owner));
        if known && owner != "error" && !allowed {
            wrong.push(format!(
                "{}: `{}` leads to `{owner}`, which `{}` may not use",
                found.module, found.path, found.top_level
            ));
        }
    }
    wrong
}

#[test]
fn modules_use_only_what_they_may() {
    let sources = Sources::read(&root().join("src"), &OFFERED);
    for module in sources.top_level() {
        assert!(
            MODULES.iter().any(|(name, _)| *name == module),
            "`{module}` is not in the table of tests/layering/main.rs"
        );
    }
    let wrong = violations(&sources);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_search_needs_no_tensor_library() {
    let manifest = std::fs::read_to_string(root().join("crates/ttsvar-search/Cargo.toml")).unwrap();
    let manifest: toml::Table = manifest.parse().unwrap();
    for name in manifest["dependencies"].as_table().unwrap().keys() {
        assert!(!name.starts_with("candle") && name != "ttsvar", "{name}");
    }
}

/// Every way to write `image` using `hub`, which it may not.
#[test]
fn every_spelling_is_followed() {
    let lib = "pub mod image; pub mod file; pub mod hub; pub use hub::Blob as Bytes;";
    let hub = "pub struct Blob; impl Blob { pub fn new() {} }";
    let file = "pub use crate::hub::Blob; pub use self::inner::Again; pub use crate::hub as h;
                pub type Alias = crate::hub::Blob; pub mod inner; pub mod all;";
    let spellings = [
        "use crate::hub::Blob;",
        "use crate::{file, hub::{self}};",
        "use super::hub;",
        "use crate::*; fn f() { hub::Blob::new() }",
        "fn f() { crate::hub::Blob::new() }",
        "fn f() { println!(\"{}\", crate::hub::Blob::new()) }",
        "mod tests { fn f(_: super::super::hub::Blob) {} }",
        "use crate::Bytes;",
        "use crate::file::Blob;",
        "use crate::file; fn f() { file::Blob::new() }",
        "use crate::file::Again;",
        "use crate::file::inner::Again as Third;",
        "use crate::file::h::Blob;",
        "use crate::file::Alias;",
        "use crate::file::all::Blob;",
        "use crate::file as f; use f::h as g; fn f() { g::Blob::new() }",
        "use ttsvar::hub::Blob;",
    ];
    for image in spellings {
        let sources = Sources::from_texts(&[
            ("lib", lib),
            ("hub", hub),
            ("file", file),
            ("file::inner", "pub use super::Blob as Again;"),
            ("file::all", "pub use crate::hub::*;"),
            ("image", image),
        ]);
        let found = violations(&sources);
        let of_image = found.iter().filter(|line| line.starts_with("image"));
        assert!(of_image.count() > 0, "not found: {image}");
    }
}

#[test]
fn what_a_module_defines_is_its_own() {
    let sources = Sources::from_texts(&[
        ("error", "pub struct Result;"),
        ("hub", "pub struct Blob;"),
        (
            "lib",
            "mod error; mod image; mod file; pub use error::Result;",
        ),
        (
            "file",
            "use crate::hub::Blob; pub struct File; mod image {}",
        ),
        (
            "image",
            "use crate::{Result, file::File}; use std::fs; enum Kind { A } use Kind::A;",
        ),
    ]);
    let found = violations(&sources).join("\n");
    assert_eq!(
        found,
        "file: `crate::hub::Blob` leads to `hub`, which `file` may not use"
    );
}
