//! `ttsvar plan`: what a search would do and cost, scale by scale, without doing it.

use std::path::Path;

use serde_json::{Value, json};
use ttsvar_search::{Budget, Drafts, Features, Method, Plan, Scale, Stage};

use super::{
    arguments::{self, Global},
    console::Console,
    doctor,
    generate::note_unused,
    memory::fit_memory,
    numbers,
    table::{Align, Table},
};
use crate::{
    Error, Result,
    hub::{Description, released},
    options::{Options, plan_file},
    request::{Estimate, MethodSpec, Session, check_subject},
    scorers::ScorerMix,
    system::{self, ReleasedOutline, fit_outline},
};

/// Shows a plan.
pub(super) fn run(typed: &arguments::Plan, global: &Global, console: &Console) -> Result<()> {
    let options = options(typed)?;
    let model = typed.system.model_name();
    let outlook = if let Some(scales) = typed.scales {
        Outlook::without_model(&options, vec![None; checked_scales(scales)?])?
    } else if let (Some(description), None) = (released::description(model), &typed.system.weights)
    {
        Outlook::of_released(&description, options, typed, global, console)?
    } else {
        let builder = global.system_within(&typed.system, typed.limit);
        let system = console.open(&builder.may_lack_parts())?;
        system.expect_prompts(1);
        let mut session = Session::new(&system, &options)?;
        if options.class.is_some() {
            session.subject(None)?;
        }
        console.advise(&session);
        fit_memory(&mut session, typed.limit, console)?;
        note_unused(&options, &session, false, console);
        Outlook::of_session(&session)
    };
    console.result(&if console.json {
        outlook.json().to_string()
    } else if typed.toml {
        format!("# {}\n{}", outlook.method, outlook.plan.to_toml())
    } else {
        outlook.words()
    })
}

/// The options with the method or plan file that was named first.
fn options(typed: &arguments::Plan) -> Result<Options> {
    let mut options = typed.options.clone();
    if let Some(what) = &typed.what {
        let path = Path::new(what);
        match what.parse::<Method>() {
            Ok(method) => options.method = Some(method),
            Err(_) if path.exists() || path.extension().is_some() => {
                options.plan = Some(plan_file(path)?);
            }
            Err(error) => {
                let names = error.hint().unwrap_or_default();
                return Err(error.with_hint(format!("{names}, or a plan file")).into());
            }
        }
    }
    options.check()?;
    Ok(options)
}

/// A number of scales that can be listed.
fn checked_scales(scales: usize) -> Result<usize> {
    const MOST: usize = 1000;
    if scales > MOST {
        return Err(
            Error::input(format!("{scales} scales are more than any model has"))
                .with_hint(format!("give up to {MOST}; the released models have 13")),
        );
    }
    Ok(scales)
}

/// What a plan means for a model.
struct Outlook {
    plan: Plan,
    method: MethodSpec,
    /// The token grid of each scale; `None` where only their number is known.
    grids: Vec<Option<Scale>>,
    /// The branches of guidance that run at each scale; empty where they are not known.
    branches: Vec<usize>,
    /// What ends the search; `None` if only the plan does.
    budget: Option<Budget>,
    /// The cost of a round that runs to the end.
    cost: Option<Estimate>,
    /// The time that such a round may take, where it was estimated.
    duration: Option<Duration>,
}

/// An estimated time.
struct Duration {
    seconds: f64,
    /// Operations per second of the demo on this machine, from which it is estimated.
    flops_per_second: f64,
}

impl Outlook {
    fn without_model(options: &Options, grids: Vec<Option<Scale>>) -> Result<Self> {
        options.check_lengths(grids.len())?;
        let (plan, method) = MethodSpec::plan(options, grids.len(), Drafts::default())?;
        plan.check(grids.len())?;
        Ok(Self {
            plan,
            method,
            grids,
            branches: vec![],
            budget: options.budget,
            cost: None,
            duration: None,
        })
    }

    /// The outlook for a released model without its weights, whose sizes are known.
    fn of_released(
        description: &Description,
        options: Options,
        typed: &arguments::Plan,
        global: &Global,
        console: &Console,
    ) -> Result<Self> {
        let family = system::family(description.generator.family);
        let scorers = typed.system.scorer.as_ref();
        let usual = scorers.map_or(Method::Auto, ScorerMix::usual_method);
        let options = family.resolve(options, &description.defaults)?;
        let options = options.with_usual_method(usual);
        let outline = ReleasedOutline::new(description, &options, global.dtype())?
            .with_text_dtype(global.text_dtype());
        if let Some(class) = &options.class {
            match outline.generator.classes() {
                Some(classes) => _ = classes.find(class.as_str())?,
                None => check_subject(false, false, true)?,
            }
        }
        let scales: Vec<Option<Scale>> = outline.generator.scales().into_iter().map(Some).collect();
        let mut outlook = Self::without_model(&options, scales)?;
        outlook.branches = outline.generator.branches();
        let cost = released_cost(outline, &outlook.plan, &options, typed.limit, console)?;
        if typed.system.scorer.is_some() {
            console.note("without --weights, the cost of ImageReward is used for other scorers");
        }
        let flops_per_second = doctor::demo_speed()?;
        console.note(
            "an estimate from the published size of the model; the time is based on the speed of the \
             demo on this machine, as measured by `ttsvar doctor`",
        );
        outlook.duration = Some(Duration {
            seconds: total_flops(&cost) / flops_per_second,
            flops_per_second,
        });
        outlook.cost = Some(cost);
        Ok(outlook)
    }

