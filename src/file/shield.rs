//! Keeps panics of third-party parsers on damaged files from ending the program.

use std::{
    any::Any,
    cell::Cell,
    panic::{self, AssertUnwindSafe},
    sync::Once,
};

thread_local! {
    /// Whether panics of this thread are caught, so that their messages are not printed.
    static SHIELDED: Cell<bool> = const { Cell::new(false) };
}

/// Calls a parser of another crate. If it panics, returns the message of the panic, which is not
/// printed.
///
/// # Errors
/// The parser panicked.
pub fn shielded<T>(parser: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let others = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !SHIELDED.get() {
                others(info);
            }
        }));
    });
    let outer = SHIELDED.replace(true);
    // What the parser was building is dropped with the panic.
    let result = panic::catch_unwind(AssertUnwindSafe(parser));
    SHIELDED.set(outer);
    result.map_err(|panic| message(panic.as_ref()))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "it panicked".to_owned())
}

#[cfg(test)]
mod tests {
    use super::shielded;

    #[test]
    fn a_panic_becomes_its_message() {
        assert_eq!(shielded(|| 3), Ok(3));
        let number = 4;
        assert_eq!(
            shielded(|| panic!("no {number}")),
            Err::<(), _>("no 4".to_owned())
        );
        assert_eq!(shielded(|| panic!("no")), Err::<(), _>("no".to_owned()));
    }
}
