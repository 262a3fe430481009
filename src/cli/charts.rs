//! The results of an evaluation as pictures.

use ttsvar_search::{Prompt, Silent, run};

use crate::{
    Error, Result,
    eval::{Contender, Evaluation, Row, Summary, consistency::Consistency},
    report::{
        Chart,
        plot::{Axis, Line, Point, Spacing},
        sheet::{Pair, Side},
    },
};

/// Accuracy over N and over cost, and the correlation of scores over scales where it is known; each
/// with its file name. `graded` says that verdicts are shares instead of right or wrong.
pub(super) fn charts(
    summary: &Summary,
    graded: bool,
    consistency: &[Consistency],
) -> Vec<(&'static str, Chart)> {
    let (name, what) = if graded {
        ("Score", "score")
    } else {
        ("Accuracy", "share of right pictures")
    };
    let over = |title: &str, label: &str, spacing, x: fn(&Row) -> f64| Chart {
        title: format!("{name} against {title}"),
        x: Axis {
            label: label.to_owned(),
            spacing,
        },
        y: Axis {
            label: format!("{what}, mean of the tasks, with 95 % intervals"),
            spacing: Spacing::Even,
        },
        lines: lines(summary, x),
    };
    let cost = "GFLOP an image, decodes and scorings included";
    let mut all = vec![
        (
            "accuracy-by-n",
            over("N", "N", Spacing::Doubling, |row| row.n as f64),
        ),
        (
            "accuracy-by-cost",
            over("total cost", cost, Spacing::Ratio, |row| {
                row.cost.flops / 1e9
            }),
        ),
    ];
    if !consistency.is_empty() {
        all.push(("consistency", correlations(consistency)));
    }
    all
}

/// A line a method, with a point for every size.
fn lines(summary: &Summary, x: impl Fn(&Row) -> f64) -> Vec<Line> {
    let mut lines: Vec<Line> = vec![];
    for row in &summary.methods {
        let point = Point {
            x: x(row),
            y: row.overall,
            interval: Some(row.interval),
        };
        match lines.iter_mut().find(|line| line.name == row.method) {
            Some(line) => line.points.push(point),
            None => lines.push(Line {
                name: row.method.clone(),
                points: vec![point],
            }),
        }
    }
    lines
}

fn correlations(consistency: &[Consistency]) -> Chart {
    let line = |name: &str, of: fn(&Consistency) -> Option<f64>| {
        let point = |one: &Consistency| {
            Some(Point {
                x: one.scale as f64,
                y: of(one)?,
                interval: None,
            })
        };
        Line {
            name: name.to_owned(),
            points: consistency.iter().filter_map(point).collect(),
        }
    };
    Chart {
        title: "What a score knows of the final score".to_owned(),
        x: Axis {
            label: "scale after which the image is decoded, from 0".to_owned(),
            spacing: Spacing::Even,
        },
        y: Axis {
            label: "correlation with the score of the finished image".to_owned(),
            spacing: Spacing::Even,
        },
        lines: vec![
            line("over all", |one| one.over_all),
            line("within prompts", |one| one.within_prompts),
        ],
    }
}

/// The first and the last contender on the first prompt of every task, and on the second of the
/// last two tasks, whatever came out.
///
/// # Errors
/// Whatever painting and judging fail with.
pub(super) fn pairs(evaluation: &Evaluation) -> Result<Vec<Pair>> {
    let (Some(first), Some(last)) = (evaluation.contenders.first(), evaluation.contenders.last())
    else {
        return Ok(vec![]);
    };
    let (cases, tasks) = (evaluation.suite.cases(), evaluation.suite.tasks());
    let of = |task: &str, nth: usize| {
        (0..cases.len())
            .filter(|&case| cases[case].task == task)
            .nth(nth)
    };
    let firsts = tasks.iter().filter_map(|task| of(task, 0));
    let seconds = tasks
        .iter()
        .rev()
        .take(2)
        .rev()
        .filter_map(|task| of(task, 1));
    let pair = |case: usize| {
        let sides = [
            side(evaluation, case, first)?,
            side(evaluation, case, last)?,
        ];
        Ok(Pair {
            prompt: cases[case].prompt.clone(),
            sides,
        })
    };
    firsts.chain(seconds).map(pair).collect()
}

fn side(evaluation: &Evaluation, case: usize, contender: &Contender) -> Result<Side> {
    let prompt = Prompt::from(evaluation.suite.cases()[case].prompt.as_str());
    let mut outcome = run(
        evaluation.search,
        &prompt,
        &contender.plan,
        evaluation.seed_of(case, 0),
        &mut Silent,
    )?;
    let image = outcome.finished.swap_remove(outcome.best).image;
    let verdict = evaluation
        .suite
        .judge(case, std::slice::from_ref(&image))?
        .pop();
    let verdict = verdict.ok_or_else(|| Error::input("the judge gave no verdict on an image"))?;
    let name = if contender.method == "raw" {
        contender.method.clone()
    } else {
        contender.to_string()
    };
    Ok(Side {
        name,
        image,
        right: verdict.score >= 0.5,
    })
}
