//! The results of an evaluation as tables, files and charts.

use std::path::Path;

use serde_json::{Value, json};

use super::{
    curves, numbers, result_charts as charts,
    table::{Align, Table},
};
use crate::{
    Error, Result,
    eval::{CostModel, Gain, MethodSummary, Overfit, Summary, consistency::Consistency},
    file, image, quoting,
};

/// The title of a comparison of methods at several sizes.
pub const GRID_TITLE: &str = "Methods side by side";

/// The file with the results over N.
const CURVES: &str = "curves.csv";

/// The results of an evaluation.
pub struct ResultTables {
    title: String,
    summary: Summary,
    consistency: Vec<Consistency>,
    graded: bool,
    notes: Vec<String>,
}

impl ResultTables {
    /// Tables of a summary; `consistency` may be empty.
    pub fn new(title: &str, summary: Summary, consistency: Vec<Consistency>) -> Self {
        Self {
            title: title.to_owned(),
            summary,
            consistency,
            graded: false,
            notes: vec![],
        }
    }

    /// Sets whether verdicts are scores instead of right or wrong.
    pub fn graded(self, graded: bool) -> Self {
        Self { graded, ..self }
    }

    /// Adds notes, one line each.
    pub fn with_notes(self, notes: &[String]) -> Self {
        Self {
            notes: notes.to_vec(),
            ..self
        }
    }

    /// The underlying numbers.
    pub fn summary(&self) -> &Summary {
        &self.summary
    }

    /// The results as JSON.
    pub fn json(&self) -> Value {
        let mut all = json!(self.summary);
        all["title"] = self.title.clone().into();
        all["consistency"] = json!(self.consistency);
        if !self.notes.is_empty() {
            all["notes"] = json!(self.notes);
        }
        all
    }

    /// The results as text.
    pub fn text(&self) -> String {
        let Summary {
            prompts, samples, ..
        } = self.summary;
        let scope = format!(
            "{}, {} each",
            numbers::counted(prompts, "prompt"),
            numbers::counted(samples, "sample")
        );
        let tables: Vec<String> = [Some(self.accuracy()), self.held_out(), Some(self.costs())]
            .into_iter()
            .flatten()
            .map(|table| table.lines().join("\n"))
            .collect();
        let tables = tables.join("\n\n");
        let consistency = if self.consistency.is_empty() {
            String::new()
        } else {
            format!(
                "\n\nCorrelation of the scores after each scale with the final scores\n{}",
                self.scales().lines().join("\n")
            )
        };
        format!(
            "{} ({scope})\n\n{tables}{consistency}{}\n",
            quoting::line(&self.title),
            self.notes("\n", "", quoting::line)
        )
    }

    /// The notes, each after a line break and a marker; empty without notes.
    fn notes(&self, before: &str, marker: &str, quote: fn(&str) -> String) -> String {
        let overfits: Vec<String> = self.summary.overfits.iter().map(overfit).collect();
        let lines: String = self
            .notes
            .iter()
            .chain(&overfits)
            .map(|note| format!("\n{marker}{}", quote(note)))
            .collect();
        if lines.is_empty() {
            lines
        } else {
            format!("{before}{lines}")
        }
    }

    /// Accuracy, one row per contender.
    fn accuracy(&self) -> Table {
        use Align::{Left, Right};
        let mut columns = vec![("method", Left), ("N", Right)];
        columns.extend(self.summary.tasks.iter().map(|task| (short(task), Right)));
        columns.extend([("overall", Right), ("95 % interval", Right)]);
        let mut table = Table::with_columns(columns);
        for row in &self.summary.methods {
            table.cells([named(row), self.tasks(row), overall(row)].concat());
        }
        table
    }

    /// Mean scores by the search's scorer and by held-out ones, one row per contender; none without
    /// held-out scorers.
    fn held_out(&self) -> Option<Table> {
        use Align::{Left, Right};
        if self.summary.held_out.is_empty() {
            return None;
        }
        let heads = self.score_heads();
        let mut columns = vec![("method", Left), ("N", Right)];
        columns.extend(heads.iter().map(|head| (head.as_str(), Right)));
        let mut table = Table::with_columns(columns);
        for row in &self.summary.methods {
            table.cells([named(row), self.scores(row)].concat());
        }
        Some(table)
    }

    /// The columns of [`ResultTables::scores`].
    fn score_heads(&self) -> Vec<String> {
        let held_out = &self.summary.held_out;
        if held_out.is_empty() {
            return vec![];
        }
        let mut heads = vec!["score".to_owned()];
        heads.extend(held_out.iter().map(|scorer| format!("{scorer} (held out)")));
        heads
    }

    /// The mean score by the search's scorer and by each held-out one; empty without any.
    fn scores(&self, row: &MethodSummary) -> Vec<String> {
        let held_out = &self.summary.held_out;
        if held_out.is_empty() {
            return vec![];
        }
        let mut cells = vec![score(row.score)];
        cells.extend(held_out.iter().map(|scorer| score(row.of_held_out(scorer))));
        cells
    }

