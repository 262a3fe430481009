//! `ttsvar generate`: from prompts to image files.
//!
//! Reads the request, opens the system, sets up a session (`request/session.rs`: read on
//! there) and runs it on every prompt, in `list.rs`.

mod job;
mod list;
mod request;
mod result;

use std::sync::{Arc, atomic::Ordering};

use self::{job::GenerateJob, request::Request};
use super::{
    arguments::{self, Global},
    console::Console,
    interrupt::first as on_first_interrupt,
    memory::{check_machine, fit_memory},
};
use crate::{
    Result,
    options::Options,
    request::{Session, new_seed},
};

pub(super) use result::cost;

/// Generates an image for every prompt. An error with one prompt of a list is reported and the
/// others continue; the exit code is that of the first failure.
pub(super) fn run(typed: &arguments::Generate, global: &Global, console: &Console) -> Result<u8> {
    let request = Request::read(typed, global, console)?;
    let system = console.open(&request.system)?;
    system.expect_prompts(request.prompts.subjects.len());
    let mut session = Session::new(&system, &request.options)?;
    if let Some(edit) = &request.edit {
        session = session.with_edit(edit.clone())?;
    }
    session.check_best(request.images())?;
    console.advise(&session);
    match typed.limit.memory {
        Some(_) => fit_memory(&mut session, typed.limit, console)?,
        None => check_machine(&session)?,
    }
    let job = GenerateJob {
        request: &request,
        seed: session.options().seed.unwrap_or_else(new_seed),
        stopped: Arc::default(),
        session,
    };
    if job.session.options().budget.is_some() {
        let stopped = job.stopped.clone();
        on_first_interrupt(move || stopped.store(true, Ordering::Relaxed));
    }
    let shown = request.outputs.shows();
    note_unused(&typed.options, &job.session, shown, console);
    job.session.prepare(&request.prompts.texts())?;
    list::run(&job, typed.limit, console)
}

/// Notes the options that the plan of a session has no use for. `shown` means that candidates are
/// decoded for the user as well.
pub(super) fn note_unused(typed: &Options, session: &Session, shown: bool, console: &Console) {
    let plan = session.plan();
    let unused = typed.unused_by(plan, session.pipeline().scales().len());
    for (flag, reason) in unused {
        if flag != "--preview" || !shown {
            console.note(&format!(
                "{flag} has no effect: {} {reason}",
                session.method()
            ));
        }
    }
}
