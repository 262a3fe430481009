//! The arguments of `ttsvar bench`.

use clap::{Args, Subcommand};

use super::{Limit, whole};
use crate::{
    options::{Options, seed},
    system::SystemBuilder,
};

#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(in crate::cli) struct Bench {
    #[command(subcommand)]
    pub what: Option<BenchWhat>,
    /// demo, or a released size with random weights: infinity-layer12, infinity-layer16,
    /// infinity-layer24, 2b, 8b, var-d16, var-d20, var-d24, var-d30, var-d36, hart, hart-512,
    /// switti, switti-ar, switti-1024, switti-1024-ar, switti-1024-d4, flexar-113m, flexar-382m,
    /// flexar-1b, flexar-3b, flexar-1b-class or flexar-d2
    #[arg(long, value_name = "NAME", default_value = "demo")]
    pub arch: String,
    /// Timed runs after a warm-up; medians are printed
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = whole::<usize>)]
    pub repeat: usize,
    /// Instead of a search, time individual operations at the shapes of the last scale
    #[arg(long)]
    pub ops: bool,
    #[command(flatten)]
    pub options: Options,
    #[command(flatten)]
    pub limit: Limit,
}

#[derive(Clone, Debug, Subcommand)]
pub(in crate::cli) enum BenchWhat {
    /// Compare the scores of smaller previews with those of full size
    Preview(Preview),
}

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Preview {
    /// Sizes of the previews, in pixels along the shorter side [default: a quarter, a half and
    /// three quarters of full]
    #[arg(long, value_name = "PIXELS", value_delimiter = ',', value_parser = whole::<usize>)]
    pub sizes: Vec<usize>,
    /// Number of demo prompts to use
    #[arg(long, value_name = "COUNT", default_value = "60", value_parser = whole::<usize>)]
    pub prompts: usize,
    /// Candidates per prompt, 2 or more
    #[arg(long, value_name = "COUNT", default_value = "8", value_parser = whole::<usize>)]
    pub rows: usize,
    /// Random seed
    #[arg(long, value_name = "NUMBER", default_value = "0", value_parser = seed)]
    #[arg(allow_negative_numbers = true)]
    pub seed: u64,
    #[command(flatten)]
    pub system: SystemBuilder,
}
