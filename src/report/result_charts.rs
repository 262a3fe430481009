//! The results of an evaluation as charts and a contact sheet.

use ttsvar_search::{Silent, run};

use super::{
    Chart,
    plot::{Axis, Line, Point, Spacing},
    sheet::{Pair, SheetImage},
};
use crate::{
    Error, Result,
    eval::{Contender, Evaluation, MethodSummary, Summary, consistency::Consistency},
    file::slug,
};

/// The name of the chart of accuracy over the cost in a cost model.
pub(super) fn by_cost_model(name: &str) -> String {
    format!("accuracy-by-cost-{}", slug(name))
}

/// Accuracy over N, over operations and over the cost in each cost model and, if it was measured, the correlation of scores over scales;
/// each with its file name. With `graded`, verdicts are scores instead of right or wrong.
pub fn charts(
    summary: &Summary,
    graded: bool,
    consistency: &[Consistency],
) -> Vec<(String, Chart)> {
    let (name, what) = if graded {
        ("Score", "score")
    } else {
        ("Accuracy", "share of correct images")
    };
    let over = |title: &str, label: &str, spacing, lines| Chart {
        title: format!("{name} against {title}"),
        x: Axis {
            label: label.to_owned(),
            spacing,
        },
        y: Axis {
            label: format!("{what}, mean over tasks, with 95 % intervals"),
            spacing: Spacing::Even,
        },
        lines,
    };
    let cost = "GFLOP per image, including decodes and scoring (logarithmic); labels: N";
    let mut all = vec![
        (
            "accuracy-by-n".to_owned(),
            over(
                "N",
                "N (logarithmic)",
                Spacing::Doubling,
                lines(summary, |row| Some(row.n as f64), |_| None),
            ),
        ),
        (
            "accuracy-by-cost".to_owned(),
            over(
                "total cost",
                cost,
                Spacing::Ratio,
                lines(
                    summary,
                    |row| Some(row.cost.flops / 1e9),
                    |row| Some(row.n.to_string()),
                ),
            ),
        ),
    ];
    for (place, model) in summary.cost_models.iter().enumerate() {
        let cost = |row: &MethodSummary| row.model_costs.get(place)?.raw_images;
        let label =
            format!("raw images per image, by the cost of {model} (logarithmic); labels: N");
        let lines = lines(summary, cost, |row| Some(row.n.to_string()));
        let title = format!("the cost of {model}");
        all.push((
            by_cost_model(model),
            over(&title, &label, Spacing::Ratio, lines),
        ));
    }
    if !consistency.is_empty() {
        all.push(("consistency".to_owned(), correlations(consistency)));
    }
    all
}

/// One line per method, one point per size whose x is known, from left to right.
fn lines(
    summary: &Summary,
    x: impl Fn(&MethodSummary) -> Option<f64>,
    label: fn(&MethodSummary) -> Option<String>,
) -> Vec<Line> {
    let mut lines: Vec<Line> = vec![];
    for row in &summary.methods {
        let Some(x) = x(row) else { continue };
        let point = Point {
            x,
            y: row.overall,
            interval: Some(row.interval),
            label: label(row),
        };
        match lines.iter_mut().find(|line| line.name == row.method) {
            Some(line) => line.points.push(point),
            None => lines.push(Line {
                name: row.method.clone(),
                points: vec![point],
            }),
        }
    }
    for line in &mut lines {
        line.points.sort_by(|a, b| a.x.total_cmp(&b.x));
    }
    lines
}

fn correlations(consistency: &[Consistency]) -> Chart {
    let line = |name: &str, correlation: fn(&Consistency) -> Option<f64>| {
        let mut points = vec![];
        for scale in consistency {
            if let Some(y) = correlation(scale) {
                points.push(Point {
                    x: scale.scale as f64,
                    y,
                    interval: None,
                    label: None,
                });
            }
        }
        Line {
            name: name.to_owned(),
            points,
        }
    };
    Chart {
        title: "How well intermediate scores predict the final score".to_owned(),
        x: Axis {
            label: "scale after which the image is decoded, from 0".to_owned(),
            spacing: Spacing::Even,
        },
        y: Axis {
            label: "correlation with the score of the finished image".to_owned(),
            spacing: Spacing::Even,
        },
        lines: vec![
            line("over all", |scale| scale.over_all),
            line("within prompts", |scale| scale.within_prompts),
        ],
    }
}

/// Images of the first and the last contender for the first prompt of every task and the second of
/// the last two tasks, not cherry-picked.
///
/// # Errors
/// Generating or evaluating fails.
pub fn pairs(evaluation: &Evaluation) -> Result<Vec<Pair>> {
    let (Some(first), Some(last)) = (evaluation.contenders.first(), evaluation.contenders.last())
    else {
        return Ok(vec![]);
    };
    let cases = evaluation.suite.cases();
    let tasks = evaluation.suite.tasks();
    let nth_of_task = |task: &str, nth: usize| {
        (0..cases.len())
            .filter(|&case| cases[case].task == task)
            .nth(nth)
    };
    let last_two = &tasks[tasks.len().saturating_sub(2)..];
    let firsts = tasks.iter().filter_map(|task| nth_of_task(task, 0));
    let seconds = last_two.iter().filter_map(|task| nth_of_task(task, 1));
    let mut pairs = vec![];
    for case in firsts.chain(seconds) {
        pairs.push(Pair {
            prompt: cases[case].prompt.clone(),
            images: [
                sheet_image(evaluation, case, first)?,
                sheet_image(evaluation, case, last)?,
            ],
        });
    }
    Ok(pairs)
}

fn sheet_image(evaluation: &Evaluation, case: usize, contender: &Contender) -> Result<SheetImage> {
    let mut outcome = run(
        evaluation.search_of(contender)?,
        &evaluation.prompt(case),
        &contender.plan,
        evaluation.seed_of(case, 0),
        &mut Silent,
    )?;
    let image = outcome.finished.swap_remove(outcome.best).image;
    let verdict = evaluation
        .suite
        .evaluate(case, std::slice::from_ref(&image))?
        .pop();
    let verdict =
        verdict.ok_or_else(|| Error::input("the evaluator gave no verdict on an image"))?;
    let name = if contender.method == "raw" {
        contender.method.clone()
    } else {
        contender.to_string()
    };
    Ok(SheetImage {
        name,
        image,
        right: verdict.score >= 0.5,
    })
}
