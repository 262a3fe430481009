//! Which instructions the kernels use: the widest that are found when the program runs, or those
//! that `TTSVAR_KERNELS` names.

use std::{
    env,
    ffi::{OsStr, OsString},
    sync::OnceLock,
};

use crate::{Error, Result};

#[cfg(target_arch = "x86_64")]
use super::x86::{HasAvx2, HasAvx512};

/// Instructions that this processor was found to have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Machine {
    #[cfg(target_arch = "x86_64")]
    Avx512Bf16(HasAvx512<true>),
    #[cfg(target_arch = "x86_64")]
    Avx512(HasAvx512<false>),
    #[cfg(target_arch = "x86_64")]
    Avx2(HasAvx2),
    #[cfg(target_arch = "aarch64")]
    Neon,
    Portable,
}

impl Machine {
    /// All that this processor has, the fastest first.
    pub fn here() -> impl Iterator<Item = Self> {
        let found = [
            #[cfg(target_arch = "x86_64")]
            HasAvx512::detect().map(Self::Avx512Bf16),
            #[cfg(target_arch = "x86_64")]
            HasAvx512::detect().map(Self::Avx512),
            #[cfg(target_arch = "x86_64")]
            HasAvx2::detect().map(Self::Avx2),
            #[cfg(target_arch = "aarch64")]
            Some(Self::Neon),
            Some(Self::Portable),
        ];
        found.into_iter().flatten()
    }

    fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512Bf16(_) => "avx512bf16",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => "avx512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => "avx2",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
            Self::Portable => "portable",
        }
    }

    /// The kernels of this name; `None` without a name.
    fn from_name(name: Option<&OsStr>) -> Result<Option<Self>> {
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let found = Self::here().find(|machine| name == machine.name());
        found.map(Some).ok_or_else(|| {
            let known: Vec<String> = Self::here()
                .map(|machine| format!("`{}`", machine.name()))
                .collect();
            let known = known.join(" or ");
            let name = name.display();
            Error::input(format!(
                "TTSVAR_KERNELS: expected {known}, which this machine can run, found `{name}`"
            ))
            .with_hint("leave it unset for the fastest")
        })
    }
}

/// The instructions that this process uses.
pub(super) fn machine() -> Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    *MACHINE.get_or_init(|| {
        let requested = Machine::from_name(requested().as_deref()).ok().flatten();
        requested
            .or_else(|| Machine::here().next())
            .unwrap_or(Machine::Portable)
    })
}

fn requested() -> Option<OsString> {
    env::var_os("TTSVAR_KERNELS")
}

/// The name of the kernels that run in this process: `avx512bf16`, `avx512`, `avx2`, `neon` or
/// `portable`.
pub fn kernels() -> &'static str {
    machine().name()
}

/// Returns whether `TTSVAR_KERNELS` chose the kernels.
pub fn kernels_forced() -> bool {
    matches!(Machine::from_name(requested().as_deref()), Ok(Some(_)))
}

/// Checks that the kernels that `TTSVAR_KERNELS` names can run here. Without this check, the
/// fastest kernels replace unknown ones.
///
/// # Errors
/// The name is unknown, or this machine lacks the instructions.
pub fn check_kernels() -> Result<()> {
    Machine::from_name(requested().as_deref()).map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_detected_machine_is_found_by_its_name() {
        for machine in Machine::here() {
            assert_eq!(
                Machine::from_name(Some(machine.name().as_ref())).unwrap(),
                Some(machine)
            );
        }
        assert_eq!(Machine::here().last(), Some(Machine::Portable));
    }

    #[test]
    fn without_a_name_the_choice_is_free_and_unknown_names_are_refused() {
        assert_eq!(Machine::from_name(None).unwrap(), None);
        assert_eq!(Machine::from_name(Some("".as_ref())).unwrap(), None);
        for name in ["Portable", "fast", "avx"] {
            let error = Machine::from_name(Some(name.as_ref())).unwrap_err();
            assert!(
                error.to_string().contains("`portable`")
                    && error.to_string().ends_with(&format!("found `{name}`"))
            );
            assert_eq!(
                error.hint().as_deref(),
                Some("leave it unset for the fastest")
            );
        }
    }
}
