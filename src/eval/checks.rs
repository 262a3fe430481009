//! Checks of the records of an evaluation: each must belong to it, and each image has one record.

use std::collections::HashMap;

use super::{ResultRecord, Setup, Suite, runner::seed_of};

/// Checks records one after the other.
pub(super) struct RecordChecks<'a> {
    setup: &'a Setup,
    suite: &'a dyn Suite,
    /// The line of each image's record, counted from 1.
    lines: HashMap<(usize, usize, String, usize), usize>,
}

/// The outcome of a check.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Checked {
    /// The first record of its image.
    New,
    /// The record that stands in an earlier line, apart from the measured seconds.
    Repeated,
}

impl<'a> RecordChecks<'a> {
    pub(super) fn new(setup: &'a Setup, suite: &'a dyn Suite) -> Self {
        Self {
            setup,
            suite,
            lines: HashMap::new(),
        }
    }

    /// Checks the record in line `line`; `before` holds the records that were new, in their order.
    ///
    /// # Errors
    /// It does not belong to the evaluation, or contradicts an earlier line.
    pub(super) fn check(
        &mut self,
        line: usize,
        record: &ResultRecord,
        before: &[(usize, ResultRecord)],
    ) -> Result<Checked, String> {
        check_record(record, self.setup, self.suite)?;
        let key = (record.case, record.sample, record.method.clone(), record.n);
        let Some(&first) = self.lines.get(&key) else {
            self.lines.insert(key, line);
            return Ok(Checked::New);
        };
        let same = before
            .binary_search_by_key(&first, |(line, _)| *line)
            .is_ok_and(|at| timeless(&before[at].1) == timeless(record));
        match same {
            true => Ok(Checked::Repeated),
            false => Err(format!(
                "another result than line {first} for the same image: sample {} of case {} by {}, \
                 N = {}",
                record.sample, record.case, record.method, record.n
            )),
        }
    }
}

/// A record without the seconds, which differ when an image is regenerated.
fn timeless(record: &ResultRecord) -> ResultRecord {
    let mut record = record.clone();
    record.cost.seconds = 0.0;
    record
}

/// Checks that a record belongs to an evaluation.
///
/// # Errors
/// It does not; the message names the field.
pub(super) fn check_record(
    record: &ResultRecord,
    setup: &Setup,
    suite: &dyn Suite,
) -> Result<(), String> {
    let cases = suite.cases();
    let Some(case) = cases.get(record.case) else {
        return Err(format!(
            "`case` is {}, but there are {} prompts, counted from 0",
            record.case,
            cases.len()
        ));
    };
    if record.prompt != case.prompt || record.task != case.task {
        return Err(format!(
            "case {} is the prompt `{}` of the task `{}`, but the record has `{}` of `{}`",
            record.case,
            case.prompt,
            case.task,
            record.prompt.escape_debug(),
            record.task.escape_debug()
        ));
    }
    if record.sample >= setup.samples {
        return Err(format!(
            "`sample` is {}, but there are {} samples, counted from 0",
            record.sample, setup.samples
        ));
    }
    let mut contenders = setup.contenders.iter();
    if !contenders.any(|contender| contender.is(&record.method, record.n)) {
        return Err(format!(
            "`{}`, N = {}, is not a method of this evaluation",
            record.method.escape_debug(),
            record.n
        ));
    }
    let generated = !setup.pictures.contains_key(&record.method);
    if generated && record.seed != seed_of(setup.seed, record.case, record.sample) {
        return Err(format!(
            "`seed` is {}, which is not that of the sample",
            record.seed
        ));
    }
    let least = suite.least_score();
    if !(least..=1.0).contains(&record.correct) {
        return Err(format!(
            "`correct` is {}, expected {least} to 1",
            record.correct
        ));
    }
    let costs = record.cost.named();
    match costs
        .iter()
        .find(|(_, cost)| !(cost.is_finite() && *cost >= 0.0))
    {
        Some((name, cost)) => Err(format!("the cost `{name}` is {cost}, expected 0 or more")),
        None => Ok(()),
    }
}
