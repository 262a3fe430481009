//! `ttsvar bench`: how long a search takes and where the time goes.

use std::{collections::BTreeMap, time::Instant};

use serde_json::{Value, json};
use ttsvar_search::{Drafts, Extractor, Features, Plan, Prompt, Search, Seconds};

use super::{
    arguments::{self, Global, Limit},
    console::Console,
    generate::note_unused,
    memory::fit_memory,
    numbers, preview_size,
    progress::Progress,
    table::{Align, Table},
};
use crate::{
    Error, Result,
    bench::{BenchJob, Blocks, Measurement, Redness, gpu_peak_bytes, measure},
    options::Options,
    pipelines::{
        RandomArchitecture, RandomModel, architecture,
        infinity::random::{Architecture, time_ops},
    },
    request::{MethodSpec, Session},
    system::{DEMO, System, most_rows, too_little_memory},
};

/// Measures.
pub(super) fn run(typed: &arguments::Bench, global: &Global, console: &Console) -> Result<()> {
    if let Some(arguments::BenchWhat::Preview(typed)) = &typed.what {
        return preview_size::run(typed, global, console);
    }
    if typed.ops {
        return ops(typed, global, console);
    }
    typed.options.check()?;
    if typed.repeat == 0 {
        return Err(Error::input("--repeat must be at least 1").with_hint("the default is 3"));
    }
    let report = match typed.arch.as_str() {
        DEMO => measure_demo(typed, global, console)?,
        _ => measure_random(typed, global, console)?,
    };
    let threads = rayon::current_num_threads();
    console.result(&if console.json {
        report.json(typed, global, threads).to_string()
    } else {
        report.words(typed, global, threads)
    })
}

/// Measures a search of the demo.
fn measure_demo(typed: &arguments::Bench, global: &Global, console: &Console) -> Result<Report> {
    let opened = Instant::now();
    let system = global
        .system_within(&System::builder(DEMO), typed.limit)
        .open()?;
    let mut session = Session::new(&system, &typed.options)?;
    fit_memory(&mut session, typed.limit, console)?;
    note_unused(&typed.options, &session, false, console);
    let mut report = measure_search(
        typed,
        session.search(),
        Prompt::from("a photo of a red circle"),
        (session.plan(), session.method()),
        opened,
        console,
    )?;
    report.gpu_bytes = gpu_peak_bytes(system.device());
    Ok(report)
}

/// Measures a search of a released size with random weights.
fn measure_random(typed: &arguments::Bench, global: &Global, console: &Console) -> Result<Report> {
    let arch = architecture(&typed.arch)?;
    let options = typed.options.clone().or(&arch.smallest());
    let device = global.device.open()?;
    let scales = arch.outline(&options, global.dtype())?.scales().len();
    let (plan, method) = MethodSpec::plan(&options, scales, Drafts::default())?;
    plan.check(scales)?;
    console.note(&format!(
        "generating {} random weights",
        numbers::count(arch.values())
    ));
    let opened = Instant::now();
    let model = arch.build(global.dtype(), &device)?;
    let rows = rows_at_once(model.as_ref(), &options, &plan, scales, typed.limit)?;
    let pipeline = model.pipeline(&options, rows)?;
    let features: Box<dyn Extractor> = Box::new(Blocks);
    let features = BTreeMap::from([(Features::Pca, features)]);
    let mut search = Search::new(pipeline.as_ref(), &Redness, &features);
    search.preview = options.decode_size();
    let prompt = Prompt::from(model.prompt().as_str());
    let mut report = measure_search(typed, search, prompt, (&plan, method), opened, console)?;
    report.gpu_bytes = gpu_peak_bytes(&device);
    Ok(report)
}

