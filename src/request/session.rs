//! A session: a system set up by options, ready to search any number of prompts.
//!
//! [`Session::new`] goes from options to a search, for every front end: it completes the options,
//! sets up the generator, makes the plan and checks that it fits. [`Session::run`] passes a prompt
//! to the search loop. Read on there: `crates/ttsvar-search/src/run.rs`.

use serde_json::{Map, Value};
use ttsvar_search::{Listener, Outcome, Pipeline, Plan, Prompt, Search, run};

use super::{MethodSpec, recorded};
use crate::{
    Result,
    options::Options,
    system::{MemoryLimit, MemoryPlan, System, too_little_memory},
};

/// A system set up for searches.
pub struct Session<'a> {
    system: &'a System,
    options: Options,
    method: MethodSpec,
    plan: Plan,
    pipeline: Box<dyn Pipeline + 'a>,
}

/// The expected cost of a search.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    /// Floating-point operations of text encoder, transformer and decoder.
    pub generator_flops: f64,
    /// Floating-point operations of all scorers.
    pub scorer_flops: f64,
    /// Floating-point operations of the features.
    pub feature_flops: f64,
    /// Images scored.
    pub scorings: usize,
    /// Bytes of memory at the peak.
    pub peak_bytes: u64,
}

impl<'a> Session<'a> {
    /// Sets a system up by `options`; the bundle's defaults and the released values fill unset
    /// ones.
    ///
    /// # Errors
    /// An option is out of range or does not fit the model, or the system lacks what the plan
    /// needs.
    pub fn new(system: &'a System, options: &Options) -> Result<Self> {
        let options = system.resolve(options)?;
        options.check_ranges()?;
        let pipeline = system.pipeline(&options, None)?;
        let (plan, method) = MethodSpec::plan(&options, pipeline.scales().len())?;
        system.search(pipeline.as_ref()).check(&plan)?;
        Ok(Self {
            system,
            options,
            method,
            plan,
            pipeline,
        })
    }

    /// Keeps searches within a limit of memory, and returns the measures taken.
    ///
    /// # Errors
    /// They do not fit; the error names the memory that they need.
    pub fn fit_memory(&mut self, limit: MemoryLimit) -> Result<MemoryPlan> {
        let plan = self.plan.clone();
        self.fit_plans([&plan], limit)
    }

    /// The same for searches by any of these plans instead of the session's own.
    ///
    /// # Errors
    /// As [`Session::fit_memory`].
    pub fn fit_plans<'p>(
        &mut self,
        plans: impl IntoIterator<Item = &'p Plan>,
        limit: MemoryLimit,
    ) -> Result<MemoryPlan> {
        let (widths, decodes) = self.widest(plans);
        let fit = self
            .system
            .fit_memory(&self.options, &widths, &decodes, limit)?;
        self.pipeline = self.system.pipeline(&self.options, fit.rows_at_once)?;
        Ok(fit)
    }

    /// Keeps searches within a limit by running fewer rows at once. Networks stay where they are,
    /// since other sessions may use them.
    ///
    /// # Errors
    /// As [`Session::fit_memory`].
    pub fn fit_rows(&mut self, limit: MemoryLimit) -> Result<()> {
        let (widths, decodes) = self.widest([&self.plan]);
        let rows = self
            .system
            .rows_within(&self.options, &widths, &decodes, limit)?;
        match rows {
            Ok(rows) => {
                self.pipeline = self.system.pipeline(&self.options, rows)?;
                Ok(())
            }
            Err(least) => Err(too_little_memory(least, limit.bytes)),
        }
    }

    /// The most rows and the most decoded images of any of these plans at each scale.
    fn widest<'p>(&self, plans: impl IntoIterator<Item = &'p Plan>) -> (Vec<usize>, Vec<usize>) {
        let scales = self.pipeline.scales().len();
        let mut widths = vec![0; scales];
        let mut decodes = vec![0; scales];
        for plan in plans {
            raise(&mut widths, &plan.widths(scales));
            raise(&mut decodes, &plan.decodes(scales));
        }
        (widths, decodes)
    }

    /// What a user should know about the options, if anything.
    pub fn advice(&self) -> Option<String> {
        self.system.advice(&self.options)
    }

    /// The system.
    pub fn system(&self) -> &'a System {
        self.system
    }

    /// The options, completed.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// The name of the plan.
    pub fn method(&self) -> MethodSpec {
        self.method
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// The generator, set up.
    pub fn pipeline(&self) -> &dyn Pipeline {
        self.pipeline.as_ref()
    }

    /// The search that [`Session::run`] runs, for callers who run it themselves.
    pub fn search(&self) -> Search<'_> {
        let mut search = self.system.search(self.pipeline.as_ref());
        search.preview = self.options.decode_size();
        search.settings = self.settings();
        search
    }

    /// A prompt with the session's negative prompt.
    pub fn prompt(&self, text: &str) -> Prompt {
        Prompt {
            text: text.to_owned(),
            negative: self.options.negative.clone(),
        }
    }

    /// Searches for the best image of a prompt.
    ///
    /// # Errors
    /// The generator, a scorer, the features or the listener fail.
    pub fn run(&self, text: &str, seed: u64, listener: &mut dyn Listener) -> Result<Outcome> {
        Ok(run(
            &self.search(),
            &self.prompt(text),
            &self.plan,
            seed,
            listener,
        )?)
    }

    /// The settings that traces and images record.
    pub fn settings(&self) -> Map<String, Value> {
        recorded::settings(self.system, &self.options, self.method)
    }

    /// The settings of the generator without the method, for evaluations that record their plans
    /// separately.
    pub fn generator_settings(&self) -> Map<String, Value> {
        recorded::settings(self.system, &self.options, MethodSpec::default())
    }

    /// The expected cost of one search.
    pub fn estimate(&self) -> Estimate {
        let scales = self.pipeline.scales().len();
        let widths = self.plan.widths(scales);
        let decodes = self.plan.decodes(scales);
        let generator = self
            .pipeline
            .estimate(&widths, &decodes, self.options.decode_size());
        let scorings = self.plan.scorings(scales);
        let mut feature_flops = 0.0;
        for (kind, extractor) in self.system.extractors() {
            let stages = self.plan.stages().iter();
            let clustering = stages.filter(|stage| stage.select.features() == Some(*kind));
            feature_flops += extractor.flops(clustering.map(|stage| widths[stage.scale]).sum());
        }
        Estimate {
            generator_flops: generator.flops,
            scorer_flops: self.search().scoring_flops(scorings),
            feature_flops,
            scorings,
            peak_bytes: generator.peak_bytes,
        }
    }
}

/// Raises each number to the other, where that is larger.
fn raise(numbers: &mut [usize], others: &[usize]) {
    for (number, other) in numbers.iter_mut().zip(others) {
        *number = (*number).max(*other);
    }
}