    fn of_session(session: &Session) -> Self {
        let pipeline = session.pipeline();
        let scales = pipeline.scales();
        Self {
            plan: session.plan().clone(),
            method: session.method(),
            grids: scales.iter().copied().map(Some).collect(),
            branches: (0..scales.len())
                .map(|scale| pipeline.branches(scale))
                .collect(),
            budget: session.options().budget,
            cost: Some(session.estimate()),
            duration: None,
        }
    }

    /// Rows that are computed at a scale.
    fn rows(&self, scale: usize) -> usize {
        self.plan
            .widths(self.grids.len())
            .get(scale)
            .copied()
            .unwrap_or(0)
    }

    /// Rows that continue after a scale: after the last one, the best.
    fn on(&self, scale: usize) -> usize {
        if scale + 1 == self.grids.len() {
            return 1;
        }
        self.plan
            .stage(scale)
            .map_or_else(|| self.rows(scale), |stage| stage.width)
    }

    /// Returns whether some scales have an unconditional branch and others have none.
    fn has_mixed_branches(&self) -> bool {
        self.branches.windows(2).any(|pair| pair[0] != pair[1])
    }

    /// Rows that are computed at a scale, with the branches of guidance if they are mixed.
    fn computed(&self, scale: usize) -> String {
        let rows = self.rows(scale);
        match self.branches.get(scale) {
            Some(branches) if self.has_mixed_branches() => format!("{rows} × {branches}"),
            _ => rows.to_string(),
        }
    }

    fn scorings(&self) -> usize {
        self.plan.scorings(self.grids.len())
    }

    fn decodes(&self) -> usize {
        self.plan.decodes(self.grids.len()).iter().sum()
    }

    /// What happens after a scale.
    fn happens(&self, scale: usize) -> String {
        let last = scale + 1 == self.grids.len();
        let stage = self.plan.stage(scale).map(Stage::description);
        match (stage, last) {
            (Some(select), true) if self.on(scale) > 1 => format!("{select}, then the best"),
            (Some(select), _) => select,
            (None, true) => "the best".to_owned(),
            (None, false) => "-".to_owned(),
        }
    }

    fn words(&self) -> String {
        use Align::{Left, Right};
        let rows = match self.has_mixed_branches() {
            true => "rows × branches",
            false => "rows",
        };
        let heads = [
            ("scale", Right),
            ("grid", Left),
            (rows, Right),
            ("decodes", Right),
            ("selects", Left),
            ("continue", Right),
        ];
        let mut table = Table::new(heads);
        for (scale, (grid, decodes)) in self
            .grids
            .iter()
            .zip(self.plan.decodes(self.grids.len()))
            .enumerate()
        {
            let grid = grid.map_or("-".to_owned(), |grid| {
                format!("{}×{}", grid.height, grid.width)
            });
            let decodes = if decodes == 0 {
                "-".to_owned()
            } else {
                decodes.to_string()
            };
            table.row([
                scale.to_string(),
                grid,
                self.computed(scale),
                decodes,
                self.happens(scale),
                self.on(scale).to_string(),
            ]);
        }
        let counts = format!(
            "{}, {}",
            numbers::counted(self.decodes(), "decode"),
            numbers::counted(self.scorings(), "scoring")
        );
        let mut cost = self.cost.as_ref().map_or(String::new(), cost_words);
        if let Some(duration) = &self.duration {
            cost = format!("{cost}\n{}", duration.words());
        }
        let rounds = self.rounds().map_or(String::new(), |rounds| {
            format!("{rounds}; a round that runs to the end takes:\n")
        });
        let all = self.all_rounds().unwrap_or_default();
        format!(
            "{}\n\n{table}\n\n{rounds}{counts}\n{cost}\n{all}",
            self.method
        )
    }

    /// What ends the rounds, if there may be several.
    fn rounds(&self) -> Option<String> {
        let enough = self.plan.enough();
        let until = enough.map_or(String::new(), |enough| {
            format!(", until a score of {enough}")
        });
        match (self.budget, self.plan.rounds()) {
            (Some(budget), _) => Some(format!("rounds within a budget of {budget}{until}")),
            (None, 1) => None,
            (None, rounds) => Some(format!("at most {rounds} rounds{until}")),
        }
    }