/// The number of rows that can run through a model at once within the memory limit.
fn rows_at_once(
    model: &dyn RandomModel,
    options: &Options,
    plan: &Plan,
    scales: usize,
    limit: Limit,
) -> Result<usize> {
    let Some(limit) = limit.memory else {
        return Ok(usize::MAX);
    };
    let workload = plan.workload(scales, options.decode_size());
    let peak = |rows| {
        let pipeline = model.pipeline(options, rows)?;
        Ok(pipeline.estimate(&workload).peak_bytes)
    };
    match most_rows(workload.widest(), limit, peak)? {
        Some(rows) => Ok(rows),
        None => Err(too_little_memory(peak(1)?, limit)),
    }
}

fn measure_search(
    typed: &arguments::Bench,
    search: Search<'_>,
    prompt: Prompt,
    (plan, method): (&Plan, MethodSpec),
    opened: Instant,
    console: &Console,
) -> Result<Report> {
    let pipeline = search.pipeline;
    let mut progress = Progress::new(console, true);
    let job = BenchJob {
        search,
        prompt,
        plan: plan.clone(),
        repeat: typed.repeat,
        seed: typed.options.seed.unwrap_or(0),
        opened,
    };
    let found = measure(&job, &mut progress)?;
    progress.clear();
    let scales = pipeline.scales();
    Ok(Report {
        method,
        grids: scales.iter().map(|scale| scale.grid()).collect(),
        widths: plan.widths(scales.len()),
        size: pipeline.image_size(),
        found,
        gpu_bytes: None,
    })
}

/// Measures single operations.
fn ops(typed: &arguments::Bench, global: &Global, console: &Console) -> Result<()> {
    if typed.arch == DEMO {
        return Err(Error::input("--ops needs a released size")
            .with_hint("give one, such as `--arch infinity-layer12`"));
    }
    let dtype = global.dtype();
    let device = global.device.open()?;
    let arch = Architecture::named(&typed.arch)?;
    let found = time_ops(
        arch,
        &typed.options.clone().or(&arch.smallest()),
        dtype,
        &device,
    )?;
    if console.json {
        let ops: serde_json::Map<String, Value> = found
            .into_iter()
            .map(|(name, seconds)| (name.to_owned(), seconds.into()))
            .collect();
        return console.result(&json!({ "implementation": "ttsvar", "ops": ops }).to_string());
    }
    let mut table = Table::new([("operation", Align::Left), ("ms", Align::Right)]);
    for (name, seconds) in found {
        table.row([name.to_owned(), format!("{:.3}", 1e3 * seconds)]);
    }
    console.result(&table.to_string())
}

/// The results.
struct Report {
    method: MethodSpec,
    grids: Vec<[usize; 2]>,
    widths: Vec<usize>,
    size: (usize, usize),
    found: Measurement,
    /// Peak memory of tensors on the GPU.
    gpu_bytes: Option<u64>,
}