    /// Gains and costs, one row per contender.
    fn costs(&self) -> Table {
        use Align::{Left, Right};
        let mut columns = vec![("method", Left), ("N", Right)];
        let heads = self.gain_and_cost_heads();
        if self.generated() {
            columns.extend(heads.iter().map(|head| (head.as_str(), Right)));
            columns.push(("seconds", Right));
        } else {
            columns.extend([(AGAINST_FIRST, Right), ("evaluated", Right)]);
        }
        let missing = self.summary.methods.iter().any(|row| row.missing > 0);
        columns.extend(missing.then_some(("missing", Right)));
        let mut table = Table::with_columns(columns);
        for row in &self.summary.methods {
            let mut cells = named(row);
            if self.generated() {
                cells.extend(gains_and_costs(row));
                cells.push(format!("{:.2}", row.cost.seconds));
            } else {
                cells.extend([gain(row.gain.as_ref()), row.images.to_string()]);
            }
            cells.extend(missing.then(|| row.missing.to_string()));
            table.cells(cells);
        }
        table
    }

    /// Returns whether the images were generated here, so their cost is known.
    fn generated(&self) -> bool {
        self.summary.methods.iter().any(|row| row.cost.images > 0.0)
    }

    /// The columns of [`gains_and_costs`]: with cost models, the cost and the difference at equal
    /// cost in each of them.
    fn gain_and_cost_heads(&self) -> Vec<String> {
        let mut heads = vec![AGAINST_FIRST.to_owned()];
        for model in &self.summary.cost_models {
            heads.push(format!("raw images ({model})"));
            heads.push(format!("{AT_EQUAL_COST} ({model})"));
        }
        if self.summary.cost_models.is_empty() {
            heads.push(AT_EQUAL_COST.to_owned());
        }
        heads.extend(MEASURED_COSTS.map(str::to_owned));
        heads
    }

    /// All in one table, for Markdown pages; without seconds, which differ from run to run.
    fn table(&self) -> Table {
        use Align::{Left, Right};
        let mut columns = vec![("method", Left), ("N", Right)];
        columns.extend(self.summary.tasks.iter().map(|task| (*task, Right)));
        columns.extend([("overall", Right), ("95 % interval", Right)]);
        let heads = [self.score_heads(), self.gain_and_cost_heads()].concat();
        columns.extend(heads.iter().map(|head| (head.as_str(), Right)));
        let mut table = Table::with_columns(columns);
        for row in &self.summary.methods {
            let mut cells = named(row);
            cells.extend(self.tasks(row));
            cells.extend(overall(row));
            cells.extend(self.scores(row));
            cells.extend(gains_and_costs(row));
            table.cells(cells);
        }
        table
    }

    fn tasks(&self, row: &MethodSummary) -> Vec<String> {
        let task = |task: &&str| row.of_task(task).map_or("-".to_owned(), share);
        self.summary.tasks.iter().map(task).collect()
    }

    /// One row per scale.
    fn scales(&self) -> Table {
        use Align::Right;
        let mut table = Table::with_columns(vec![
            ("scale", Right),
            ("over all rows", Right),
            ("within prompts", Right),
        ]);
        let number =
            |value: Option<f64>| value.map_or("-".to_owned(), |value| format!("{value:.2}"));
        for Consistency {
            scale,
            over_all,
            within_prompts,
        } in &self.consistency
        {
            table.cells(vec![
                scale.to_string(),
                number(*over_all),
                number(*within_prompts),
            ]);
        }
        table
    }

    /// Checks that [`ResultTables::write`] can write its files, before the work starts; costs are
    /// priced by `cost_models`.
    ///
    /// # Errors
    /// A folder has the name of one of the files.
    pub fn check_folder(folder: &Path, cost_models: &[CostModel]) -> Result<()> {
        let tables = ["summary.json", CURVES, "table.txt", "table.md"].map(str::to_owned);
        let by_model = cost_models
            .iter()
            .map(|model| charts::by_cost_model(model.name()));
        let charts = ["accuracy-by-n", "accuracy-by-cost", "consistency"]
            .map(str::to_owned)
            .into_iter()
            .chain(by_model)
            .flat_map(|name| [format!("{name}.svg"), format!("{name}.png")]);
        for name in tables.into_iter().chain(charts) {
            file::check_replaceable(&folder.join(name))?;
        }
        Ok(())
    }

