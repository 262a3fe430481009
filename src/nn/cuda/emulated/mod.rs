//! The kernels on a CPU: their sources, compiled as C with a GPU that is a header (`device.h`),
//! started by the same calls and compared with what the layers compute on a CPU. Needs nothing but
//! the C compiler that building the project needs.

mod memory;
mod run;
mod tests;
