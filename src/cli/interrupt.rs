//! Ctrl-C ends the program at once, but never in the middle of writing a file.

use std::{
    io::Write,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Held while a file is being written.
static WRITING: Mutex<()> = Mutex::new(());

/// The action for the first interrupt, instead of exiting.
static INSTEAD: Mutex<Option<Box<dyn FnOnce() + Send>>> = Mutex::new(None);

/// Makes Ctrl-C and SIGTERM end the program with exit code 130. SIGHUP does the same, unless it is
/// ignored when the program starts, as with `nohup`.
pub(super) fn install() {
    #[cfg(unix)]
    let outlives = hang_up::is_ignored();
    // Fails only if there already is a handler, which then does the work.
    let _ = ctrlc::set_handler(|| {
        if let Some(instead) = INSTEAD
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
        {
            return instead();
        }
        let _done = lock();
        let _ = writeln!(std::io::stderr(), "interrupted");
        std::process::exit(super::INTERRUPTED.into());
    });
    #[cfg(unix)]
    if outlives {
        hang_up::ignore();
    }
}

/// SIGHUP, which `ctrlc` handles as well.
#[cfg(unix)]
mod hang_up {
    use std::{mem::MaybeUninit, ptr};

    use libc::{SIG_IGN, SIGHUP, sigaction};

    pub fn is_ignored() -> bool {
        let mut now = MaybeUninit::<sigaction>::zeroed();
        // SAFETY: without a new action, the call only writes the current one to valid memory; all
        // zeros are a valid action as well.
        unsafe {
            sigaction(SIGHUP, ptr::null(), now.as_mut_ptr()) == 0
                && now.assume_init().sa_sigaction == SIG_IGN
        }
    }

    pub fn ignore() {
        // SAFETY: ignoring a signal runs no code of ours.
        unsafe { libc::signal(SIGHUP, SIG_IGN) };
    }
}

/// Runs `instead` at the first Ctrl-C; the second ends the program.
pub(super) fn first(instead: impl FnOnce() + Send + 'static) {
    *INSTEAD.lock().unwrap_or_else(PoisonError::into_inner) = Some(Box::new(instead));
}

/// Does work that Ctrl-C must wait for; it should only take milliseconds.
pub(super) fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
    let _busy = lock();
    work()
}

fn lock() -> MutexGuard<'static, ()> {
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}
