//! A kernel as text, and one launch of it.

use std::hash::{Hash, Hasher};

/// The number type of a kernel's tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scalar {
    Bf16,
    F32,
}

/// A kernel file, and the constants that it is compiled with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Program {
    pub file: &'static str,
    pub source: &'static str,
    pub constants: Vec<(&'static str, usize)>,
}

/// Without the source, which the file's name stands for.
impl Hash for Program {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.file, &self.constants).hash(state);
    }
}

impl Program {
    /// Options of a compiler that define the constants.
    pub fn definitions(&self) -> impl Iterator<Item = String> {
        self.constants
            .iter()
            .map(|(name, value)| format!("-D{name}={value}"))
    }
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
pub(super) enum Arg {
    /// The address of the first number of a tensor or a table; 0 for none.
    Address(u64),
    Int(i32),
    Long(i64),
    Real(f32),
}

/// One launch of a kernel.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub program: Program,
    pub kernel: &'static str,
    /// Blocks of threads along three axes.
    pub grid: [u32; 3],
    /// Threads of one block.
    pub threads: u32,
    pub args: Vec<Arg>,
}
