//! The arguments of `ttsvar collect`.

use std::path::PathBuf;

use clap::Args;

use super::{ImageOptions, Limit, output_folder, parse, whole};
use crate::{collect::LatentType, system::SystemBuilder};

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Collect {
    /// Read prompts from this file or pipe, one per line: text, or {"prompt": "...", "captions":
    /// ["..."]} with more captions to score the image against; `-` reads standard input
    #[arg(long, value_name = "FILE", help_heading = "Prompts")]
    pub prompts: PathBuf,
    /// Samples per prompt
    #[arg(long, value_name = "COUNT", default_value = "1", value_parser = whole::<usize>)]
    #[arg(help_heading = "Prompts")]
    pub samples: usize,
    #[command(flatten)]
    pub system: SystemBuilder,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub image: ImageOptions,
    /// Scales after which latents are stored, counted from 0 [default: all]
    #[arg(long, value_name = "SCALES", value_delimiter = ',', value_parser = whole::<usize>)]
    #[arg(help_heading = "Output")]
    pub scales: Vec<usize>,
    /// Type of stored latents and hidden states: f16 or f32
    #[arg(long, value_name = "TYPE", default_value = "f16", value_parser = parse::<LatentType>)]
    #[arg(help_heading = "Output")]
    pub latents: LatentType,
    /// Also store the output of this block of the transformer, counted from 1, for the tokens of
    /// each scale
    #[arg(long, value_name = "BLOCK", value_parser = whole::<usize>, help_heading = "Output")]
    pub hidden_block: Option<usize>,
    /// Also store the finished images
    #[arg(long, help_heading = "Output")]
    pub images: bool,
    /// Samples per file
    #[arg(long, value_name = "COUNT", default_value = "256", value_parser = whole::<usize>)]
    #[arg(help_heading = "Output")]
    pub shard: usize,
    /// Folder for the files
    #[arg(
        long,
        short,
        value_name = "DIR",
        default_value = "pairs",
        value_parser = output_folder(),
        help_heading = "Output"
    )]
    pub out: PathBuf,
    /// Resume the collection in that folder
    #[arg(long, help_heading = "Output")]
    pub resume: bool,
}
