//! `ttsvar plan`: what a search would do and cost, scale by scale, without doing it.

use std::path::Path;

use serde_json::{Value, json};
use ttsvar_search::{Method, Plan, Scale};

use super::{
    arguments::{self, Global},
    console::Console,
    generate::fit_memory,
    numbers,
    table::{Align, Table},
};
use crate::{
    Error, Result,
    hub::bundle,
    options::{Options, plan_file},
    request::{Estimate, MethodSpec, Session},
    system,
};

/// Shows a plan.
pub(super) fn run(typed: &arguments::Plan, global: &Global, console: &Console) -> Result<()> {
    let options = options(typed)?;
    let model = typed.system.model_name();
    let outlook = if let Some(scales) = typed.scales {
        Outlook::without_model(&options, vec![None; checked_scales(scales)?])?
    } else if let (Some(description), None) = (bundle::released(model), &typed.system.weights) {
        console.note("without --weights the cost of this model is not known");
        let family = system::family(description.generator.family);
        let options = family.resolve(options.or(&description.defaults))?;
        let scales = family.scales(&description, &options)?;
        Outlook::without_model(&options, scales.into_iter().map(Some).collect())?
    } else {
        let system = console.open(&global.system_within(&typed.system, typed.limit))?;
        let mut session = Session::new(&system, &options)?;
        fit_memory(&mut session, typed.limit, console)?;
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
    cost: Option<Estimate>,
}

impl Outlook {
    fn without_model(options: &Options, grids: Vec<Option<Scale>>) -> Result<Self> {
        let (plan, method) = MethodSpec::plan(options, grids.len())?;
        plan.check(grids.len())?;
        Ok(Self {
            plan,
            method,
            grids,
            cost: None,
        })
    }

    fn of_session(session: &Session) -> Self {
        Self {
            plan: session.plan().clone(),
            method: session.method(),
            grids: session
                .pipeline()
                .scales()
                .iter()
                .copied()
                .map(Some)
                .collect(),
            cost: Some(session.estimate()),
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

    /// Rows that continue after a scale.
    fn on(&self, scale: usize) -> usize {
        self.plan
            .stage(scale)
            .map_or_else(|| self.rows(scale), |stage| stage.width)
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
        let cost = self.cost.as_ref().map_or(String::new(), cost_words);
        let rounds = self.plan.enough().map_or(String::new(), |enough| {
            format!(
                "in each of at most {}, until a score of {enough}:\n",
                numbers::counted(self.plan.rounds(), "round")
            )
        });
        format!("{}\n\n{table}\n\n{rounds}{counts}\n{cost}", self.method)
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
            "method": self.method.method,
            "n": self.method.n,
            "plan": self.plan,
            "scales": scales,
            "decodes": self.decodes(),
            "scorings": self.scorings(),
            "flops": self.cost.as_ref().map(|cost| json!({
                "generator": cost.generator_flops,
                "scorer": cost.scorer_flops,
                "features": cost.feature_flops,
                "total": total_flops(cost),
            })),
            "peak_bytes": self.cost.as_ref().map(|cost| cost.peak_bytes),
        })
    }
}

fn cost_words(cost: &Estimate) -> String {
    format!(
        "{}: generator {}, scorer {}, features {}\nat most {} of memory",
        numbers::operations(total_flops(cost)),
        numbers::operations(cost.generator_flops),
        numbers::operations(cost.scorer_flops),
        numbers::operations(cost.feature_flops),
        numbers::bytes(cost.peak_bytes)
    )
}

fn total_flops(cost: &Estimate) -> f64 {
    cost.generator_flops + cost.scorer_flops + cost.feature_flops
}
