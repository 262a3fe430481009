//! `ttsvar eval compbench`: T2I-CompBench's prompts, with images generated here or by other
//! programs.

use std::path::{Path, PathBuf};

use serde_json::{Map, Value, json};

use super::{
    super::{
        arguments::{CompBench as Typed, Global},
        console::Console,
    },
    benchmark::{self, BenchmarkResults, EvalTarget, ExternalContender, ImageLayout},
    context,
    networks::{CompBenchFiles, NeededNetworks},
};
use crate::{
    Error, Result,
    eval::{
        ResultRecord, Suite,
        geneval::self_test,
        t2i_compbench::{
            Category, CompBench, CompBenchFolder, Prompt, folder, prompts, results as official,
        },
        warnings,
    },
};

/// Images per prompt, as in the original's tables.
const SAMPLES: usize = 10;

pub(in super::super) fn run(typed: &Typed, global: &Global, console: &Console) -> Result<()> {
    let samples = typed.samples.unwrap_or(SAMPLES);
    if samples == 0 {
        return Err(Error::input(
            "--samples is 0, but every prompt needs at least 1 image",
        ));
    }
    let categories = typed
        .categories
        .iter()
        .map(|name| name.parse())
        .collect::<Result<Vec<Category>>>()?;
    let read = prompts::read(&typed.prompts, &categories)?;
    for fault in &read.faults {
        console.warn(fault, None);
    }
    let needs = NeededNetworks::for_prompts(&read.all);
    let weights = typed.benchmark.system.weights.as_deref();
    let files = CompBenchFiles::find(&typed.judges, needs, weights)?;
    let suite = open(&files, needs, read.all, typed.every_prompt, global, console)?;
    for warning in warnings::of_prompts(&suite.prompt_warnings()?, suite.cases()) {
        console.warn(&warning.text, Some(&warning.advice));
    }
    let mut notes = suite.differences();
    if let Some(name) = files.clip.as_deref().and_then(Path::file_name) {
        notes.push(format!(
            "images and prompts are compared by the CLIP {}; the original uses ViT-B/32",
            name.display()
        ));
    }
    let target = EvalTarget {
        title: "T2I-CompBench",
        suite: &suite,
        described: described(&suite, &files, &notes),
        samples,
        graded: true,
        notes,
        out: &typed.out,
        resume: typed.benchmark.resume,
    };
    let layout = CompBenchLayout {
        suite: &suite,
        samples,
    };
    let results = match typed.benchmark.images.as_slice() {
        [] => target.generate(&typed.benchmark, &layout, global, console)?,
        folders => {
            let contenders = external_contenders(folders, &suite, samples, console)?;
            target.compare(&contenders, console)?
        }
    };
    layout.write_results(&results, &typed.out, &target.notes)?;
    context::print_results(console, &results.tables, &typed.out)
}

/// The suite with the networks that it needs; runs the self-test if there is a detector.
fn open(
    files: &CompBenchFiles,
    needs: NeededNetworks,
    prompts: Vec<Prompt>,
    every: bool,
    global: &Global,
    console: &Console,
) -> Result<CompBench> {
    if needs.boxes {
        let images = self_test()?;
        console.note(&format!(
            "self-test: boxes and masks are right on {images} synthetic images"
        ));
    }
    let suite = CompBench::new(prompts, files.open(&global.device.open()?)?, every);
    if suite.cases().is_empty() {
        return Err(Error::input(
            "nothing can be evaluated: \
             every prompt names an object that the detector has no class for",
        )
        .with_hint("--every-prompt evaluates them anyway; such objects then count as not found"));
    }
    Ok(suite)
}

/// The description of the suite for the setup.
fn described(suite: &CompBench, files: &CompBenchFiles, notes: &[String]) -> Map<String, Value> {
    let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let prompts: Vec<Value> = suite
        .prompts()
        .map(|prompt| json!([prompt.category.name(), prompt.number, prompt.text]))
        .collect();
    let described = json!({
        "name": suite.name(),
        "prompts": prompts,
        "blip": path(&files.blip),
        "detector": path(&files.detector),
        "clip": path(&files.clip),
        "differences": notes,
    });
    described.as_object().cloned().unwrap_or_default()
}

/// The images in folders. Warns about problems.
fn external_contenders(
    folders: &[PathBuf],
    suite: &CompBench,
    samples: usize,
    console: &Console,
) -> Result<Vec<ExternalContender>> {
    let prompts: Vec<&Prompt> = suite.prompts().collect();
    let mut all = vec![];
    for (contender, path) in benchmark::contenders(folders)?.into_iter().zip(folders) {
        let folder = CompBenchFolder::read(path, &prompts, samples)?;
        for fault in &folder.faults {
            console.warn(fault, None);
        }
        all.push(ExternalContender {
            contender,
            folder: path.clone(),
            images: folder.images,
        });
    }
    Ok(all)
}

/// The original's layout: `color/samples/PROMPT_000012.png`, and the scores beside `samples`.
struct CompBenchLayout<'a> {
    suite: &'a CompBench,
    samples: usize,
}

impl CompBenchLayout<'_> {
    fn prompt(&self, record: &ResultRecord) -> Option<&Prompt> {
        self.suite.prompts().nth(record.case)
    }

    /// The number of an image in its category.
    fn number(&self, record: &ResultRecord) -> usize {
        self.prompt(record)
            .map_or(0, |prompt| prompt.number * self.samples + record.sample)
    }

    /// Writes `results/NAME/color/annotation_blip/vqa_result.json` and so on.
    fn write_results(
        &self,
        results: &BenchmarkResults,
        out: &Path,
        notes: &[String],
    ) -> Result<()> {
        for (name, contender) in &results.names {
            let home = out.join("results").join(name);
            benchmark::write(&home.join("differences.txt"), &(notes.join("\n") + "\n"))?;
            let records = results.records_of(contender);
            for category in Category::ALL {
                let numbered: Vec<(usize, &ResultRecord)> = records
                    .iter()
                    .filter(|(_, record)| record.task == category.name())
                    .map(|(_, record)| (self.number(record), *record))
                    .collect();
                if numbered.is_empty() {
                    continue;
                }
                for (file, text) in official::files(category, &numbered) {
                    benchmark::write(&home.join(category.name()).join(file), &text)?;
                }
            }
        }
        Ok(())
    }
}

impl ImageLayout for CompBenchLayout<'_> {
    fn path(&self, record: &ResultRecord) -> PathBuf {
        let name = folder::file_name(&record.prompt, self.number(record));
        Path::new(&record.task).join("samples").join(name)
    }

    fn write_metadata(&self, _: &Path, _: &ResultRecord) -> Result<()> {
        Ok(())
    }
}
