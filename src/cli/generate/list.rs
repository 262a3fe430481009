//! The prompts of a run: one after the other, or side by side where that is faster. What is printed
//! is in the order of the prompts.

use std::collections::BTreeMap;

use super::{
    super::{
        arguments::Limit,
        code,
        console::Console,
        progress::{self, Notices, Progress},
    },
    job::GenerateJob,
    result::PromptResult,
};
use crate::{
    Result,
    threads::{self, Workers},
};

/// Generates an image for every prompt and prints the results. An error with one prompt of a list
/// is printed and the others continue; the exit code is that of the first failure.
pub(super) fn run(job: &GenerateJob, limit: Limit, console: &Console) -> Result<u8> {
    let mut results = Results::new(job, console);
    match searches_at_once(job, limit) {
        1 => one_by_one(job, &mut results)?,
        searches => side_by_side(job, searches, &mut results)?,
    }
    Ok(results.first_failure)
}

/// How many searches run at once. Small networks leave threads waiting for one another; a search on
/// each thread does not. A limit of memory, a budget and a vision server's number of requests are
/// for one search at a time.
fn searches_at_once(job: &GenerateJob, limit: Limit) -> usize {
    let session = &job.session;
    let limited = limit.memory.is_some()
        || session.options().budget.is_some()
        || !session.system().asked().is_empty();
    match !limited && session.system().is_small() {
        true => rayon::current_num_threads().min(job.prompts()),
        false => 1,
    }
}

fn one_by_one(job: &GenerateJob, results: &mut Results) -> Result<()> {
    let console = results.console;
    let mut progress = Progress::new(console, job.prompts() > 1);
    for number in 1..=job.prompts() {
        if job.prompts() > 1 {
            progress.set_prompt(number, job.prompts());
        }
        let result = job.generate(number, console, &mut progress);
        progress.clear();
        results.print(number, result)?;
        if job.is_stopped() {
            break;
        }
    }
    Ok(())
}

fn side_by_side(job: &GenerateJob, searches: usize, results: &mut Results) -> Result<()> {
    let console = results.console;
    let workers = Workers {
        count: searches,
        threads_each: rayon::current_num_threads().div_ceil(searches),
    };
    let prompts: Vec<usize> = (1..=job.prompts()).collect();
    let bar = progress::bar(console, job.prompts(), "prompts");
    let generate = |number: &usize, found: &threads::Results<_>| {
        let mut notices = Notices::new(console, bar.clone());
        notices.set_prompt(*number);
        found.send((*number, job.generate(*number, console, &mut notices)));
        Ok(())
    };
    let mut waiting = BTreeMap::new();
    let mut printed = 0;
    workers.share(&prompts, generate, |(number, result)| {
        bar.inc(1);
        waiting.insert(number, result);
        while let Some(result) = waiting.remove(&(printed + 1)) {
            printed += 1;
            bar.suspend(|| results.print(printed, result))?;
        }
        Ok(())
    })?;
    bar.finish_and_clear();
    Ok(())
}

/// Prints results and remembers whether all is well.
struct Results<'a> {
    console: &'a Console,
    /// Whether there may be several prompts, of which each may fail.
    list: bool,
    /// Whether there are several, so that notes say which one they are about.
    several: bool,
    /// The exit code of the first prompt that failed, or 0.
    first_failure: u8,
}

impl<'a> Results<'a> {
    fn new(job: &GenerateJob, console: &'a Console) -> Self {
        Self {
            console,
            list: job.request.prompts.list,
            several: job.prompts() > 1,
            first_failure: 0,
        }
    }

    /// Prints the result of a prompt.
    ///
    /// # Errors
    /// That of the only prompt, an interrupt, or standard output cannot be written.
    fn print(&mut self, number: usize, result: Result<PromptResult>) -> Result<()> {
        let of_which = match self.several {
            true => format!("prompt {number}: "),
            false => String::new(),
        };
        match result {
            Ok(found) => found.print(&of_which, self.console),
            Err(error) if !self.list || error.is_interrupted() => Err(error),
            Err(error) => {
                self.console.error_of(&format!("prompt {number}: "), &error);
                if self.first_failure == 0 {
                    self.first_failure = code(&error);
                }
                Ok(())
            }
        }
    }
}
