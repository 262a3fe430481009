//! What can be typed. Nothing here is checked beyond being a number where a number is due:
//! `request` says what it means.

mod bench;
mod eval;
mod serve;

use std::{path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand};

use super::numbers;
pub(super) use bench::{Bench, BenchWhat, Preview};
pub(super) use eval::{
    BenchmarkOptions, CompBench, CompBenchNetworks, Eval, GenEval, GenEvalNetworks, Results, Scenes,
};
pub(super) use serve::{Serve, ServeLimits};

/// Test-time scaling of visual autoregressive image generation: search over the paths of a
/// coarse-to-fine model and keep the best image.
#[derive(Debug, Parser)]
#[command(
    name = "ttsvar",
    version,
    arg_required_else_help = true,
    help_expected = true
)]
#[command(
    after_help = "Try it: ttsvar generate \"a red circle and a blue square\" --tree tree.png"
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub command: Command,
    #[command(flatten)]
    pub global: Global,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
    /// Search for the best image of a prompt and write it as a PNG
    #[command(allow_negative_numbers = true)] // refused with a better message later
    Generate(Box<Generate>),
    /// Score pictures, painted here or elsewhere, for a prompt
    Score(Score),
    /// List the models that are known, their files and where those are published
    Models(Models),
    /// Show what a search would do and cost, scale by scale, without doing it
    #[command(allow_negative_numbers = true)]
    Plan(Box<Plan>),
    /// Measure how long a search takes and where the time goes, on a model of any size
    #[command(allow_negative_numbers = true)]
    Bench(Box<Bench>),
    /// Print what an image file or a trace says about its origin
    Inspect(Inspect),
    /// Look at this machine and test whether the program works on it
    Doctor(Doctor),
    /// Answer over HTTP: an interface like OpenAI's, jobs that can be watched, and a page
    Serve(Serve),
    /// Compare search methods on a set of prompts whose pictures can be judged
    #[command(subcommand)]
    Eval(Eval),
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Everywhere")]
pub(super) struct Global {
    /// Say nothing but results and errors
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Print results as JSON, one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// Threads to compute with; they do not change the result [default: one a core]
    #[arg(long, global = true, value_name = "COUNT", value_parser = whole::<usize>)]
    pub threads: Option<usize>,
    /// What matrices are kept in: f32, or bf16, which takes half the memory [default: f32]
    #[arg(long, global = true, value_name = "TYPE")]
    pub dtype: Option<String>,
    /// Where to compute: cpu or cuda
    #[arg(long, global = true, value_name = "DEVICE", default_value = "cpu")]
    pub device: String,
}

/// What matrices are kept in where nothing is said.
pub(super) const USUAL_DTYPE: &str = "f32";

impl Global {
    /// What matrices are kept in.
    pub(super) fn dtype(&self) -> &str {
        self.dtype.as_deref().unwrap_or(USUAL_DTYPE)
    }
}

#[derive(Clone, Debug, Args)]
pub(super) struct Generate {
    /// What to paint; `-` reads a prompt a line from standard input
    pub prompt: Option<String>,
    /// Read a prompt a line from this file
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    pub prompts: Option<PathBuf>,
    /// Repeat the search that painted this image; other flags override what it used
    #[arg(long, value_name = "IMAGE")]
    pub from: Option<PathBuf>,
    /// What to keep away from
    #[arg(long, value_name = "TEXT")]
    pub negative: Option<String>,
    #[command(flatten)]
    pub model: Model,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub method: Method,
    #[command(flatten)]
    pub choices: Choices,
    #[command(flatten)]
    pub canvas: Canvas,
    #[command(flatten)]
    pub drawing: Drawing,
    #[command(flatten)]
    pub outputs: Outputs,
}

