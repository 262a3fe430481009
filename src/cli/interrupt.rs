//! Ctrl-C ends the program at once, but never in the middle of writing a file.

use std::{
    io::Write,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Held while a file is being written.
static WRITING: Mutex<()> = Mutex::new(());

/// What is done at the first wish to terminate instead of ending at once.
static INSTEAD: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

/// Makes Ctrl-C and the wish to terminate end the program with exit code 130.
pub(super) fn install() {
    // Fails only when there is a handler already; then that one does the work.
    let _ = ctrlc::set_handler(|| {
        if let Some(instead) = INSTEAD.lock().unwrap_or_else(PoisonError::into_inner).take() {
            return instead();
        }
        let _done = lock();
        let _ = writeln!(std::io::stderr(), "interrupted");
        std::process::exit(super::INTERRUPTED.into());
    });
}

/// Does something at the first Ctrl-C; the second one ends the program.
pub(super) fn first(instead: impl FnOnce() + Send + 'static) {
    *INSTEAD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(instead));
}

/// Does work that Ctrl-C must wait for. It should take milliseconds.
pub(super) fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
    let _busy = lock();
    work()
}

fn lock() -> MutexGuard<'static, ()> {
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}
