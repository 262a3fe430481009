//! `ttsvar doctor`: what the program finds on this machine, and whether it works here.

mod trial;

use std::path::Path;

use serde_json::{Value, json};

use super::{arguments, numbers, table::Table, talk::Talk};
use crate::{
    Error, Result,
    bench::Machine,
    hub::{Folder, bundle::RELEASED, catalog::ENTRIES},
    scorers::kind,
    system::{self, DEMO},
};

/// Exit code when something is broken.
const BROKEN: u8 = 1;

/// Bytes of free memory below which even the demo may not fit.
const LITTLE_MEMORY: u64 = 300_000_000;

/// A share of the usual speed below which something is amiss.
const SLOW: f64 = 0.3;

/// How a finding is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fine,
    /// Good to know; nothing is broken.
    Odd,
    Broken,
}

/// One thing that was looked at.
struct Finding {
    name: &'static str,
    state: State,
    words: String,
    hint: Option<String>,
    /// The same for machines.
    facts: Value,
}

/// Looks at everything and prints it; the exit code is 1 when something is broken.
pub(super) fn run(typed: &arguments::Doctor, talk: &Talk) -> Result<u8> {
    let machine = Machine::look();
    let mut findings = vec![
        processor(&machine),
        kernels(&machine),
        threads(&machine),
        memory(&machine),
        demo(),
    ];
    findings.extend(typed.weights.as_deref().map(weights));
    findings.extend(trials(&machine));
    let broken = findings
        .iter()
        .any(|finding| finding.state == State::Broken);
    talk.result(&if talk.json {
        json_of(&machine, &findings, broken)
    } else {
        words_of(&machine, &findings, broken)
    })?;
    Ok(if broken { BROKEN } else { 0 })
}

impl Finding {
    fn fine(name: &'static str, words: impl Into<String>, facts: Value) -> Self {
        Self {
            name,
            state: State::Fine,
            words: words.into(),
            hint: None,
            facts,
        }
    }

    /// The same, but worse, with a remedy.
    fn but(self, state: State, hint: impl Into<String>) -> Self {
        Self {
            state,
            hint: Some(hint.into()),
            ..self
        }
    }
}

impl State {
    fn name(self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Odd => "note",
            Self::Broken => "broken",
        }
    }
}

fn processor(machine: &Machine) -> Finding {
    let name = machine.processor.as_deref().unwrap_or("unknown");
    let features = if machine.features.is_empty() {
        "none that matter".to_owned()
    } else {
        machine.features.join(" ")
    };
    let facts =
        json!({ "name": machine.processor, "features": machine.features, "cores": machine.cores });
    Finding::fine(
        "processor",
        format!(
            "{name}; {}; {features}",
            numbers::counted(machine.cores, "core")
        ),
        facts,
    )
}

fn kernels(machine: &Machine) -> Finding {
    let facts = json!({ "chosen": machine.kernels, "forced": machine.kernels_forced });
    let finding = Finding::fine("kernels", machine.kernels, facts);
    match machine.kernels {
        _ if machine.kernels_forced => finding.but(
            State::Odd,
            "TTSVAR_KERNELS chose them; without it the fastest are taken",
        ),
        "portable" if cfg!(target_arch = "x86_64") => finding.but(
            State::Odd,
            "this processor lacks AVX2 or FMA; everything works, about three times slower",
        ),
        _ => finding,
    }
}

fn threads(machine: &Machine) -> Finding {
    let finding = Finding::fine(
        "threads",
        machine.threads.to_string(),
        json!(machine.threads),
    );
    if machine.threads < machine.cores {
        return finding.but(
            State::Odd,
            format!("{} cores could be used; leave --threads out", machine.cores),
        );
    }
    finding
}

