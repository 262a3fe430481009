//! The arguments of `ttsvar eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{HeldOut, ImageOptions, Limit, output_folder, whole};
use crate::{eval::CostModel, scorers::ScorerMix, system::SystemBuilder};

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Eval {
    /// GenEval's six tasks with images of flat shapes and a rule-based evaluator; needs no downloads
    #[command(allow_negative_numbers = true)]
    Scenes(Box<Scenes>),
    /// GenEval: objects, numbers, colours and positions, evaluated by a detector; also for images
    /// from other programs
    #[command(allow_negative_numbers = true)]
    Geneval(Box<GenEval>),
    /// T2I-CompBench: colours, shapes, textures, positions and numbers, evaluated by BLIP, a
    /// detector and CLIP
    #[command(allow_negative_numbers = true)]
    Compbench(Box<CompBench>),
    /// Lists of questions about each prompt, answered by vqa or a vision server; also for images
    /// from other programs
    #[command(allow_negative_numbers = true)]
    Questions(Box<QuestionBenchmark>),
}

/// A program that shows how an evaluation proceeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(in crate::cli) enum LogProgram {
    /// Event files in the folder `tensorboard`.
    Tensorboard,
}

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Scenes {
    /// Methods to compare: raw, best-of-n, importance, beam, lookahead, draft, sequential, auto,
    /// tts-var
    #[arg(
        long,
        value_name = "METHOD,...",
        value_delimiter = ',',
        conflicts_with = "experiments"
    )]
    #[arg(default_value = "raw,best-of-n,tts-var,auto")]
    pub methods: Vec<String>,
    /// Search sizes N, one or more
    #[arg(
        long,
        value_name = "N,...",
        value_delimiter = ',',
        default_value = "1,2,4,8"
    )]
    #[arg(value_parser = whole::<usize>)]
    #[arg(conflicts_with = "experiments")]
    pub n: Vec<usize>,
    /// Run the experiments in these files, or in all files of a folder, instead
    #[arg(long, value_name = "FILE|DIR", num_args = 1..)]
    pub experiments: Vec<PathBuf>,
    #[command(flatten)]
    pub prompts: PromptSet,
    /// Cost model to price searches with: demo, infinity-2b or a .toml file; can be repeated
    #[arg(long, value_name = "NAME|FILE", default_values = CostModel::NAMES)]
    pub cost_model: Vec<String>,
    #[command(flatten)]
    pub held_out: HeldOut,
    #[command(flatten)]
    pub system: SystemBuilder,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub image: ImageOptions,
    #[command(flatten)]
    pub results: Results,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Prompts")]
