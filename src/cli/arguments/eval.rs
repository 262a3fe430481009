//! What can be typed after `ttsvar eval`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::{ImageOptions, whole};
use crate::system::SystemBuilder;

#[derive(Debug, Subcommand)]
pub(in crate::cli) enum Eval {
    /// Pictures of flat shapes, GenEval's six tasks, an exact judge: needs no downloads
    #[command(allow_negative_numbers = true)]
    Scenes(Box<Scenes>),
    /// GenEval: objects, numbers, colours and places, judged by a detector; also pictures made
    /// elsewhere
    #[command(allow_negative_numbers = true)]
    Geneval(Box<GenEval>),
    /// T2I-CompBench: colours, shapes, textures, places, numbers, asked of BLIP, a detector and
    /// CLIP
    #[command(allow_negative_numbers = true)]
    Compbench(Box<CompBench>),
}

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Scenes {
    /// Methods to compare: raw, importance, best-of-n, beam, auto, tts-var
    #[arg(
        long,
        value_name = "METHODS",
        value_delimiter = ',',
        conflicts_with = "experiments"
    )]
    #[arg(default_value = "raw,importance,best-of-n,tts-var")]
    pub methods: Vec<String>,
    /// How wide to search, one or more
    #[arg(long, value_name = "NS", value_delimiter = ',', default_value = "1,2,4,8", value_parser = whole::<usize>)]
    #[arg(conflicts_with = "experiments")]
    pub n: Vec<usize>,
    /// Run the comparisons in these files, or in all files of a folder, instead
    #[arg(long, value_name = "FILE|DIR", num_args = 1..)]
    pub experiments: Vec<PathBuf>,
    #[command(flatten)]
    pub prompts: PromptSet,
    #[command(flatten)]
    pub system: SystemBuilder,
    #[command(flatten)]
    pub image: ImageOptions,
    #[command(flatten)]
    pub results: Results,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Prompts")]
