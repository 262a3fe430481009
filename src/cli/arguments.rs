//! What can be typed. Nothing here is checked beyond being a number where a number is due: `request` says what it means.

use std::{net::IpAddr, path::PathBuf, str::FromStr};

use clap::{Args, Parser, Subcommand};

use super::numbers;

/// Test-time scaling of visual autoregressive image generation: search over the paths of a coarse-to-fine model and
/// keep the best image.
#[derive(Debug, Parser)]
#[command(name = "ttsvar", version, arg_required_else_help = true, help_expected = true)]
#[command(after_help = "Try it: ttsvar generate \"a red circle and a blue square\" --tree tree.png")]
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

#[derive(Debug, Subcommand)]
pub(super) enum Eval {
    /// Pictures of flat shapes, GenEval's six tasks, an exact judge: needs no downloads
    #[command(allow_negative_numbers = true)]
    Scenes(Box<Scenes>),
    /// GenEval: objects, numbers, colours and places, judged by a detector; also pictures made elsewhere
    #[command(allow_negative_numbers = true)]
    Geneval(Box<GenEval>),
    /// T2I-CompBench: colours, shapes, textures, places, numbers, asked of BLIP, a detector and CLIP
    #[command(allow_negative_numbers = true)]
    Compbench(Box<CompBench>),
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
    /// What matrices are kept in: f32, or bf16, which takes half the memory
    #[arg(long, global = true, value_name = "TYPE", default_value = "f32")]
    pub dtype: String,
    /// Where to compute: cpu or cuda
    #[arg(long, global = true, value_name = "DEVICE", default_value = "cpu")]
    pub device: String,
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
    /// Keep to so much memory, such as 12G: fewer rows at once, and networks that are read when they are needed
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
    /// Who scores: image-reward, hps, clip, clip-100, clip-2.5 or aesthetic, or a mix such as image-reward=1,hps=2
    /// [default: the model's]
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
    /// Size at which images are judged before the last scale: full, or pixels along the shorter side [default: full]
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
    /// The image: a .png file, which is replaced, or a folder, in which a free name is chosen [default: this folder]
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
    /// raw, best-of-n, importance, beam, auto, tts-var, or a plan file [default: the model's method]
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
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Bench {
    #[command(subcommand)]
    pub what: Option<BenchWhat>,
    /// demo, or a released size with weights made up in memory: infinity-layer12, infinity-layer16, infinity-layer24, 2b
    /// or 8b
    #[arg(long, value_name = "NAME", default_value = "demo")]
    pub arch: String,
    /// 0.06M, 0.25M, 0.60M or 1M [default: 0.06M]
    #[arg(long, value_name = "SIZE")]
    pub pixels: Option<String>,
    /// Timed runs, after one that warms up; medians are printed
    #[arg(long, value_name = "COUNT", default_value = "3", value_parser = whole::<usize>)]
    pub repeat: usize,
    /// Time single operations at the shapes of the last scale instead of a search
    #[arg(long)]
    pub ops: bool,
    /// Seed of all draws, the same in every run
    #[arg(long, value_name = "NUMBER", default_value = "0", value_parser = whole::<u64>)]
    pub seed: u64,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub method: Method,
    #[command(flatten)]
    pub choices: Choices,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum BenchWhat {
    /// Hold the scores of smaller previews against those of full size
    Preview(Preview),
}

#[derive(Clone, Debug, Args)]
pub(super) struct Preview {
    #[command(flatten)]
    pub model: Model,
    /// Sizes of the previews, in pixels along the shorter side [default: a quarter, a half and three quarters of full]
    #[arg(long, value_name = "PIXELS", value_delimiter = ',', value_parser = whole::<usize>)]
    pub sizes: Vec<usize>,
    /// How many of the demo's prompts
    #[arg(long, value_name = "COUNT", default_value = "60", value_parser = whole::<usize>)]
    pub prompts: usize,
    /// Rows of every prompt, 2 or more
    #[arg(long, value_name = "COUNT", default_value = "8", value_parser = whole::<usize>)]
    pub rows: usize,
    /// Seed of all draws
    #[arg(long, value_name = "NUMBER", default_value = "0", value_parser = whole::<u64>)]
    pub seed: u64,
}

#[derive(Clone, Debug, Args)]
pub(super) struct Serve {
    /// Where to listen; any other machine's way in needs a token
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1")]
    pub host: IpAddr,
    /// Port to listen on; 0 takes a free one, and the address is printed
    #[arg(long, short, value_name = "NUMBER", default_value = "8080")]
    pub port: u16,
    /// Secret that clients must send; better given by the environment, where other users cannot read it
    #[arg(long, value_name = "SECRET", env = "TTSVAR_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Folder for jobs, images and traces
    #[arg(long, value_name = "DIR", default_value = "ttsvar-jobs")]
    pub folder: PathBuf,
    #[command(flatten)]
    pub model: Model,
    /// Searches side by side [default: one a core]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>)]
    pub workers: Option<usize>,
    /// Seconds that searches under way get when the server is to end
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = whole::<u64>)]
    pub grace: u64,
    #[command(flatten)]
    pub limits: ServeLimits,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Limits")]
pub(super) struct ServeLimits {
    /// Searches that may wait
    #[arg(long, value_name = "COUNT", default_value = "64", value_parser = whole::<usize>)]
    pub queue: usize,
    /// Bytes of a request
    #[arg(long, value_name = "BYTES", default_value = "65536", value_parser = whole::<usize>)]
    pub max_body: usize,
    /// Characters of a prompt
    #[arg(long, value_name = "COUNT", default_value = "1000", value_parser = whole::<usize>)]
    pub max_prompt: usize,
    /// Rows of a search
    #[arg(long, value_name = "COUNT", default_value = "64", value_parser = whole::<usize>)]
    pub max_rows: usize,
    /// Pictures of one request
    #[arg(long, value_name = "COUNT", default_value = "10", value_parser = whole::<usize>)]
    pub max_pictures: usize,
    /// Seconds that a search may take
    #[arg(long, value_name = "SECONDS", default_value = "600", value_parser = whole::<u64>)]
    pub max_seconds: u64,
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

#[derive(Clone, Debug, Args)]
pub(super) struct Scenes {
    /// Methods to compare: raw, importance, best-of-n, beam, auto, tts-var
    #[arg(long, value_name = "METHODS", value_delimiter = ',', conflicts_with = "experiments")]
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
    pub model: Model,
    #[command(flatten)]
    pub canvas: Canvas,
    #[command(flatten)]
    pub drawing: Drawing,
    #[command(flatten)]
    pub results: Results,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Prompts")]
pub(super) struct PromptSet {
    /// How many prompts [default: 300, or what an experiment says]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>)]
    pub prompts: Option<usize>,
    /// How many tries with every prompt [default: 4, or what an experiment says]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>)]
    pub samples: Option<usize>,
    /// What the choice and order of the prompts come from
    #[arg(long, value_name = "NUMBER", default_value = "1", value_parser = whole::<u64>)]
    pub prompt_seed: u64,
    /// Which prompts: test, or tuning for choosing settings; they share no caption where there are enough
    #[arg(long, value_name = "SPLIT", default_value = "test")]
    pub split: String,
    /// Prompts on which scores of unfinished and finished images are compared; 0 for none [default: 60, or what an
    /// experiment says]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>)]
    pub consistency: Option<usize>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Results {
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
pub(super) struct Contest {
    /// Methods to compare: raw, importance, best-of-n, beam, auto, tts-var
    #[arg(long, value_name = "METHODS", value_delimiter = ',', conflicts_with = "images")]
    #[arg(default_value = "raw,tts-var")]
    pub methods: Vec<String>,
    /// How wide to search, one or more
    #[arg(long, value_name = "NS", value_delimiter = ',', default_value = "1", value_parser = whole::<usize>)]
    #[arg(conflicts_with = "images")]
    pub n: Vec<usize>,
    /// Judge the pictures in these folders instead, which are laid out as the original's own program expects
    #[arg(long, value_name = "DIR", num_args = 1..)]
    pub images: Vec<PathBuf>,
    #[command(flatten)]
    pub model: Model,
    #[command(flatten)]
    pub canvas: Canvas,
    #[command(flatten)]
    pub drawing: Drawing,
    /// Go on with the evaluation in that folder where it stopped
    #[arg(long, help_heading = "Output")]
    pub resume: bool,
    /// Keep every painted picture, in the layout of the original, below `images`
    #[arg(long, help_heading = "Output", conflicts_with = "images")]
    pub keep: bool,
}

#[derive(Clone, Debug, Args)]
pub(super) struct GenEval {
    #[command(flatten)]
    pub contest: Contest,
    /// GenEval's evaluation_metadata.jsonl; folders of pictures may bring their own
    #[arg(long, value_name = "FILE", help_heading = "Prompts")]
    pub prompts: Option<PathBuf>,
    /// How many tries with every prompt [default: 4]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>, conflicts_with = "images")]
    #[arg(help_heading = "Prompts")]
    pub samples: Option<usize>,
    #[command(flatten)]
    pub judges: Judges,
    /// Folder for records, tables and plots
    #[arg(long, short, value_name = "DIR", default_value = "eval-geneval", help_heading = "Output")]
    pub out: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(super) struct CompBench {
    #[command(flatten)]
    pub contest: Contest,
    /// The folder with T2I-CompBench's text files (color_val.txt, shape_val.txt, ...), or some of the files
    #[arg(long, value_name = "DIR|FILE", num_args = 1.., required = true, help_heading = "Prompts")]
    pub prompts: Vec<PathBuf>,
    /// Judge these categories only: color, shape, texture, spatial, non_spatial, numeracy, complex
    #[arg(long, value_name = "NAMES", value_delimiter = ',', help_heading = "Prompts")]
    pub categories: Vec<String>,
    /// How many pictures of every prompt are painted, or lie in the folders [default: 10]
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>, help_heading = "Prompts")]
    pub samples: Option<usize>,
    /// Also judge spatial and numeracy prompts that name things without a class of the detector: they are never found
    #[arg(long, help_heading = "Prompts")]
    pub every_prompt: bool,
    #[command(flatten)]
    pub judges: BenchJudges,
    /// Folder for records, tables and plots
    #[arg(long, short, value_name = "DIR", default_value = "eval-compbench", help_heading = "Output")]
    pub out: PathBuf,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Judges")]
pub(super) struct Judges {
    /// The folder with the downloads of detector and CLIP [default: that of --weights]
    #[arg(long, value_name = "DIR")]
    pub judges: Option<PathBuf>,
    /// The detector: a checkpoint of mmdetection or a folder of Hugging Face [default: found by name in --judges]
    #[arg(long, value_name = "FILE|DIR")]
    pub detector: Option<PathBuf>,
    /// The CLIP that names colours: a folder of Hugging Face [default: found by name in --judges]
    #[arg(long, value_name = "DIR")]
    pub clip: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Judges")]
pub(super) struct BenchJudges {
    /// The folder with the downloads of BLIP, detector and CLIP [default: that of --weights]
    #[arg(long, value_name = "DIR")]
    pub judges: Option<PathBuf>,
    /// The BLIP that is asked for things: model_base_vqa_capfilt_large.pth [default: found by name in --judges]
    #[arg(long, value_name = "FILE")]
    pub blip: Option<PathBuf>,
    /// BLIP's words: the vocab.txt of bert-base-uncased [default: beside BLIP, or found by name in --judges]
    #[arg(long, value_name = "FILE")]
    pub vocabulary: Option<PathBuf>,
    /// The detector: a checkpoint of mmdetection or a folder of Hugging Face [default: found by name in --judges]
    #[arg(long, value_name = "FILE|DIR")]
    pub detector: Option<PathBuf>,
    /// The CLIP that compares picture and prompt: a folder of Hugging Face [default: found by name in --judges]
    #[arg(long, value_name = "DIR")]
    pub clip: Option<PathBuf>,
}

fn whole<T: FromStr>(text: &str) -> Result<T, &'static str> {
    text.parse().map_err(|_| "expected a whole number, 0 or more")
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