    /// Writes `summary.json`, `curves.csv`, the tables and the charts.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn write(&self, folder: &Path) -> Result<()> {
        let put = |name: &str, bytes: &[u8]| {
            let path = folder.join(name);
            file::replace(&path, bytes).map_err(Error::io(&path))
        };
        put("summary.json", format!("{:#}\n", self.json()).as_bytes())?;
        put(CURVES, curves::csv(&self.summary).as_bytes())?;
        put("table.txt", self.text().as_bytes())?;
        put("table.md", self.markdown().as_bytes())?;
        let charts = if self.generated() {
            charts::charts(&self.summary, self.graded, &self.consistency)
        } else {
            vec![]
        };
        for (name, chart) in charts {
            put(&format!("{name}.svg"), chart.to_svg().as_bytes())?;
            image::save(&chart.to_image(), folder.join(format!("{name}.png")))?;
        }
        Ok(())
    }

    /// The tables as Markdown.
    fn markdown(&self) -> String {
        let consistency = if self.consistency.is_empty() {
            String::new()
        } else {
            self.scales().markdown()
        };
        let tables = format!("{}\n{consistency}", self.table().markdown())
            .trim_end()
            .to_owned();
        tables + &self.notes("\n", "- ", quoting::markdown) + "\n"
    }

    /// Inserts the tables into a page, between `<!-- table: NAME -->` and `<!-- end -->`.
    ///
    /// # Errors
    /// The page cannot be read or written, or has no such markers.
    pub fn put_into(&self, page: &Path, name: &str) -> Result<()> {
        let text = file::read_text(page)?;
        let (start, end) = marked(page, &text, name)?;
        let text = format!("{}\n{}\n{}", &text[..start], self.markdown(), &text[end..]);
        file::replace(page, text.as_bytes()).map_err(Error::io(page))
    }
}

/// Checks that tables can be inserted into a page under these names, before the work starts.
///
/// # Errors
/// As [`ResultTables::put_into`].
pub fn check_page(page: &Path, names: &[String]) -> Result<()> {
    let text = file::read_text(page)?;
    for name in names {
        marked(page, &text, name)?;
    }
    file::check_replaceable(page)
}

/// The place in a page between the markers of a table.
fn marked(page: &Path, text: &str, name: &str) -> Result<(usize, usize)> {
    let begin = format!("<!-- table: {name} -->\n");
    let start = text.find(&begin).map(|at| at + begin.len());
    let end = start.and_then(|start| Some(start + text[start..].find("<!-- end -->")?));
    start.zip(end).ok_or_else(|| {
        let begin = begin.trim_end();
        Error::file(page, format!("has no marker for the table `{name}`")).with_hint(format!(
            "add `{begin}` and, on a separate line, `<!-- end -->`"
        ))
    })
}

/// `single_object`, `two_object` and `color_attr` without their common parts.
fn short(task: &'static str) -> &'static str {
    task.trim_end_matches("_object")
        .trim_start_matches("color_")
}

const AGAINST_FIRST: &str = "against the first";

const AT_EQUAL_COST: &str = "against best-of-n at equal cost";

const MEASURED_COSTS: [&str; 4] = ["GFLOP", "images", "decodes", "scorings"];

fn named(row: &MethodSummary) -> Vec<String> {
    vec![row.method.clone(), row.n.to_string()]
}

fn overall(row: &MethodSummary) -> Vec<String> {
    vec![share(row.overall), range(row.interval)]
}

fn gains_and_costs(row: &MethodSummary) -> Vec<String> {
    let cost = row.cost;
    let mut cells = vec![gain(row.gain.as_ref())];
    for model in &row.model_costs {
        cells.push(
            model
                .raw_images
                .map_or("-".to_owned(), |cost| format!("{cost:.2}")),
        );
        cells.push(gain(model.at_equal_cost.as_ref()));
    }
    if row.model_costs.is_empty() {
        cells.push(gain(row.at_equal_cost.as_ref()));
    }
    cells.push(format!("{:.1}", cost.flops / 1e9));
    cells.extend([cost.images, cost.decodes, cost.readings].map(|count| format!("{count:.0}")));
    cells
}

/// `tts-var, N = 2 to 4: the score rises by 0.120, ...`
fn overfit(found: &Overfit) -> String {
    let Overfit {
        method,
        n: [smaller, larger],
        score,
        measure,
        mean,
        interval: (low, high),
    } = found;
    let verdict = match *high < 0.0 {
        true => "over-optimised",
        false => "perhaps over-optimised",
    };
    format!(
        "{verdict}: {method}, N = {smaller} to {larger}: the search's own score rises by \
         {score:.3}, but {measure} falls: {mean:+.3} ({low:+.3} to {high:+.3})"
    )
}

/// `0.875`, or `-` where a record lacks the score.
fn score(mean: Option<f64>) -> String {
    mean.map_or("-".to_owned(), share)
}

/// `0.875`
fn share(value: f64) -> String {
    format!("{value:.3}")
}

fn range((low, high): (f64, f64)) -> String {
    format!("{} to {}", share(low), share(high))
}

/// `+0.120 (+0.090 to +0.150)`
fn gain(gain: Option<&Gain>) -> String {
    let Some(gain) = gain else {
        return "-".to_owned();
    };
    let (low, high) = gain.interval;
    format!("{:+.3} ({low:+.3} to {high:+.3})", gain.mean)
}
