//! `ttsvar plan`: what a search would do and cost, scale by scale, without doing it.

use std::path::Path;

use serde_json::{Value, json};
use ttsvar_search::{DecodeSize, Method, Plan, Scale};

use super::{
    arguments::{self, Drawing, Global},
    console::Console,
    numbers,
    request::{look, wish},
    system,
    table::{Align, Table},
};
use crate::{
    Error, Result,
    bundle::{DEMO, Settings, System},
    hub::{bundle, description::Defaults},
    models::infinity::{Pixels, Schedule},
    request::{Look, Named, Source, Wish, plan_file, preview},
};

/// Shows a plan.
pub(super) fn run(typed: &arguments::Plan, global: &Global, talk: &Console) -> Result<()> {
    let wish = wish(source(typed)?, &typed.choices)?;
    let look = look(
        &typed.canvas,
        Drawing {
            cfg: typed.cfg,
            ..Drawing::default()
        },
    )?;
    let preview = preview(typed.choices.preview.as_deref())?;
    let model = typed.model.model.as_deref().unwrap_or(DEMO);
    let outlook = if let Some(scales) = typed.scales {
        Outlook::of_scales(&wish, counted(scales)?, &Defaults::default())?
    } else if let (Some(description), None) = (bundle::released(model), &typed.model.weights) {
        talk.note("without --weights the cost of this model is not known");
        Outlook::of_released(&wish, &look, &description.defaults)?
    } else {
        let (weights, judging) = (
            typed.model.weights.as_deref(),
            system::judging(&typed.model)?,
        );
        let system = system::open_within(typed.limit, model, weights, judging.as_ref(), global)?;
        let settings = system::fitted(
            &system,
            look.settings(system.defaults()),
            &wish,
            typed.limit,
            talk,
        )?;
        Outlook::of_system(&wish, &settings, preview, &system)?
    };
    talk.result(&if talk.json {
        outlook.json().to_string()
    } else if typed.toml {
        format!("# {}\n{}", outlook.named, outlook.plan.to_toml())
    } else {
        outlook.words()
    })
}

/// A number of scales that can be listed.
fn counted(scales: usize) -> Result<usize> {
    const MOST: usize = 1000;
    if scales > MOST {
        return Err(
            Error::input(format!("{scales} scales are more than any model has"))
                .with_hint(format!("give {MOST} at most; the released models have 13")),
        );
    }
    Ok(scales)
}

/// A method by its name, or else a file.
fn source(typed: &arguments::Plan) -> Result<Source> {
    let method: Result<Option<Method>, ttsvar_search::Error> =
        typed.plan.as_deref().map(str::parse).transpose();
    let schedule = typed.schedule.as_deref().map(str::parse).transpose()?;
    match (method, typed.plan.as_deref().map(Path::new)) {
        (Ok(method), _) => Ok(Source::Method(Named {
            method,
            n: typed.n,
            schedule,
        })),
        (Err(_), Some(path)) if path.exists() || path.extension().is_some() => {
            if typed.n.is_some() || schedule.is_some() {
                return Err(
                    Error::input("a plan file says all of its widths itself").with_hint(
                        "leave --n and --schedule out, or name a method instead of a file",
                    ),
                );
            }
            Ok(Source::Plan(plan_file(path)?, Named::default()))
        }
        (Err(error), _) => {
            let hint = error
                .hint()
                .map_or(String::new(), |hint| format!("{hint}, or a plan file"));
            Err(error.with_hint(hint).into())
        }
    }
}

/// What a plan means for a model.
struct Outlook {
    plan: Plan,
    named: Named,
    /// As many as there are scales; none where the grid is not known.
    grids: Vec<Option<Scale>>,
    cost: Option<Cost>,
}

/// What it takes.
struct Cost {
    generator: f64,
    scorer: f64,
    features: f64,
    peak_bytes: u64,
}

impl Outlook {
    fn of_scales(wish: &Wish, scales: usize, defaults: &Defaults) -> Result<Self> {
        Self::new(wish, vec![None; scales], defaults)
    }

    fn of_released(wish: &Wish, look: &Look, defaults: &Defaults) -> Result<Self> {
        let settings = look.settings(defaults);
        let usual = defaults
            .pixels
            .as_deref()
            .map(str::parse)
            .transpose()?
            .unwrap_or(Pixels::P1M);
        let schedule = Schedule::released(
            settings.aspect.unwrap_or(1.0),
            settings.pixels.unwrap_or(usual),
        )?;
        let grid = |&(height, width): &(usize, usize)| Some(Scale { height, width });
        Self::new(wish, schedule.grids.iter().map(grid).collect(), defaults)
    }