impl Report {
    fn words(&self, typed: &arguments::Bench, global: &Global, threads: usize) -> String {
        use Align::{Left, Right};
        let Measurement {
            seconds,
            spread: [least, most],
            flops,
            states,
            decodes,
            range,
            first_scale,
            peak_bytes,
            predicted_bytes,
        } = &self.found;
        let mut table = Table::new([
            ("phase", Left),
            ("seconds", Right),
            ("min to max", Right),
            ("share", Right),
            ("GFLOP", Right),
            ("TFLOP/s", Right),
        ]);
        let mut row = |phase: String, time_of: &dyn Fn(&Seconds) -> f64, flops: f64| {
            let time = time_of(seconds);
            let between = format!("{:.4} to {:.4}", time_of(least), time_of(most));
            let share = format!("{:.0} %", 100.0 * time / seconds.total);
            let (work, rate) = if flops > 0.0 {
                (
                    format!("{:.1}", flops / 1e9),
                    format!("{:.3}", flops / time / 1e12),
                )
            } else {
                ("-".to_owned(), "-".to_owned())
            };
            table.row([phase, format!("{time:.4}"), between, share, work, rate]);
        };
        row("text".to_owned(), &|phase| phase.text, flops.text);
        row(
            "transformer".to_owned(),
            &|phase| phase.transformer.iter().sum(),
            flops.transformer,
        );
        for (scale, rows) in states.iter().enumerate() {
            let [height, width] = self.grids[scale];
            row(
                format!("  {height}×{width}, {}", numbers::counted(*rows, "row")),
                &|phase| phase.transformer[scale],
                0.0,
            );
        }
        row(
            format!("decode, {}", numbers::counted(*decodes, "image")),
            &|phase| phase.decode,
            flops.decode,
        );
        row(
            "features".to_owned(),
            &|phase| phase.features,
            flops.features,
        );
        row("scorer".to_owned(), &|phase| phase.scorer, flops.scorer);
        row("selection".to_owned(), &|phase| phase.selection, 0.0);
        row("total".to_owned(), &|phase| phase.total, flops.total);
        let predicted = numbers::bytes(*predicted_bytes);
        let at_most = |bytes: Option<u64>, what: &str| {
            bytes.map_or(String::new(), |bytes| {
                format!(", {} of {what} at the peak", numbers::bytes(bytes))
            })
        };
        let memory = at_most(*peak_bytes, "memory") + &at_most(self.gpu_bytes, "GPU memory");
        format!(
            "{} at {}×{} in {}, {}, {}\n\n{table}\n\nmedians of {}: {:.3} to {:.3} s{memory}, {predicted} predicted\n\
             first scale {first_scale:.3} s after opening the model",
            typed.arch,
            self.size.1,
            self.size.0,
            global.dtype(),
            self.method,
            numbers::counted(threads, "thread"),
            numbers::counted(typed.repeat, "run"),
            range[0],
            range[1],
        )
    }

    /// With the fields of the peer.
    fn json(&self, typed: &arguments::Bench, global: &Global, threads: usize) -> Value {
        let Measurement {
            seconds,
            spread: [least, most],
            flops,
            states,
            decodes,
            range,
            first_scale,
            peak_bytes,
            predicted_bytes,
        } = &self.found;
        let (work, time) = (flops.transformer, seconds.transformer.iter().sum::<f64>());
        let mib = |bytes: u64| bytes as f64 / f64::from(1 << 20);
        let mut memory =
            json!({ "peak_rss": peak_bytes.map(mib), "predicted": mib(*predicted_bytes) });
        if let Some(bytes) = self.gpu_bytes {
            memory["cuda_max_allocated"] = mib(bytes).into();
        }
        let rate = |flops: f64, seconds: f64| {
            if seconds > 0.0 {
                flops / seconds / 1e12
            } else {
                0.0
            }
        };
        json!({
            "implementation": "ttsvar",
            "version": env!("CARGO_PKG_VERSION"),
            "size": typed.arch,
            "pn": typed.options.pixels,
            "pixels": self.size.0,
            "method": self.method.method.map_or(String::new(), |method| method.to_string()),
            "n": self.method.n.unwrap_or(1),
            "preview": typed.options.preview.map_or("full".to_owned(), |preview| preview.to_string()),
            "dtype": global.dtype().name(),
            "device": global.device.name(),
            "threads": threads,
            "seed": typed.options.seed.unwrap_or(0),
            "repeat": typed.repeat,
            "widths": self.widths,
            "states": states,
            "decodes": decodes,
            "seconds": {
                "text": seconds.text,
                "transformer": time,
                "decode": seconds.decode,
                "features": seconds.features,
                "scorer": seconds.scorer,
                "select": seconds.selection,
                "total": seconds.total,
                "transformer_per_scale": seconds.transformer,
            },
            "total_range": range,
            "spread": { "least": least, "most": most },
            "first_scale_s": first_scale,
            "images_per_s": 1.0 / seconds.total,
            "gflop": {
                "text": flops.text / 1e9,
                "transformer": work / 1e9,
                "decode": flops.decode / 1e9,
                "total": flops.total / 1e9,
            },
            "tflop_per_s": {
                "transformer": rate(work, time),
                "decode": rate(flops.decode, seconds.decode),
                "total": rate(flops.total, seconds.total),
            },
            "memory_mib": memory,
        })
    }
}
