//! `ttsvar bench`: how long a search takes and where the time goes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use ttsvar_search::{DecodeSize, Extractor, Features, Plan, Search};

use super::{
    arguments::{self, Global, Limit},
    console::Console,
    generate::fit_memory,
    numbers, preview_size,
    progress::Progress,
    table::{Align, Table},
};
use crate::{
    Error, Result,
    bench::{
        Architecture, BenchJob, Blocks, Measurement, Model, Redness, gpu_peak_bytes, measure,
        time_ops,
    },
    models::infinity::{Pixels, Schedule},
    options::Options,
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
    let order = Order {
        options: &typed.options,
        repeat: typed.repeat,
    };
    if order.repeat == 0 {
        return Err(
            Error::input("--repeat is 0, but something has to be timed").with_hint("3 is usual")
        );
    }
    let report = if typed.arch == DEMO {
        let mut builder = global.system(&System::builder(DEMO));
        builder.evict = typed.limit.memory.is_some();
        let system = builder.open()?;
        let mut session = Session::new(&system, order.options)?;
        fit_memory(&mut session, typed.limit, console)?;
        let search = session.search();
        let report = order.follow(search, session.plan(), session.method(), console)?;
        Report {
            gpu_bytes: gpu_peak_bytes(system.device()),
            ..report
        }
    } else {
        let (arch, schedule) = (Architecture::named(&typed.arch)?, schedule(typed)?);
        let dtype = global.dtype().into();
        let device = global.device.open()?;
        console.note(&format!(
            "making up {} weights",
            numbers::count(arch.values())
        ));
        let model = Model::new(arch, dtype, &device)?;
        let pipeline = model.pipeline(&schedule, order.rows(&model, &schedule, typed.limit)?)?;
        let features: Box<dyn Extractor> = Box::new(Blocks);
        let features = BTreeMap::from([(Features::Pca, features)]);
        let (plan, method) = MethodSpec::plan(order.options, schedule.grids.len())?;
        let search = Search::new(pipeline.as_ref(), &Redness, &features);
        let report = order.follow(search, &plan, method, console)?;
        Report {
            gpu_bytes: gpu_peak_bytes(&device),
            ..report
        }
    };
    let threads = rayon::current_num_threads();
    console.result(&if console.json {
        report.json(typed, global, threads).to_string()
    } else {
        report.words(typed, global, threads)
    })
}

/// Measures single operations.
fn ops(typed: &arguments::Bench, global: &Global, console: &Console) -> Result<()> {
    if typed.arch == DEMO {
        return Err(
            Error::input("single operations have the shapes of a released size")
                .with_hint("name one, as in `--arch infinity-layer12`"),
        );
    }
    let dtype = global.dtype().into();
    let device = global.device.open()?;
    let found = time_ops(
        Architecture::named(&typed.arch)?,
        &schedule(typed)?,
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

fn schedule(typed: &arguments::Bench) -> Result<Schedule> {
    Schedule::released(
        1.0,
        typed
            .options
            .pixels
            .as_deref()
            .map(str::parse)
            .transpose()?
            .unwrap_or(Pixels::P006M),
    )
}

/// What is asked of any model.
struct Order<'a> {
    options: &'a Options,
    repeat: usize,
}

impl Order<'_> {
    fn preview(&self) -> DecodeSize {
        self.options
            .preview
            .map_or(DecodeSize::Full, |preview| preview.0)
    }

    /// Rows that can run through a model together within the limit.
    fn rows(&self, model: &Model, schedule: &Schedule, limit: Limit) -> Result<usize> {
        let Some(limit) = limit.memory else {
            return Ok(usize::MAX);
        };
        let scales = schedule.grids.len();
        let (plan, _) = MethodSpec::plan(self.options, scales)?;
        let widths = plan.widths(scales);
        let decodes = plan.decodes(scales);
        let peak = |rows| {
            let pipeline = model.pipeline(schedule, rows)?;
            Ok(pipeline
                .estimate(&widths, &decodes, self.preview())
                .peak_bytes)
        };
        let most = widths.iter().copied().max().unwrap_or(1);
        match most_rows(most, limit, peak)? {
            Some(rows) => Ok(rows),
            None => Err(too_little_memory(peak(1)?, limit)),
        }
    }

    fn follow(
        &self,
        mut search: Search<'_>,
        plan: &Plan,
        method: MethodSpec,
        console: &Console,
    ) -> Result<Report> {
        search.preview = self.preview();
        let pipeline = search.pipeline;
        let mut progress = Progress::new(console, true);
        let job = BenchJob {
            search,
            plan: plan.clone(),
            repeat: self.repeat,
            seed: self.options.seed.unwrap_or(0),
        };
        let found = measure(&job, &mut progress)?;
        progress.clear();
        let scales = pipeline.scales();
        Ok(Report {
            named: method,
            grids: scales
                .iter()
                .map(|scale| [scale.height, scale.width])
                .collect(),
            widths: plan.widths(scales.len()),
            size: pipeline.image_size(),
            found,
            gpu_bytes: None,
        })
    }
}