#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Model")]
pub(super) struct Limit {
    /// Keep to so much memory, such as 12G: fewer rows at once, and networks that are read when
    /// they are needed
    #[arg(long, value_name = "SIZE", value_parser = numbers::parse_bytes)]
    pub memory: Option<u64>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Model")]
pub(super) struct Model {
    /// demo, a released model (see `ttsvar models`), or a folder with a bundle.toml [default: demo]
    #[arg(long, value_name = "NAME|DIR")]
    pub model: Option<String>,
    /// The folder with the downloaded files of released models
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,
    /// Who scores: image-reward, hps, clip, clip-100, clip-2.5 or aesthetic, or a mix such as
    /// image-reward=1,hps=2 [default: the model's]
    #[arg(long, value_name = "SCORERS")]
    pub scorer: Option<String>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Search")]
pub(super) struct Method {
    /// raw, best-of-n, importance, beam, auto or tts-var [default: the model's, mostly tts-var]
    #[arg(long, value_name = "METHOD", conflicts_with = "plan")]
    pub method: Option<String>,
    /// How wide to search; what N counts depends on the method [default: the model's, mostly 1]
    #[arg(long, value_name = "N", conflicts_with = "plan", value_parser = whole::<usize>)]
    pub n: Option<usize>,
    /// A plan of your own, as `ttsvar plan --toml` prints it
    #[arg(long, value_name = "FILE")]
    pub plan: Option<PathBuf>,
    /// How tts-var reads the paper's schedule: released or paper [default: released]
    #[arg(long, value_name = "READING", conflicts_with = "plan")]
    pub schedule: Option<String>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Search")]
pub(super) struct Choices {
    /// What clusters are formed on: pca, pca-raw, pca-all or pool
    #[arg(long, value_name = "KIND")]
    pub features: Option<String>,
    /// What resampling makes of scores: value, diff, max or sum
    #[arg(long, value_name = "KIND")]
    pub potential: Option<String>,
    /// How greedily resampling weighs scores; 0 draws evenly
    #[arg(long, value_name = "NUMBER", value_parser = number::<f64>)]
    pub lambda: Option<f64>,
    /// How resampling draws: multinomial or systematic
    #[arg(long, value_name = "KIND")]
    pub draw: Option<String>,
    /// Size at which images are judged before the last scale: full, or pixels along the shorter
    /// side [default: full]
    #[arg(long, value_name = "full|PIXELS")]
    pub preview: Option<String>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Image")]
pub(super) struct Canvas {
    /// Width to height, from 1:3 to 3:1 [default: 1:1]
    #[arg(long, value_name = "W:H")]
    pub aspect: Option<String>,
    /// 0.06M, 0.25M, 0.60M or 1M [default: the model's]
    #[arg(long, value_name = "SIZE")]
    pub pixels: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Image")]
pub(super) struct Drawing {
    /// Seed of all draws; a list counts on from it [default: a new one each time]
    #[arg(long, value_name = "NUMBER", value_parser = whole::<u64>)]
    pub seed: Option<u64>,
    /// How strongly the prompt guides; 1 turns guidance off [default: the model's]
    #[arg(long, value_name = "NUMBER", value_parser = number::<f32>)]
    pub cfg: Option<f32>,
    /// Guide on the output of the n-th block from the end instead of on the logits
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    pub cfg_layer: Option<usize>,
    /// Temperature, above 0 [default: the model's]
    #[arg(long, value_name = "NUMBER", value_parser = number::<f32>)]
    pub tau: Option<f32>,
    /// Keep the likeliest values up to this share, 0 to 1; 0 keeps all [default: the model's]
    #[arg(long, value_name = "NUMBER", value_parser = number::<f32>)]
    pub top_p: Option<f32>,
    /// Keep so many of the likeliest values; 0 keeps all [default: the model's]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    pub top_k: Option<usize>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Outputs {
    /// The image: a .png file, which is replaced, or a folder, in which a free name is chosen
    /// [default: this folder]
    #[arg(long, short, value_name = "FILE|DIR")]
    pub out: Option<PathBuf>,
    /// Write the record of the search: a .json file or a folder
    #[arg(long, value_name = "FILE|DIR")]
    pub trace: Option<PathBuf>,
    /// Write a picture of the search: a .png file or a folder
    #[arg(long, value_name = "FILE|DIR")]
    pub tree: Option<PathBuf>,
    /// Write a page that tells the whole search: a .html file or a folder
    #[arg(long, value_name = "FILE|DIR")]
    pub report: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct Score {
    /// PNG files, or folders of them
    #[arg(required = true, value_name = "IMAGE|DIR")]
    pub images: Vec<PathBuf>,
    /// What the pictures should show [default: of each, the prompt that it says it was painted for]
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    #[command(flatten)]
    pub model: Model,
}

#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Models {
    #[command(subcommand)]
    pub what: Option<ModelsWhat>,
    /// Look for the files of the models in this folder
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum ModelsWhat {
    /// Download models from Hugging Face, each with all that it needs; goes on with what was begun
    Fetch(Fetch),
}

#[derive(Clone, Debug, Args)]
pub(super) struct Fetch {
    /// Names that `ttsvar models` lists, or of scorers: hps, clip, aesthetic
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// The folder to put them into [default: the cache of Hugging Face's own tools]
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct Plan {
    /// raw, best-of-n, importance, beam, auto, tts-var, or a plan file [default: the model's
    /// method]
    #[arg(value_name = "METHOD|FILE")]
    pub plan: Option<String>,
    /// How wide to search [default: the model's, mostly 1]
    #[arg(long, value_name = "N", value_parser = whole::<usize>)]
    pub n: Option<usize>,
    /// How tts-var reads the paper's schedule: released or paper [default: released]
    #[arg(long, value_name = "READING")]
    pub schedule: Option<String>,
    #[command(flatten)]
    pub model: Model,
    #[command(flatten)]
    pub limit: Limit,
    /// Plan for a model of so many scales instead, without knowing its cost
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>)]
    #[arg(conflicts_with_all = ["model", "weights", "scorer", "aspect", "pixels"])]
    pub scales: Option<usize>,
    #[command(flatten)]
    pub choices: Choices,
    #[command(flatten)]
    pub canvas: Canvas,
    /// How strongly the prompt guides; 1 halves the work [default: the model's]
    #[arg(long, value_name = "NUMBER", value_parser = number::<f32>)]
    pub cfg: Option<f32>,
    /// Print the plan as a file for `generate --plan`
    #[arg(long, conflicts_with = "json")]
    pub toml: bool,
}

#[derive(Clone, Debug, Args)]
pub(super) struct Inspect {
    /// Images painted by this program, or traces
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct Doctor {
    /// Look which models could run with the files in this folder, too
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,
}

fn whole<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse()
        .map_err(|_| "expected a whole number, 0 or more")
}

fn number<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|_| "expected a number")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_is_sound_and_has_a_help_text() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }
}
