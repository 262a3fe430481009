//! Ends a search between two layers of a network. Events of a search come between scales, which may
//! take long; whoever must be able to stop sooner installs a check for the thread that searches.

use std::{cell::RefCell, rc::Rc};

use crate::Result;

type Check = Rc<dyn Fn() -> ttsvar_search::Result<()>>;

thread_local! {
    static CHECK: RefCell<Option<Check>> = const { RefCell::new(None) };
}

/// Does `work`, during which networks call `check` between their layers; its error ends them. It is
/// called often and must be cheap.
pub fn with_check<T>(
    check: impl Fn() -> ttsvar_search::Result<()> + 'static,
    work: impl FnOnce() -> T,
) -> T {
    let before = CHECK.replace(Some(Rc::new(check)));
    let _restored = Restored(before);
    work()
}

/// Restores the check from before, even after a panic.
struct Restored(Option<Check>);

impl Drop for Restored {
    fn drop(&mut self) {
        CHECK.set(self.0.take());
    }
}

/// Calls the check of this thread, if there is one.
pub(crate) fn check() -> Result<()> {
    let check = CHECK.with_borrow(Clone::clone);
    match check {
        Some(check) => Ok(check()?),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_holds_for_its_work_and_thread() {
        assert!(check().is_ok());
        let stop = || Err(ttsvar_search::Error::Interrupted);
        with_check(stop, || {
            assert!(check().is_err_and(|error| error.is_interrupted()));
            with_check(|| Ok(()), || assert!(check().is_ok()));
            assert!(check().is_err());
            std::thread::spawn(|| assert!(check().is_ok()))
                .join()
                .unwrap();
        });
        assert!(check().is_ok());
    }
}