    fn of_system(
        wish: &Wish,
        settings: &Settings,
        preview: DecodeSize,
        system: &System,
    ) -> Result<Self> {
        let pipeline = system.pipeline(settings)?;
        let grids: Vec<Option<Scale>> = pipeline.scales().iter().copied().map(Some).collect();
        let mut outlook = Self::new(wish, grids, system.defaults())?;
        let plan = &outlook.plan;
        let search = system::search(system, pipeline.as_ref());
        search.check(plan)?;
        let scales = outlook.grids.len();
        let estimate = pipeline.estimate(&plan.widths(scales), &plan.decodes(scales), preview);
        let described = |kind| {
            let rows = plan
                .stages()
                .iter()
                .filter(|stage| stage.select.features() == Some(kind));
            rows.map(|stage| outlook.rows(stage.scale)).sum::<usize>()
        };
        let features = system
            .extractors()
            .iter()
            .map(|(&kind, extractor)| extractor.flops(described(kind)))
            .sum();
        outlook.cost = Some(Cost {
            generator: estimate.flops,
            scorer: search.scoring_flops(outlook.scorings()),
            features,
            peak_bytes: estimate.peak_bytes,
        });
        Ok(outlook)
    }

    fn new(wish: &Wish, grids: Vec<Option<Scale>>, defaults: &Defaults) -> Result<Self> {
        let (plan, named) = wish.plan(grids.len(), defaults)?;
        plan.check(grids.len())?;
        Ok(Self {
            plan,
            named,
            grids,
            cost: None,
        })
    }

    /// Rows that are computed at a scale.
    fn rows(&self, scale: usize) -> usize {
        self.plan
            .widths(self.grids.len())
            .get(scale)
            .copied()
            .unwrap_or(0)
    }

    /// Rows that go on after a scale.
    fn on(&self, scale: usize) -> usize {
        self.plan
            .stage(scale)
            .map_or_else(|| self.rows(scale), |stage| stage.width)
    }

    /// Images that are scored: where a stage reads scores, and at the end.
    fn scorings(&self) -> usize {
        let reads = |scale| {
            self.plan
                .stage(scale)
                .is_some_and(|stage| stage.select.scores())
        };
        let last = self.grids.len().saturating_sub(1);
        let stages: usize = (0..=last)
            .filter(|&scale| reads(scale))
            .map(|scale| self.rows(scale))
            .sum();
        if reads(last) {
            stages
        } else {
            stages + self.on(last)
        }
    }

    fn decodes(&self) -> usize {
        self.plan.decodes(self.grids.len()).iter().sum()
    }

    /// What happens after a scale.
    fn happens(&self, scale: usize) -> String {
        let last = scale + 1 == self.grids.len();
        let stage = self.plan.stage(scale).map(|stage| stage.select.to_string());
        match (stage, last) {
            (Some(select), true) if self.on(scale) > 1 => format!("{select}, then the best"),
            (Some(select), _) => select,
            (None, true) => "the best".to_owned(),
            (None, false) => "-".to_owned(),
        }
    }

    fn words(&self) -> String {
        use Align::{Left, Right};
        let heads = [
            ("scale", Right),
            ("grid", Left),
            ("rows", Right),
            ("decodes", Right),
            ("selects", Left),
            ("go on", Right),
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
            let on = if scale + 1 == self.grids.len() {
                1
            } else {
                self.on(scale)
            };
            table.row([
                scale.to_string(),
                grid,
                self.rows(scale).to_string(),
                decodes,
                self.happens(scale),
                on.to_string(),
            ]);
        }
        let counts = format!(
            "{}, {}",
            numbers::counted(self.decodes(), "decode"),
            numbers::counted(self.scorings(), "scoring")
        );
        let cost = self.cost.as_ref().map_or(String::new(), Cost::words);
        let rounds = self.plan.enough().map_or(String::new(), |enough| {
            format!(
                "in each of at most {}, until a score of {enough}:\n",
                numbers::counted(self.plan.rounds(), "round")
            )
        });
        format!("{}\n\n{table}\n\n{rounds}{counts}\n{cost}", self.named)
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
                    "decodes": decodes,
                    "select": self.plan.stage(scale).map(|stage| stage.select.to_string()),
                    "go_on": self.on(scale),
                })
            })
            .collect();
        json!({
            "method": self.named.method.map(|method| method.to_string()),
            "n": self.named.n,
            "plan": self.plan,
            "scales": scales,
            "decodes": self.decodes(),
            "scorings": self.scorings(),
            "flops": self.cost.as_ref().map(|cost| json!({
                "generator": cost.generator,
                "scorer": cost.scorer,
                "features": cost.features,
                "total": cost.total(),
            })),
            "peak_bytes": self.cost.as_ref().map(|cost| cost.peak_bytes),
        })
    }
}

impl Cost {
    fn total(&self) -> f64 {
        self.generator + self.scorer + self.features
    }

    fn words(&self) -> String {
        let Self {
            generator,
            scorer,
            features,
            peak_bytes,
        } = *self;
        let [all, generator, scorer, features] =
            [self.total(), generator, scorer, features].map(numbers::operations);
        format!(
            "{all}: generator {generator}, scorer {scorer}, features {features}\nat most {} of memory",
            numbers::bytes(peak_bytes)
        )
    }
}