pub(in crate::cli) struct PromptSet {
    /// How many prompts [default: 300, or what an experiment says]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>)]
    pub prompts: Option<usize>,
    /// How many tries with every prompt [default: 4, or what an experiment says]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>)]
    pub samples: Option<usize>,
    /// What the choice and order of the prompts come from
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = whole::<u64>)]
    pub prompt_seed: u64,
    /// Which prompts: test, or tuning for choosing settings; they share no caption where there are
    /// enough
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    pub split: String,
    /// Prompts on which scores of unfinished and finished images are compared; 0 for none [default:
    /// 60, or what an experiment says]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>)]
    pub consistency: Option<usize>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(in crate::cli) struct Results {
    /// Folder for records, tables and plots
    #[arg(long, short, value_name = "DIR", default_value = "eval-scenes")]
    pub out: PathBuf,
    /// Go on with the evaluation in that folder where it stopped
    #[arg(long)]
    pub resume: bool,
    /// Keep every judged picture in the folder `images`
    #[arg(long)]
    pub images: bool,
    /// Put the tables of experiments into this page, each in its place
    #[arg(long, value_name = "FILE.md", requires = "experiments")]
    pub page: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Contest {
    /// Methods to compare: raw, importance, best-of-n, beam, auto, tts-var
    #[arg(
        long,
        value_name = "METHODS",
        value_delimiter = ',',
        conflicts_with = "images"
    )]
    #[arg(default_value = "raw,tts-var")]
    pub methods: Vec<String>,
    /// How wide to search, one or more
    #[arg(long, value_name = "NS", value_delimiter = ',', default_value = "1", value_parser = whole::<usize>)]
    #[arg(conflicts_with = "images")]
    pub n: Vec<usize>,
    /// Judge the pictures in these folders instead, which are laid out as the original's own
    /// program expects
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub images: Vec<PathBuf>,
    #[command(flatten)]
    pub system: SystemBuilder,
    #[command(flatten)]
    pub image: ImageOptions,
    /// Go on with the evaluation in that folder where it stopped
    #[arg(long, help_heading = "Output")]
    pub resume: bool,
    /// Keep every painted picture, in the layout of the original, below `images`
    #[arg(long, help_heading = "Output", conflicts_with = "images")]
    pub keep: bool,
}

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct GenEval {
    #[command(flatten)]
    pub contest: Contest,
    /// GenEval's evaluation_metadata.jsonl; folders of pictures may bring their own
    #[arg(long, value_name = "FILE", help_heading = "Prompts")]
    pub prompts: Option<PathBuf>,
    /// How many tries with every prompt, or pictures that every prompt should have in the folders
    /// [default: 4, or as many as the folders have]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>, help_heading = "Prompts")]
    pub samples: Option<usize>,
    #[command(flatten)]
    pub judges: Judges,
    /// Folder for records, tables and plots
    #[arg(
        long,
        short,
        value_name = "DIR",
        default_value = "eval-geneval",
        help_heading = "Output"
    )]
    pub out: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct CompBench {
    #[command(flatten)]
    pub contest: Contest,
    /// The folder with T2I-CompBench's text files (color_val.txt, shape_val.txt, ...), or some of
    /// the files
    #[arg(long, value_name = "DIR|FILE", num_args = 1.., required = true, help_heading = "Prompts")]
    pub prompts: Vec<PathBuf>,
    /// Judge these categories only: color, shape, texture, spatial, non_spatial, numeracy, complex
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        help_heading = "Prompts"
    )]
    pub categories: Vec<String>,
    /// How many pictures of every prompt are painted, or lie in the folders [default: 10]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>, help_heading = "Prompts")]
    pub samples: Option<usize>,
    /// Also judge spatial and numeracy prompts that name things without a class of the detector:
    /// they are never found
    #[arg(long, help_heading = "Prompts")]
    pub every_prompt: bool,
    #[command(flatten)]
    pub judges: BenchJudges,
    /// Folder for records, tables and plots
    #[arg(
        long,
        short,
        value_name = "DIR",
        default_value = "eval-compbench",
        help_heading = "Output"
    )]
    pub out: PathBuf,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Judges")]
pub(in crate::cli) struct Judges {
    /// The folder with the downloads of detector and CLIP [default: that of --weights]
    #[arg(long, value_name = "DIR")]
    pub judges: Option<PathBuf>,
    /// The detector: a checkpoint of mmdetection or a folder of Hugging Face [default: found by
    /// name in --judges]
    #[arg(long, value_name = "FILE|DIR")]
    pub detector: Option<PathBuf>,
    /// The CLIP that names colours: a folder of Hugging Face [default: found by name in --judges]
    #[arg(long, value_name = "DIR")]
    pub clip: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Judges")]
pub(in crate::cli) struct BenchJudges {
    /// The folder with the downloads of BLIP, detector and CLIP [default: that of --weights]
    #[arg(long, value_name = "DIR")]
    pub judges: Option<PathBuf>,
    /// The BLIP that is asked for things: model_base_vqa_capfilt_large.pth [default: found by name
    /// in --judges]
    #[arg(long, value_name = "FILE")]
    pub blip: Option<PathBuf>,
    /// BLIP's words: the vocab.txt of bert-base-uncased [default: beside BLIP, or found by name in
    /// --judges]
    #[arg(long, value_name = "FILE")]
    pub vocabulary: Option<PathBuf>,
    /// The detector: a checkpoint of mmdetection or a folder of Hugging Face [default: found by
    /// name in --judges]
    #[arg(long, value_name = "FILE|DIR")]
    pub detector: Option<PathBuf>,
    /// The CLIP that compares picture and prompt: a folder of Hugging Face [default: found by name
    /// in --judges]
    #[arg(long, value_name = "DIR")]
    pub clip: Option<PathBuf>,
}