fn memory(machine: &Machine) -> Finding {
    let facts = json!({ "bytes": machine.memory, "available": machine.available });
    let (Some(all), Some(free)) = (machine.memory, machine.available) else {
        return Finding::fine("memory", "this system does not tell", facts);
    };
    let finding = Finding::fine(
        "memory",
        format!(
            "{}, of it free {}",
            numbers::bytes(all),
            numbers::bytes(free)
        ),
        facts,
    );
    if free < LITTLE_MEMORY {
        return finding.but(
            State::Odd,
            "close other programs; `ttsvar plan` predicts what a search takes",
        );
    }
    finding
}

fn demo() -> Finding {
    let bytes = system::demo_bytes();
    Finding::fine(
        "demo",
        format!("built in, {}", numbers::bytes(bytes)),
        json!({ "bytes": bytes }),
    )
}

/// Which released models could run with the files of a folder, and what the others lack.
fn weights(path: &Path) -> Finding {
    if !path.is_dir() {
        let words = format!("{}: no such folder", path.display());
        return Finding::fine(
            "weights",
            words,
            json!({ "folder": path.display().to_string() }),
        )
        .but(State::Broken, "give the folder with the downloaded files");
    }
    let missing = |name| {
        let bundle = system::find_bundle(name, Some(path))?;
        let scorer = kind(bundle.default_scorer()?)?;
        bundle.missing(&[&scorer.release])
    };
    let models = RELEASED.map(|name| {
        (
            name,
            missing(name).unwrap_or_else(|error: Error| vec![error.to_string()]),
        )
    });
    let whole: Vec<&str> = models
        .iter()
        .filter(|(_, missing)| missing.is_empty())
        .map(|(name, _)| *name)
        .collect();
    let folder = Folder::Disk(path.to_owned());
    let there = |entry: &&crate::hub::catalog::Entry| {
        entry
            .presence(&folder)
            .iter()
            .any(|file| file.found.is_some())
    };
    let found: Vec<&str> = ENTRIES
        .iter()
        .filter(there)
        .map(|entry| entry.name)
        .collect();
    let facts = json!({
        "folder": path.display().to_string(),
        "found": found,
        "models": models.iter().map(|(name, missing)| json!({ "name": name, "missing": missing })).collect::<Vec<_>>(),
    });
    let seen = if found.is_empty() {
        "nothing that is known".to_owned()
    } else {
        found.join(", ")
    };
    let runs = if whole.is_empty() {
        "no released model can run".to_owned()
    } else {
        format!("ready: {}", whole.join(", "))
    };
    let finding = Finding::fine(
        "weights",
        format!("{}: {seen}; {runs}", path.display()),
        facts,
    );
    if whole.is_empty() {
        let hint = format!(
            "`ttsvar models --weights {}` shows what each model lacks",
            path.display()
        );
        return finding.but(State::Odd, hint);
    }
    finding
}

/// What the self-test shows.
fn trials(machine: &Machine) -> Vec<Finding> {
    match trial::trial() {
        Ok(trial) => vec![
            loading(&trial),
            picture(machine, &trial),
            company(&trial),
            speed(machine, &trial),
        ],
        Err(error) => {
            let hint = error.hint().unwrap_or_else(|| {
                "build the program anew; if that does not help, report it".to_owned()
            });
            vec![
                Finding::fine("self-test", error.to_string(), Value::Null).but(State::Broken, hint),
            ]
        }
    }
}

fn loading(trial: &trial::Trial) -> Finding {
    Finding::fine(
        "loading",
        format!("{DEMO} in {:.2} s", trial.loading),
        json!({ "seconds": trial.loading }),
    )
}

