//! Which model, who scores, where it computes and in what numbers.

use std::path::Path;

use ttsvar_search::{Pipeline, Search, WeightedScorer};

use super::Wish;
use crate::{
    Error, Result,
    bundle::{self, DEMO, DType, Device, Fit, LoadedScorer, ScorerMix, Scorers, Settings, System},
    hub::bundle::FILE,
};

/// Loads a model with its usual scorer, after a look whether all of its files are there; see
/// [`System::open`] for the names.
///
/// # Errors
/// The model, the type or the device is not known or not there, or a file of the model is missing
/// or damaged.
pub fn open(
    model: &str,
    weights: Option<&Path>,
    dtype_name: &str,
    device_name: &str,
) -> Result<System> {
    open_judged(model, weights, None, true, dtype_name, device_name)
}

/// The same with the scorers that are wanted. Unless everything `stays` in memory, for a search
/// that is then brought within a limit by [`fit`].
///
/// # Errors
/// As [`open`], or the model has no such scorer.
pub fn open_judged(
    model: &str,
    weights: Option<&Path>,
    judging: Option<&ScorerMix>,
    stays: bool,
    dtype_name: &str,
    device_name: &str,
) -> Result<System> {
    let (dtype, device) = (dtype(dtype_name)?, device(device_name)?);
    let bundle = bundle::find(model, weights)?;
    if let (DEMO, None, Some(folder)) = (
        model,
        judging,
        weights.filter(|folder| !folder.join(FILE).exists()),
    ) {
        return Err(Error::file(
            folder,
            "the demo brings its own weights, and nothing was named that lies there",
        )
        .with_hint(
            "name a released model, --model infinity-2b, or a released scorer, --scorer hps",
        ));
    }
    let families = match judging {
        Some(judging) => judging.families(),
        None => vec![bundle.usual_scorer()?],
    };
    complete(
        weights.unwrap_or(&bundle.folder().path()),
        &bundle.missing(&families)?,
    )?;
    System::open_judged(&bundle, judging, stays, dtype, &device)
}

/// Loads scorers alone, and says whether they are the demo's; see [`Scorers::find`].
///
/// # Errors
/// As [`open_judged`].
pub fn scorers(
    model: Option<&str>,
    weights: Option<&Path>,
    judging: Option<&ScorerMix>,
    dtype_name: &str,
    device_name: &str,
) -> Result<(Vec<LoadedScorer>, bool)> {
    let (dtype, device) = (dtype(dtype_name)?, device(device_name)?);
    let scorers = Scorers::find(model, weights, judging)?;
    complete(
        weights.or(model.map(Path::new)).unwrap_or(Path::new(DEMO)),
        &scorers.missing(),
    )?;
    Ok((scorers.open(dtype, &device)?, scorers.of_demo))
}

/// What a system searches with: all of its scorers.
pub fn search<'a>(system: &'a System, pipeline: &'a dyn Pipeline) -> Search<'a> {
    let weighted = |judge: &'a LoadedScorer| WeightedScorer {
        name: &judge.name,
        weight: judge.weight,
        scorer: judge,
    };
    let scorers = system.judges().iter().map(weighted).collect();
    Search::new(pipeline, system.scorer(), system.extractors()).judged_by(scorers)
}

/// How the wished search keeps to `limit` bytes; see [`System::fit`].
///
/// # Errors
/// It cannot, or the numbers do not go together.
pub fn fit(system: &System, settings: &Settings, wish: &Wish, limit: u64) -> Result<Fit> {
    let scales = system.pipeline(settings)?.scales().len();
    let (plan, _) = wish.plan(scales, system.defaults())?;
    system.fit(
        settings,
        [&plan.widths(scales), &plan.decodes(scales)],
        limit,
    )
}

/// # Errors
/// Something is missing in a folder.
fn complete(folder: &Path, missing: &[String]) -> Result<()> {
    if missing.is_empty() {
        return Ok(());
    }
    let count = missing.len();
    let files = if count == 1 {
        "1 file is".to_owned()
    } else {
        format!("{count} files are")
    };
    Err(Error::file(folder, format!("{files} missing: {}", missing.join(", "))).with_hint(
        "`ttsvar models --weights DIR` shows what each model needs and what is in DIR, `ttsvar models fetch` brings it",
    ))
}

/// The device of a name, `cpu` or `cuda`.
///
/// # Errors
/// The name is not known, or this program or this machine has no such device.
pub fn device(name: &str) -> Result<Device> {
    match name {
        "cpu" => Ok(Device::Cpu),
        "cuda" if !cfg!(feature = "cuda") => {
            Err(Error::input("this program was built without CUDA")
                .with_hint("build it with `cargo build --release --features cuda`"))
        }
        "cuda" => bundle::open_gpu().map_err(|error| {
            Error::input(format!("no CUDA device can be used: {error}"))
                .with_hint("leave --device out to use the CPU")
        }),
        _ => {
            Err(Error::input(format!("unknown device `{name}`"))
                .with_hint("expected `cpu` or `cuda`"))
        }
    }
}

/// The type of matrices of a name, `f32` or `bf16`.
///
/// # Errors
/// The name is not known.
pub fn dtype(name: &str) -> Result<DType> {
    match name {
        "f32" => Ok(DType::F32),
        "bf16" => Ok(DType::BF16),
        _ => Err(Error::input(format!("unknown type of numbers `{name}`"))
            .with_hint("expected `f32` or `bf16`")),
    }
}
