//! Memory limits on the command line.

use ttsvar_search::Plan;

use super::{arguments::Limit, console::Console, numbers};
use crate::{
    Error, Result, bench,
    request::Session,
    system::{MemoryLimit, MemoryPlan},
};

/// Keeps the session within the memory limit, where there is one, and reports what that costs.
pub(super) fn fit_memory(session: &mut Session, limit: Limit, console: &Console) -> Result<()> {
    let plan = session.plan().clone();
    fit_plans(session, [&plan], limit, 1, console)
}

/// The same for searches by any of these plans, as many at a time as `searches` says.
pub(super) fn fit_plans<'p>(
    session: &mut Session,
    plans: impl IntoIterator<Item = &'p Plan>,
    limit: Limit,
    searches: usize,
    console: &Console,
) -> Result<()> {
    let Some(bytes) = limit.memory else {
        return Ok(());
    };
    let plan = session.fit_plans(plans, MemoryLimit { bytes, searches })?;
    report(&plan, console);
    Ok(())
}

/// Reports what a memory limit costs.
fn report(plan: &MemoryPlan, console: &Console) {
    let plan = plan.to_string();
    if !plan.is_empty() {
        console.note(&format!("to keep within the memory limit: {plan}"));
    }
}

/// Refuses a search that cannot fit into this machine, whatever asked for it: the plan may be that
/// of somebody else's image.
pub(super) fn check_machine(session: &Session) -> Result<()> {
    match bench::memory() {
        Some(memory) if session.system().device().is_cpu() => {
            check_fits(session.estimate().peak_bytes, memory)
        }
        _ => Ok(()),
    }
}

fn check_fits(needed: u64, memory: u64) -> Result<()> {
    if needed <= memory {
        return Ok(());
    }
    let needed = numbers::bytes(needed);
    let has = numbers::bytes(memory);
    Err(Error::input(format!(
        "the search needs up to {needed} of memory, but this machine has {has}"
    ))
    .with_hint("use --memory SIZE to run fewer candidates at once, or choose a smaller search"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_search_that_the_machine_cannot_hold_is_refused() {
        assert!(check_fits(8_000_000_000, 8_000_000_000).is_ok());
        let error = check_fits(31_000_000_000, 8_000_000_000).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("31") && text.contains("8.0"), "{text}");
        assert!(error.hint().is_some_and(|hint| hint.contains("--memory")));
    }
}