    /// What all rounds take at most, if there are several and no budget ends them.
    fn all_rounds(&self) -> Option<String> {
        let rounds = self.plan.rounds();
        if self.budget.is_some() || rounds == 1 {
            return None;
        }
        let flops = rounds as f64 * total_flops(self.cost.as_ref()?);
        let duration = self.duration.as_ref().map_or(String::new(), |duration| {
            format!(", about {}", time(rounds as f64 * duration.seconds))
        });
        Some(format!(
            "all {rounds} rounds take at most {}{duration}",
            numbers::operations(flops)
        ))
    }

    fn json(&self) -> Value {
        let scales = self
            .grids
            .iter()
            .zip(self.plan.decodes(self.grids.len()))
            .enumerate();
        let scales: Vec<Value> = scales
            .map(|(scale, (grid, decodes))| {
                json!({
                    "scale": scale,
                    "grid": grid.map(|grid| [grid.height, grid.width]),
                    "rows": self.rows(scale),
                    "branches": self.branches.get(scale),
                    "decodes": decodes,
                    "select": self.plan.stage(scale).map(Stage::description),
                    "continue": self.on(scale),
                })
            })
            .collect();
        json!({
            "method": self.method.method,
            "n": self.method.n,
            "plan": self.plan,
            "budget": self.budget,
            "scales": scales,
            "decodes": self.decodes(),
            "scorings": self.scorings(),
            "flops": self.cost.as_ref().map(|cost| json!({
                "generator": cost.generator_flops,
                "scorer": cost.scorer_flops,
                "verifier": cost.verifier_flops,
                "features": cost.feature_flops,
                "total": total_flops(cost),
            })),
            "peak_bytes": self.cost.as_ref().map(|cost| cost.peak_bytes),
            "seconds": self.duration.as_ref().map(|duration| duration.seconds),
            "demo_flops_per_second": self
                .duration
                .as_ref()
                .map(|duration| duration.flops_per_second),
        })
    }
}

impl Duration {
    fn words(&self) -> String {
        format!(
            "about {} on this machine, at {}/s",
            time(self.seconds),
            numbers::operations(self.flops_per_second)
        )
    }
}

fn time(seconds: f64) -> String {
    match seconds {
        seconds if seconds < 120.0 => format!("{seconds:.0} s"),
        seconds if seconds < 7200.0 => format!("{:.0} min", seconds / 60.0),
        seconds => format!("{:.1} h", seconds / 3600.0),
    }
}

/// The cost of a plan for a released model, within the limit of memory if there is one.
fn released_cost(
    mut outline: ReleasedOutline,
    plan: &Plan,
    options: &Options,
    limit: arguments::Limit,
    console: &Console,
) -> Result<Estimate> {
    let scales = outline.generator.scales().len();
    let workload = plan.workload(scales, options.decode_size());
    let mut evicted = 0;
    if let Some(limit) = limit.memory {
        let memory;
        (outline, memory) = fit_outline(outline, &workload, limit)?;
        evicted = memory.evicted.len().min(2);
        let memory = memory.to_string();
        if !memory.is_empty() {
            console.note(&format!("to keep within the memory limit: {memory}"));
        }
    }
    let generator = outline.estimate(&workload, evicted);
    let scorings = plan.scorings(scales);
    let clustering = plan
        .stages()
        .iter()
        .filter(|stage| matches!(stage.select.features(), Some(kind) if kind != Features::Latent));
    Ok(Estimate {
        generator_flops: generator.flops,
        scorer_flops: outline.scorer_flops(scorings),
        verifier_flops: 0.0, // no released model has a latent verifier
        feature_flops: outline
            .feature_flops(clustering.map(|stage| workload.widths[stage.scale]).sum()),
        scorings,
        peak_bytes: generator.peak_bytes,
    })
}

fn cost_words(cost: &Estimate) -> String {
    let parts = [
        ("generator", cost.generator_flops),
        ("scorer", cost.scorer_flops),
        ("verifier", cost.verifier_flops),
        ("features", cost.feature_flops),
    ];
    let used = parts.into_iter().filter(|(_, flops)| *flops > 0.0);
    let used: Vec<String> = used
        .map(|(name, flops)| format!("{name} {}", numbers::operations(flops)))
        .collect();
    format!(
        "{}: {}\nat most {} of memory",
        numbers::operations(total_flops(cost)),
        used.join(", "),
        numbers::bytes(cost.peak_bytes)
    )
}

fn total_flops(cost: &Estimate) -> f64 {
    cost.generator_flops + cost.scorer_flops + cost.verifier_flops + cost.feature_flops
}