pub(in crate::cli) struct PromptSet {
    /// Number of prompts [default: 300, or as in the experiment]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>)]
    pub prompts: Option<usize>,
    /// Samples per prompt [default: 4, or as in the experiment]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>)]
    pub samples: Option<usize>,
    /// Seed for choosing and ordering the prompts
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = whole::<u64>)]
    pub prompt_seed: u64,
    /// Set of prompts: test, or tuning (for choosing settings); the two share no captions in tasks
    /// that have enough of them
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    pub split: String,
    /// Number of prompts on which to compare the scores of unfinished and finished images; 0 skips
    /// this [default: 60, or as in the experiment]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>)]
    pub consistency: Option<usize>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(in crate::cli) struct Results {
    /// Folder for records, tables and charts
    #[arg(
        long,
        short,
        value_name = "DIR",
        default_value = "eval-scenes",
        value_parser = output_folder()
    )]
    pub out: PathBuf,
    /// Resume the evaluation in that folder
    #[arg(long)]
    pub resume: bool,
    /// Also log the results for another program while the evaluation runs: tensorboard
    #[arg(long, value_name = "PROGRAM")]
    pub log: Option<LogProgram>,
    /// Keep every evaluated image in the folder `images`
    #[arg(long)]
    pub images: bool,
    /// Insert the tables of experiments into this page, at their markers
    #[arg(long, value_name = "FILE.md", requires = "experiments")]
    pub page: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct BenchmarkOptions {
    /// Methods to compare: raw, best-of-n, importance, beam, lookahead, draft, sequential, auto,
    /// tts-var
    #[arg(
        long,
        value_name = "METHOD,...",
        value_delimiter = ',',
        conflicts_with = "images"
    )]
    #[arg(default_value = "raw,tts-var")]
    pub methods: Vec<String>,
    /// Search sizes N, one or more
    #[arg(long, value_name = "N,...", value_delimiter = ',', default_value = "1")]
    #[arg(value_parser = whole::<usize>)]
    #[arg(conflicts_with = "images")]
    pub n: Vec<usize>,
    /// Evaluate the images in these folders instead, laid out as by the original program
    #[arg(long, value_name = "DIR", num_args = 1..)]
    #[arg(conflicts_with_all = ["cost_model", "held_out"])]
    pub images: Vec<PathBuf>,
    /// Cost model to price searches with: demo, infinity-2b or a .toml file; can be repeated
    /// [default: the operations of this model]
    #[arg(long, value_name = "NAME|FILE")]
    pub cost_model: Vec<String>,
    #[command(flatten)]
    pub held_out: HeldOut,
    #[command(flatten)]
    pub system: SystemBuilder,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub image: ImageOptions,
    /// Resume the evaluation in that folder
    #[arg(long, help_heading = "Output")]
    pub resume: bool,
    /// Also log the results for another program while the evaluation runs: tensorboard
    #[arg(
        long,
        value_name = "PROGRAM",
        help_heading = "Output",
        conflicts_with = "images"
    )]
    pub log: Option<LogProgram>,
    /// Keep every generated image in the folder `images`, laid out as by the original program
    #[arg(long, help_heading = "Output", conflicts_with = "images")]
    pub keep: bool,
}

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct GenEval {
    #[command(flatten)]
    pub benchmark: BenchmarkOptions,
    /// GenEval's evaluation_metadata.jsonl; optional if image folders contain it
    #[arg(long, value_name = "FILE", help_heading = "Prompts")]
    pub prompts: Option<PathBuf>,
    /// Samples per prompt, or expected images per prompt in the folders [default: 4, or as many as
    /// the folders have]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>, help_heading = "Prompts")]
    pub samples: Option<usize>,
    #[command(flatten)]
    pub judges: GenEvalNetworks,
    /// Folder for records, tables and charts
    #[arg(
        long,
        short,
        value_name = "DIR",
        default_value = "eval-geneval",
        value_parser = output_folder(),
        help_heading = "Output"
    )]
    pub out: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct CompBench {
    #[command(flatten)]
    pub benchmark: BenchmarkOptions,
    /// The folder with T2I-CompBench's text files (color_val.txt, shape_val.txt, ...), or some of
    /// the files
    #[arg(long, value_name = "DIR|FILE", num_args = 1.., required = true, help_heading = "Prompts")]
    pub prompts: Vec<PathBuf>,
    /// Only evaluate these categories: color, shape, texture, spatial, non_spatial, numeracy,
    /// complex
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        help_heading = "Prompts"
    )]
    pub categories: Vec<String>,
    /// Samples per prompt, or images per prompt in the folders [default: 10]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>, help_heading = "Prompts")]
    pub samples: Option<usize>,
    /// Also evaluate spatial and numeracy prompts that name objects the detector has no class for;
    /// such objects count as not found
    #[arg(long, help_heading = "Prompts")]
    pub every_prompt: bool,
    #[command(flatten)]
    pub judges: CompBenchNetworks,
    /// Folder for records, tables and charts
    #[arg(
        long,
        short,
        value_name = "DIR",
        default_value = "eval-compbench",
        value_parser = output_folder(),
        help_heading = "Output"
    )]
    pub out: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct QuestionBenchmark {
    #[command(flatten)]
    pub benchmark: BenchmarkOptions,
    /// Prompts with their questions: JSON lines, or the published file of GenEval 2 or DPG-Bench
    #[arg(long, value_name = "FILE", required = true, help_heading = "Prompts")]
    pub prompts: PathBuf,
    /// Samples per prompt, or images per prompt in the folders [default: 1]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>, help_heading = "Prompts")]
    pub samples: Option<usize>,
    /// Scorer that answers the questions: vqa, vqa-xxl or openai [default: same as --scorer]
    #[arg(long, value_name = "SCORER", help_heading = "Evaluator")]
    #[arg(value_parser = crate::options::parse::<ScorerMix>)]
    pub answerer: Option<ScorerMix>,
    /// Folder for records, tables and charts
    #[arg(
        long,
        short,
        value_name = "DIR",
        default_value = "eval-questions",
        value_parser = output_folder(),
        help_heading = "Output"
    )]
    pub out: PathBuf,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Evaluator")]
pub(in crate::cli) struct GenEvalNetworks {
    /// Folder with the downloaded detector and CLIP [default: same as --weights]
    #[arg(long, value_name = "DIR")]
    pub judges: Option<PathBuf>,
    /// Detector: an mmdetection checkpoint or a Hugging Face folder [default: found by name in
    /// --judges]
    #[arg(long, value_name = "FILE|DIR")]
    pub detector: Option<PathBuf>,
    /// CLIP for naming colours: a Hugging Face folder [default: found by name in --judges]
    #[arg(long, value_name = "DIR")]
    pub clip: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Evaluator")]
pub(in crate::cli) struct CompBenchNetworks {
    /// Folder with the downloaded BLIP, detector and CLIP [default: same as --weights]
    #[arg(long, value_name = "DIR")]
    pub judges: Option<PathBuf>,
    /// BLIP that answers questions: model_base_vqa_capfilt_large.pth [default: found by name in
    /// --judges]
    #[arg(long, value_name = "FILE")]
    pub blip: Option<PathBuf>,
    /// BLIP's vocabulary: the vocab.txt of bert-base-uncased [default: beside BLIP, or found by
    /// name in --judges]
    #[arg(long, value_name = "FILE")]
    pub vocabulary: Option<PathBuf>,
    /// Detector: an mmdetection checkpoint or a Hugging Face folder [default: found by name in
    /// --judges]
    #[arg(long, value_name = "FILE|DIR")]
    pub detector: Option<PathBuf>,
    /// CLIP for comparing image and prompt: a Hugging Face folder [default: found by name in
    /// --judges]
    #[arg(long, value_name = "DIR")]
    pub clip: Option<PathBuf>,
}
