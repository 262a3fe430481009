//! `ttsvar doctor`: shows what the program finds on this machine and checks that it works.

mod self_test;

pub(super) use self_test::demo_speed;

use std::path::Path;

use serde_json::{Value, json};

use self::self_test::SelfTest;
use super::{arguments, console::Console, numbers, table::Table};
use crate::{
    Error, Result,
    bench::Machine,
    hub::{Folder, bundle::check_downloads, catalog::ENTRIES, released},
    quoting,
    scorers::kind,
    system::{self, DEMO},
};

/// Exit code if something is broken.
const BROKEN: u8 = 1;

/// Free memory in bytes below which even the demo may not fit.
const LITTLE_MEMORY: u64 = 300_000_000;

/// The share of the usual speed below which there is a note.
const SLOW: f64 = 0.3;

/// The severity of a finding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Fine,
    /// Worth knowing; nothing is broken.
    Odd,
    Broken,
}

/// The result of one check.
struct Finding {
    name: &'static str,
    state: State,
    text: String,
    hint: Option<String>,
    /// The same as JSON.
    facts: Value,
}

/// Runs all checks and prints the findings; the exit code is 1 if something is broken.
pub(super) fn run(typed: &arguments::Doctor, console: &Console) -> Result<u8> {
    let machine = Machine::detect();
    let mut findings = vec![
        processor(&machine),
        kernels(&machine),
        threads(&machine),
        memory(&machine),
        demo(),
    ];
    findings.extend(typed.weights.as_deref().map(weights));
    findings.extend(self_test_findings(&machine));
    let broken = findings
        .iter()
        .any(|finding| finding.state == State::Broken);
    console.result(&if console.json {
        to_json(&machine, &findings, broken)
    } else {
        to_text(&machine, &findings, broken)
    })?;
    Ok(if broken { BROKEN } else { 0 })
}

impl Finding {
    fn fine(name: &'static str, text: impl Into<String>, facts: Value) -> Self {
        Self {
            name,
            state: State::Fine,
            text: text.into(),
            hint: None,
            facts,
        }
    }