/// What came out.
struct Report {
    named: MethodSpec,
    grids: Vec<[usize; 2]>,
    widths: Vec<usize>,
    size: (usize, usize),
    found: Measurement,
    /// The most memory of a GPU that tensors took.
    gpu_bytes: Option<u64>,
}

impl Report {
    fn method(&self) -> String {
        self.named
            .method
            .map_or_else(String::new, |method| method.to_string())
    }

    fn words(&self, typed: &arguments::Bench, global: &Global, threads: usize) -> String {
        use Align::{Left, Right};
        let Measurement {
            seconds,
            flops,
            states,
            decodes,
            range,
            peak_bytes,
            predicted_bytes,
        } = &self.found;
        let mut table = Table::new([
            ("phase", Left),
            ("seconds", Right),
            ("share", Right),
            ("GFLOP", Right),
            ("TFLOP/s", Right),
        ]);
        let mut row = |phase: String, time: f64, flops: f64| {
            let share = format!("{:.0} %", 100.0 * time / seconds.total);
            let (work, rate) = if flops > 0.0 {
                (
                    format!("{:.1}", flops / 1e9),
                    format!("{:.3}", flops / time / 1e12),
                )
            } else {
                ("-".to_owned(), "-".to_owned())
            };
            table.row([phase, format!("{time:.4}"), share, work, rate]);
        };
        row("text".to_owned(), seconds.text, flops.text);
        let transformer: f64 = seconds.transformer.iter().sum();
        row("transformer".to_owned(), transformer, flops.transformer);
        for ((scale, time), rows) in seconds.transformer.iter().enumerate().zip(states) {
            let [height, width] = self.grids[scale];
            row(
                format!("  {height}×{width}, {}", numbers::counted(*rows, "row")),
                *time,
                0.0,
            );
        }
        row(
            format!("decode, {}", numbers::counted(*decodes, "image")),
            seconds.decode,
            flops.decode,
        );
        row("features".to_owned(), seconds.features, flops.features);
        row("scorer".to_owned(), seconds.scorer, flops.scorer);
        row("selection".to_owned(), seconds.selection, 0.0);
        row("all".to_owned(), seconds.total, flops.total);
        let predicted = numbers::bytes(*predicted_bytes);
        let at_most = |bytes: Option<u64>, what: &str| {
            bytes.map_or(String::new(), |bytes| {
                format!(", {} of {what} at the peak", numbers::bytes(bytes))
            })
        };
        let memory = at_most(*peak_bytes, "memory") + &at_most(self.gpu_bytes, "GPU memory");
        format!(
            "{} at {}×{} in {}, {}, {}\n\n{table}\n\nmedians of {}: {:.3} to {:.3} s{memory}, {predicted} predicted",
            typed.arch,
            self.size.1,
            self.size.0,
            global.dtype(),
            self.named,
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
            flops,
            states,
            decodes,
            range,
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
            "method": self.method(),
            "n": self.named.n.unwrap_or(1),
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
