//! Ctrl-C ends the program at once and leaves no part of a file: it waits for small files and removes
//! large ones that are being written.

use std::{
    io::Write,
    sync::{Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use crate::file;

/// How long the program waits for its last message to be read.
const LAST_MESSAGE: Duration = Duration::from_millis(200);

/// Held while files that belong together are being written.
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
        let _removed = file::remove_unfinished();
        say_interrupted();
        std::process::exit(super::INTERRUPTED.into());
    });
    #[cfg(unix)]
    if outlives {
        hang_up::ignore();
    }
}

/// Prints a last message, unless nobody reads standard error: then printing would never end.
fn say_interrupted() {
    let (done, printed) = mpsc::channel();
    thread::spawn(move || {
        let _ = writeln!(std::io::stderr(), "interrupted");
        let _ = done.send(());
    });
    let _ = printed.recv_timeout(LAST_MESSAGE);
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

/// Does work that Ctrl-C must wait for; it should only take milliseconds, and never write to standard
/// output or standard error, which another program may leave unread.
pub(super) fn undisturbed<T>(work: impl FnOnce() -> T) -> T {
    let _busy = lock();
    work()
}

fn lock() -> MutexGuard<'static, ()> {
    WRITING.lock().unwrap_or_else(PoisonError::into_inner)
}
