//! `ttsvar bench`: how long a search takes and where the time goes.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use ttsvar_search::{DecodeSize, Extractor, Features, Pipeline, Scorer, Search};

use super::{
    arguments::{self, Global, Limit},
    console::Console,
    numbers, preview_size,
    progress::Progress,
    request::{source, wish},
    system,
    table::{Align, Table},
};
use crate::{
    Error, Result,
    bench::{
        Architecture, BenchJob, Blocks, Measurement, Model, Redness, gpu_peak_bytes, measure,
        time_ops,
    },
    bundle::{DEMO, most_rows, too_little},
    hub::description::Defaults,
    models::infinity::{Pixels, Schedule},
    request::{Named, Wish, preview},
};

/// Measures.
pub(super) fn run(typed: &arguments::Bench, global: &Global, console: &Console) -> Result<()> {
    if let Some(arguments::BenchWhat::Preview(typed)) = &typed.what {
        return preview_size::run(typed, global, console);
    }
    if typed.ops {
        return ops(typed, global, console);
    }
    let wish = wish(source(&typed.method)?, &typed.choices)?;
    let request = BenchRequest {
        wish,
        preview: preview(typed.choices.preview.as_deref())?,
        repeat: typed.repeat,
        seed: typed.seed,
    };
    if request.repeat == 0 {
        return Err(Error::input("--repeat must be at least 1").with_hint("3 is usual"));
    }
    let report = if typed.arch == DEMO {
        if typed.pixels.is_some() {
            return Err(Error::input("the demo generates images of one size only")
                .with_hint("remove --pixels"));
        }
        let system = system::open_within(typed.limit, DEMO, None, None, global)?;
        let settings = system::fitted(
            &system,
            system.settings(),
            &request.wish,
            typed.limit,
            console,
        )?;
        let pipeline = system.pipeline(&settings)?;
        let report = request.measure(
            pipeline.as_ref(),
            system.scorer(),
            system.extractors(),
            console,
        )?;
        BenchReport {
            gpu_bytes: gpu_peak_bytes(system.device()),
            ..report
        }
    } else {
        let arch = Architecture::named(&typed.arch)?;
        let schedule = schedule(typed)?;
        let dtype = system::dtype(global.dtype())?;
        let device = system::device(&global.device)?;
        console.note(&format!(
            "generating {} random weights",
            numbers::count(arch.values())
        ));
        let model = Model::new(arch, dtype, &device)?;
        let pipeline = model.pipeline(&schedule, request.rows(&model, &schedule, typed.limit)?)?;
        let features: Box<dyn Extractor> = Box::new(Blocks);
        let features = BTreeMap::from([(Features::Pca, features)]);
        let report = request.measure(pipeline.as_ref(), &Redness, &features, console)?;
        BenchReport {
            gpu_bytes: gpu_peak_bytes(&device),
            ..report
        }
    };
    let threads = rayon::current_num_threads();
    console.result(&if console.json {
        report.json(typed, global, threads).to_string()
    } else {
        report.text(typed, global, threads)
    })
}

/// Measures single operations.
fn ops(typed: &arguments::Bench, global: &Global, console: &Console) -> Result<()> {
    if typed.arch == DEMO {
        return Err(Error::input("--ops needs a released size")
            .with_hint("give one, such as `--arch infinity-layer12`"));
    }
    let dtype = system::dtype(global.dtype())?;
    let device = system::device(&global.device)?;
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
            .pixels
            .as_deref()
            .map(str::parse)
            .transpose()?
            .unwrap_or(Pixels::P006M),
    )
}

/// The requested measurement, for any model.
struct BenchRequest {
    wish: Wish,
    preview: DecodeSize,
    repeat: usize,
    seed: u64,
}

impl BenchRequest {
    /// The number of rows that can run through a model at once within the memory limit.
    fn rows(&self, model: &Model, schedule: &Schedule, limit: Limit) -> Result<usize> {
        let Some(limit) = limit.memory else {
            return Ok(usize::MAX);
        };
        let scales = schedule.grids.len();
        let (plan, _) = self.wish.plan(scales, &Defaults::default())?;
        let widths = plan.widths(scales);
        let decodes = plan.decodes(scales);
        let peak = |rows| {
            Ok(model
                .pipeline(schedule, rows)?
                .estimate(&widths, &decodes, self.preview)
                .peak_bytes)
        };
        let most = widths.iter().copied().max().unwrap_or(1);
        most_rows(most, limit, peak)?.map_or_else(|| Err(too_little(peak(1)?, limit)), Ok)
    }

    fn measure(
        &self,
        pipeline: &dyn Pipeline,
        scorer: &dyn Scorer,
        extractors: &BTreeMap<Features, Box<dyn Extractor>>,
        console: &Console,
    ) -> Result<BenchReport> {
        let (plan, named) = self
            .wish
            .plan(pipeline.scales().len(), &Defaults::default())?;
        let mut search = Search::new(pipeline, scorer, extractors);
        search.preview = self.preview;
        let mut progress = Progress::new(console, true);
        let job = BenchJob {
            search,
            plan: plan.clone(),
            repeat: self.repeat,
            seed: self.seed,
        };
        let found = measure(&job, &mut progress)?;
        progress.clear();
        let grids = pipeline
            .scales()
            .iter()
            .map(|scale| [scale.height, scale.width])
            .collect();
        let widths = plan.widths(pipeline.scales().len());
        Ok(BenchReport {
            named,
            grids,
            widths,
            size: pipeline.image_size(),
            found,
            gpu_bytes: None,
        })
    }
}

/// The results.
struct BenchReport {
    named: Named,
    grids: Vec<[usize; 2]>,
    widths: Vec<usize>,
    size: (usize, usize),
    found: Measurement,
    /// Peak memory of tensors on the GPU.
    gpu_bytes: Option<u64>,
}

impl BenchReport {
    fn method(&self) -> String {
        self.named
            .method
            .map_or_else(String::new, |method| method.to_string())
    }

    fn text(&self, typed: &arguments::Bench, global: &Global, threads: usize) -> String {
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
            let mut work = "-".to_owned();
            let mut rate = "-".to_owned();
            if flops > 0.0 {
                work = format!("{:.1}", flops / 1e9);
                rate = format!("{:.3}", flops / time / 1e12);
            }
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
        row("total".to_owned(), seconds.total, flops.total);
        let predicted = numbers::bytes(*predicted_bytes);
        let at_peak = |bytes: Option<u64>, what: &str| {
            bytes.map_or(String::new(), |bytes| {
                format!(", {} of {what} at the peak", numbers::bytes(bytes))
            })
        };
        let memory = at_peak(*peak_bytes, "memory") + &at_peak(self.gpu_bytes, "GPU memory");
        format!(
            "{} at {}×{} in {}, {}, {}\n\n{table}\n\n\
             medians of {}: {:.3} to {:.3} s{memory}, {predicted} predicted",
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

    /// The report as JSON, with the same fields as the peer.
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
        let work = flops.transformer;
        let time = seconds.transformer.iter().sum::<f64>();
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
            "pn": typed.pixels,
            "pixels": self.size.0,
            "method": self.method(),
            "n": self.named.n.unwrap_or(1),
            "preview": typed.choices.preview.as_deref().unwrap_or("full"),
            "dtype": global.dtype(),
            "device": global.device,
            "threads": threads,
            "seed": typed.seed,
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
