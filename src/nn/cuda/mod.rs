//! Kernels of our own for tensors on an NVIDIA GPU, in bf16 and f32: what the tensor library would
//! do in many passes over memory, or with a matrix of scores. Everything else on a GPU is the
//! tensor library's.
//!
//! The `.cu` files are compiled at run time for the GPU that is there, once for every width of a
//! head. They use no more of CUDA than `device.cuh` names, so that tests can run them on a CPU
//! (`emulated`), with the very calls of [`calls`].

use std::hash::{Hash, Hasher};

mod calls;
#[cfg(feature = "cuda")]
mod device;
#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod emulated;
#[cfg(feature = "cuda")]
mod layers;

#[cfg(feature = "cuda")]
pub(super) use layers::{attention, group_norm, normalise, residual, split_and_rotate};

/// What the numbers of a kernel's tensors are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Scalar {
    Bf16,
    F32,
}

/// A kernel file, and the constants that it is compiled with.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Program {
    file: &'static str,
    source: &'static str,
    constants: Vec<(&'static str, usize)>,
}

/// Without the source, which the file's name stands for.
impl Hash for Program {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.file, &self.constants).hash(state);
    }
}

impl Program {
    /// Options of a compiler that define the constants.
    fn definitions(&self) -> impl Iterator<Item = String> {
        self.constants
            .iter()
            .map(|(name, value)| format!("-D{name}={value}"))
    }
}

/// An argument of a kernel.
#[derive(Clone, Copy, Debug)]
enum Arg {
    /// Of the first number of a tensor or a table; 0 for none.
    Address(u64),
    Int(i32),
    Long(i64),
    Real(f32),
}

/// One start of a kernel.
#[derive(Clone, Debug)]
struct Call {
    program: Program,
    kernel: &'static str,
    /// Blocks of threads along three axes.
    grid: [u32; 3],
    /// Of a block.
    threads: u32,
    args: Vec<Arg>,
}