/// Whether the picture shows what was asked for. Only machines with fused multiply-add can be
/// expected to paint the very picture that was recorded: elsewhere sums are rounded otherwise, and
/// a draw may fall differently.
fn picture(machine: &Machine, trial: &trial::Trial) -> Finding {
    let asked = trial::ASKED.words();
    let (same, fused) = (
        trial.difference == 0.0,
        machine.kernels != "portable" || cfg!(target_arch = "aarch64"),
    );
    let facts = json!({
        "prompt": asked, "right": trial.right, "found": trial.reason, "mean_difference": trial.difference,
        "same_bits": same, "same_bits_expected": fused,
    });
    let bits = if same {
        "the very picture that is on record".to_owned()
    } else {
        format!("{:.1} of 255 from the picture on record", trial.difference)
    };
    let finding = Finding::fine(
        "picture",
        format!("\"{asked}\": {}; {bits}", trial.reason),
        facts,
    );
    match (trial.right, same) {
        (false, _) => finding.but(State::Broken, "results cannot be trusted: try TTSVAR_KERNELS=portable, and report it"),
        (true, false) if fused => finding.but(
            State::Odd,
            "this machine or this version rounds differently from that of the record: pictures agree in kind, not in bits",
        ),
        _ => finding,
    }
}

fn company(trial: &trial::Trial) -> Finding {
    let facts = json!(trial.same_in_company);
    if trial.same_in_company {
        return Finding::fine(
            "company",
            "alone and among others, on one thread and on all: the same bits",
            facts,
        );
    }
    Finding::fine(
        "company",
        "a candidate depends on its neighbours or on the threads",
        facts,
    )
    .but(
        State::Broken,
        "pictures cannot be repeated here: try TTSVAR_KERNELS=portable, and report it",
    )
}

/// Operations in a second and thread that the demo reaches: measured for the first and the last on
/// two cores of an AMD EPYC, between them by the width of the vectors.
fn usual(kernels: &str) -> f64 {
    match kernels {
        "avx512" | "avx512bf16" => 40e9,
        "avx2" => 25e9,
        _ => 13e9,
    }
}

fn speed(machine: &Machine, trial: &trial::Trial) -> Finding {
    let (found, usual) = (trial.flops / machine.threads as f64, usual(machine.kernels));
    let rate = |flops: f64| format!("{}/s", numbers::operations(flops));
    let words = format!(
        "{} a thread; about {} is usual with these kernels",
        rate(found),
        rate(usual)
    );
    let facts = json!({ "flops_per_second_and_thread": found, "usual": usual });
    let finding = Finding::fine("speed", words, facts);
    if found < SLOW * usual {
        return finding.but(
            State::Odd,
            "other programs may be using the cores, or there are fewer of them than it seems",
        );
    }
    finding
}

fn words_of(machine: &Machine, findings: &[Finding], broken: bool) -> String {
    let mut table = Table::plain(3);
    for finding in findings {
        table.row([
            finding.state.name().to_owned(),
            finding.name.to_owned(),
            finding.words.clone(),
        ]);
        if let Some(hint) = &finding.hint {
            table.row([String::new(), String::new(), format!("hint: {hint}")]);
        }
    }
    let odd = findings
        .iter()
        .filter(|finding| finding.state == State::Odd)
        .count();
    let end = match (broken, odd) {
        (true, _) => "something is broken".to_owned(),
        (false, 0) => "all is well".to_owned(),
        (false, count) => format!("nothing is broken; {}", numbers::counted(count, "note")),
    };
    format!(
        "ttsvar {}, {}\n\n{table}\n\n{end}",
        env!("CARGO_PKG_VERSION"),
        machine.system
    )
}

fn json_of(machine: &Machine, findings: &[Finding], broken: bool) -> String {
    let finding = |finding: &Finding| {
        json!({
            "name": finding.name, "state": finding.state.name(), "words": finding.words, "hint": finding.hint,
            "facts": finding.facts,
        })
    };
    let object = json!({
        "version": env!("CARGO_PKG_VERSION"),
        "system": machine.system,
        "cuda": cfg!(feature = "cuda"),
        "ok": !broken,
        "findings": findings.iter().map(finding).collect::<Vec<_>>(),
    });
    object.to_string()
}