    /// The same with another state and a hint.
    fn with_state(self, state: State, hint: impl Into<String>) -> Self {
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
        "no relevant features".to_owned()
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
        _ if machine.kernels_forced => finding.with_state(
            State::Odd,
            "chosen by TTSVAR_KERNELS; without it, the fastest are used",
        ),
        "portable" if cfg!(target_arch = "x86_64") => finding.with_state(
            State::Odd,
            "this processor lacks AVX2 or FMA; everything works, but about three times slower",
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
        return finding.with_state(
            State::Odd,
            format!("{} cores are available; remove --threads", machine.cores),
        );
    }
    finding
}

fn memory(machine: &Machine) -> Finding {
    let facts = json!({ "bytes": machine.memory, "available": machine.available });
    let (Some(all), Some(free)) = (machine.memory, machine.available) else {
        return Finding::fine("memory", "not available on this system", facts);
    };
    let finding = Finding::fine(
        "memory",
        format!("{}, {} free", numbers::bytes(all), numbers::bytes(free)),
        facts,
    );
    if free < LITTLE_MEMORY {
        return finding.with_state(
            State::Odd,
            "close other programs; `ttsvar plan` predicts how much memory a search needs",
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

/// The released models that can run with the files of a folder, and what the others lack.
fn weights(path: &Path) -> Finding {
    if let Err(error) = check_downloads(path) {
        let hint = error.hint().unwrap_or_default();
        return Finding::fine(
            "weights",
            error.to_string(),
            json!({ "folder": path.display().to_string() }),
        )
        .with_state(State::Broken, hint);
    }
    let missing = |name| {
        let bundle = system::find_bundle(name, Some(path))?;
        let scorer = kind(bundle.default_scorer()?)?;
        bundle.missing(&[&scorer.release])
    };
    let models = released::NAMES.map(|name| {
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
    let mut found = vec![];
    let mut incomplete = vec![];
    for entry in ENTRIES {
        let files = entry.presence(&folder);
        let present = files.iter().filter(|file| file.found.is_some()).count();
        if present == files.len() {
            found.push(entry.name);
        } else if present > 0 {
            incomplete.push(entry.name);
        }
    }
    let model = |(name, missing): &(&str, Vec<String>)| json!({ "name": name, "missing": missing });
    let facts = json!({
        "folder": path.display().to_string(),
        "found": found,
        "incomplete": incomplete,
        "models": models.iter().map(model).collect::<Vec<_>>(),
    });
    let mut known = vec![];
    if !found.is_empty() {
        known.push(found.join(", "));
    }
    if !incomplete.is_empty() {
        known.push(format!("some files of {}", incomplete.join(", ")));
    }
    let known = match known.is_empty() {
        true => "no known files".to_owned(),
        false => known.join("; "),
    };
    let runs = if whole.is_empty() {
        "no released model can run".to_owned()
    } else {
        format!("ready: {}", whole.join(", "))
    };
    let finding = Finding::fine(
        "weights",
        format!("{}: {known}; {runs}", path.display()),
        facts,
    );
    if whole.is_empty() {
        let hint = format!(
            "`ttsvar models --weights {}` shows what each model lacks",
            quoting::file_argument(path)
        );
        return finding.with_state(State::Odd, hint);
    }
    finding
}

/// The findings of the self-test.
fn self_test_findings(machine: &Machine) -> Vec<Finding> {
    match self_test::self_test() {
        Ok(test) => vec![
            loading(&test),
            image(machine, &test),
            batch_invariance(&test),
            speed(machine, &test),
        ],
        Err(error) => {
            let hint = error.hint().unwrap_or_else(|| {
                "rebuild the program; if that does not help, report it".to_owned()
            });
            vec![
                Finding::fine("self-test", error.to_string(), Value::Null)
                    .with_state(State::Broken, hint),
            ]
        }
    }
}

fn loading(test: &SelfTest) -> Finding {
    Finding::fine(
        "loading",
        format!("{DEMO} in {:.2} s", test.loading),
        json!({ "seconds": test.loading }),
    )
}

/// Checks that the image matches its prompt. Only machines with fused multiply-add are expected to
/// generate exactly the recorded image: on others, sums are rounded differently and a draw may
/// change.
fn image(machine: &Machine, test: &SelfTest) -> Finding {
    let prompt = self_test::PROMPT.text();
    let same = test.difference == 0.0;
    let fused = machine.kernels != "portable" || cfg!(target_arch = "aarch64");
    let facts = json!({
        "prompt": prompt,
        "right": test.right,
        "found": test.reason,
        "mean_difference": test.difference,
        "same_bits": same,
        "same_bits_expected": fused,
    });
    let bits = if same {
        "identical to the recorded image".to_owned()
    } else {
        format!(
            "differs from the recorded image by {:.1} of 255",
            test.difference
        )
    };
    let finding = Finding::fine(
        "image",
        format!("\"{prompt}\": {}; {bits}", test.reason),
        facts,
    );
    match (test.right, same) {
        (false, _) => finding.with_state(
            State::Broken,
            "results are not reliable: try TTSVAR_KERNELS=portable, and please report this",
        ),
        (true, false) if fused => finding.with_state(
            State::Odd,
            "this machine or version rounds differently: images are equivalent, not identical",
        ),
        _ => finding,
    }
}

fn batch_invariance(test: &SelfTest) -> Finding {
    let facts = json!(test.batch_invariant);
    if test.batch_invariant {
        return Finding::fine(
            "batch",
            "bit-identical alone on one thread and in a batch on all threads",
            facts,
        );
    }
    Finding::fine(
        "batch",
        "a candidate depends on its batch or on the number of threads",
        facts,
    )
    .with_state(
        State::Broken,
        "images cannot be reproduced here: try TTSVAR_KERNELS=portable, and please report this",
    )
}

/// Operations per second and thread of the demo: the first and the last are measured on two cores
/// of an AMD EPYC, the second is interpolated by vector width.
fn usual(kernels: &str) -> f64 {
    match kernels {
        "avx512" | "avx512bf16" => 40e9,
        "avx2" => 25e9,
        _ => 13e9,
    }
}

fn speed(machine: &Machine, test: &SelfTest) -> Finding {
    let found = test.flops / machine.threads as f64;
    let usual = usual(machine.kernels);
    let rate = |flops: f64| format!("{}/s", numbers::operations(flops));
    let text = format!(
        "{} per thread; about {} is usual with these kernels",
        rate(found),
        rate(usual)
    );
    let facts = json!({ "flops_per_second_and_thread": found, "usual": usual });
    let finding = Finding::fine("speed", text, facts);
    if found < SLOW * usual {
        return finding.with_state(
            State::Odd,
            "other programs may be using the cores, or there are fewer cores than reported",
        );
    }
    finding
}

fn to_text(machine: &Machine, findings: &[Finding], broken: bool) -> String {
    let mut table = Table::plain(3);
    for finding in findings {
        table.row([
            finding.state.name().to_owned(),
            finding.name.to_owned(),
            finding.text.clone(),
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
        (false, 0) => "everything works".to_owned(),
        (false, count) => format!("nothing is broken; {}", numbers::counted(count, "note")),
    };
    format!(
        "ttsvar {}, {}\n\n{table}\n\n{end}",
        env!("CARGO_PKG_VERSION"),
        machine.system
    )
}

fn to_json(machine: &Machine, findings: &[Finding], broken: bool) -> String {
    let finding = |finding: &Finding| {
        json!({
            "name": finding.name,
            "state": finding.state.name(),
            "words": finding.text,
            "hint": finding.hint,
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
