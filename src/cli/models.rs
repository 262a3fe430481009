//! `ttsvar models`: the known models, their files and sources.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::{arguments, console::Console, numbers, table::Table};
use crate::{
    Result,
    hub::{
        Folder,
        bundle::check_downloads,
        catalog::{ENTRIES, Entry, Use},
        released,
    },
    system::{self, DEMO},
};

/// Lists the models.
pub(super) fn run(typed: &arguments::Models, console: &Console) -> Result<()> {
    if let Some(folder) = &typed.weights {
        check_downloads(folder)?;
    }
    let models = all(typed.weights.as_ref())?;
    if console.json {
        let lines: Vec<String> = models
            .iter()
            .map(|model| model.json().to_string())
            .collect();
        return console.result(&lines.join("\n"));
    }
    let mut text: Vec<String> = models.iter().map(Model::text).collect();
    text.push(hint(typed.weights.is_some()));
    console.result(&text.join("\n\n"))
}

/// A model and its files.
struct Model {
    name: &'static str,
    used: &'static str,
    about: String,
    source: String,
    size: Option<String>,
    licence: Option<&'static str>,
    /// Names of the other models that a search with it uses.
    needs: &'static [&'static str],
    files: Vec<File>,
}

/// A file of a model.
struct File {
    name: String,
    bytes: Option<u64>,
    /// Whether it is present; `None` without a folder to search.
    present: Option<bool>,
    path: Option<PathBuf>,
}

/// The demo, then the released models in the order of the catalogue.
fn all(weights: Option<&PathBuf>) -> Result<Vec<Model>> {
    let folder = weights.map(|folder| Folder::Disk(folder.clone()));
    let mut models = vec![demo()?];
    models.extend(ENTRIES.iter().map(|entry| released(entry, folder.as_ref())));
    Ok(models)
}

fn demo() -> Result<Model> {
    let size = system::demo_bytes();
    let file = File {
        name: "everything".to_owned(),
        bytes: Some(size),
        present: Some(true),
        path: None,
    };
    Ok(Model {
        name: DEMO,
        used: "whole system",
        about: system::find_bundle(DEMO, None)?.description.about,
        source: "built into this program".to_owned(),
        size: None,
        licence: None,
        needs: &[],
        files: vec![file],
    })
}

fn released(entry: &Entry, folder: Option<&Folder>) -> Model {
    let file = |name: &str, path: Option<PathBuf>| File {
        name: name.to_owned(),
        bytes: path
            .as_ref()
            .and_then(|path| path.metadata().ok())
            .filter(|about| about.is_file())
            .map(|about| about.len()),
        present: folder.map(|_| path.is_some()),
        path,
    };
    let files = match folder {
        Some(folder) => entry
            .presence(folder)
            .into_iter()
            .map(|presence| file(&presence.file, presence.found))
            .collect(),
        None => entry
            .files
            .iter()
            .map(|names| file(&names.join(" or "), None))
            .collect(),
    };
    let used = match entry.used {
        Use::Generator => "generator",
        Use::Tokenizer => "image tokenizer",
        Use::Text => "text encoder",
        Use::Scorer => "scorer",
        Use::Features => "features",
        Use::Evaluation => "evaluation",
    };
    Model {
        name: entry.name,
        used,
        about: entry.kind.to_owned(),
        source: entry.source.to_string(),
        size: entry.size(),
        licence: entry.licence,
        needs: entry.needs,
        files,
    }
}

impl Model {
    fn text(&self) -> String {
        let mut table = Table::plain(3);
        for file in &self.files {
            let state = match file.present {
                Some(true) => "present",
                Some(false) => "missing",
                None => "",
            };
            let size = file.bytes.map_or(String::new(), numbers::bytes);
            table.row([format!("  {}", file.name), state.to_owned(), size]);
        }
        let mut about = vec![self.about.clone()];
        about.extend(self.size.clone());
        about.extend(self.licence.map(|licence| format!("licence {licence}")));
        let needs = match self.needs {
            [] => String::new(),
            needs => format!("\n  with {}", needs.join(", ")),
        };
        let is_any = |present| self.files.iter().any(|file| file.present == Some(present));
        let incomplete = match is_any(true) && is_any(false) {
            true => format!("\n  only some files of {} are present", self.name),
            false => String::new(),
        };
        format!(
            "{}: {}, {}\n  {}{needs}{incomplete}\n{table}",
            self.name,
            self.used,
            self.source,
            about.join("; ")
        )
    }

    fn json(&self) -> Value {
        let file = |file: &File| {
            json!({
                "name": file.name,
                "bytes": file.bytes,
                "present": file.present,
                "path": file.path.as_ref().map(|path| path.display().to_string()),
            })
        };
        json!({
            "name": self.name,
            "used": self.used,
            "about": self.about,
            "source": self.source,
            "size": self.size,
            "licence": self.licence,
            "needs": self.needs,
            "whole": self.name == DEMO || released::NAMES.contains(&self.name),
            "files": self.files.iter().map(file).collect::<Vec<_>>(),
        })
    }
}

fn hint(searched: bool) -> String {
    let more = match searched {
        true => "",
        false => "\n`ttsvar models --weights DIR` shows which files are present in DIR.",
    };
    format!(
        "`ttsvar generate PROMPT --model NAME --weights DIR` runs a generator together with the\n\
         models listed after `with`. Their files are in DIR, or in sub-folders of DIR with the names\n\
         above; `ttsvar models fetch NAME --weights DIR` downloads them.{more}"
    )
}
