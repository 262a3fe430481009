//! What can be typed. Nothing here is checked beyond being a number where a number is due:
//! `request` says what it means.

mod bench;
mod collect;
mod eval;
#[cfg(feature = "server")]
mod serve;

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use clap::{
    Arg, ArgMatches, Args, Command, FromArgMatches, Parser, Subcommand,
    builder::{PathBufValueParser, TypedValueParser},
};

use clap_complete::Shell;

use super::numbers;
use crate::{
    Error, file,
    loading::{Device, Dtype},
    options::{Options, parse, positive, whole},
    scorers::ScorerList,
    system::SystemBuilder,
};
pub(super) use bench::{Bench, BenchWhat, Preview};
pub(super) use collect::Collect;
pub(super) use eval::{
    BenchmarkOptions, CompBench, CompBenchNetworks, Eval, GenEval, GenEvalNetworks, LogProgram,
    QuestionBenchmark, Scenes,
};
#[cfg(feature = "server")]
pub(super) use serve::Serve;

/// Test-time scaling of visual autoregressive image generation: search over the paths of a
/// coarse-to-fine model and keep the best image.
#[derive(Debug, Parser)]
#[command(
    name = "ttsvar",
    version,
    arg_required_else_help = true,
    help_expected = true
)]
#[command(after_help = "Try it: ttsvar generate \"a red circle and a blue star\" --tree tree.png")]
pub(super) struct Arguments {
    #[command(subcommand)]
    pub command: Subcommands,
    #[command(flatten)]
    pub global: Global,
}

#[derive(Debug, Subcommand)]
pub(super) enum Subcommands {
    /// Search for the best image for a prompt and write it as a PNG
    #[command(allow_negative_numbers = true)] // refused with a better message later
    Generate(Box<Generate>),
    /// Score images against a prompt, whether generated here or elsewhere
    Score(Box<Score>),
    /// List the known models, their files and where to get them
    Models(Models),
    /// Show what a search would do and cost, scale by scale, without doing it
    #[command(allow_negative_numbers = true)]
    Plan(Box<Plan>),
    /// Measure how long a search takes and where the time goes, on a model of any size
    #[command(allow_negative_numbers = true)]
    Bench(Box<Bench>),
    /// Show how an image was made, given the image or a trace
    Inspect(Inspect),
    /// Convert a model's weights to 8 bits, for smaller files that load faster
    Convert(Convert),
    /// Check this machine and test whether the program works on it
    Doctor(Doctor),
    /// Serve over HTTP: an OpenAI-compatible image API, jobs with event streams, and a web page
    #[cfg(feature = "server")]
    Serve(Box<Serve>),
    /// Compare search methods on sets of prompts with evaluators
    #[command(subcommand)]
    Eval(Eval),
    /// Write training pairs for a latent verifier: latents of unfinished samples and the scores of
    /// their finished images
    #[command(allow_negative_numbers = true)]
    Collect(Box<Collect>),
    /// Print a shell completion script
    Completions(Completions),
    /// Print the manual page
    Man,
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Global options")]
pub(super) struct Global {
    /// Print results and errors only
    #[arg(long, short, global = true)]
    pub quiet: bool,
    /// Print results as JSON, one object per line
    #[arg(long, global = true)]
    pub json: bool,
    /// Number of threads; results do not depend on it [default: one per core]
    #[arg(long, global = true, value_name = "COUNT", value_parser = positive::<usize>)]
    pub threads: Option<usize>,
    /// Data type of weight matrices: f32, bf16 (half the memory) or q8 (just over a quarter)
    /// [default: f32]
    #[arg(long, global = true, value_name = "TYPE", value_parser = parse::<Dtype>)]
    pub dtype: Option<Dtype>,
    /// Data type of the text encoder's weight matrices [default: same as --dtype]
    #[arg(long, global = true, value_name = "TYPE", value_parser = parse::<Dtype>)]
    pub text_dtype: Option<Dtype>,
    /// Device to run on: cpu or cuda
    #[arg(long, global = true, value_name = "DEVICE", default_value_t, value_parser = parse::<Device>)]
    pub device: Device,
}

impl Global {
    /// The data type of matrices.
    pub(super) fn dtype(&self) -> Dtype {
        self.dtype.unwrap_or_default()
    }

    /// The data type of the text encoder's matrices.
    pub(super) fn text_dtype(&self) -> Dtype {
        self.text_dtype.unwrap_or_else(|| self.dtype())
    }

    /// The system that was asked for, in the data type and on the device that were.
    pub(super) fn system(&self, typed: &SystemBuilder) -> SystemBuilder {
        SystemBuilder {
            dtype: self.dtype.or(typed.dtype),
            text_dtype: self.text_dtype.or(typed.text_dtype),
            device: self.device,
            ..typed.clone()
        }
    }

    /// That system for a run within `limit`: where memory is limited, text encoder, scorers and
    /// features are evicted between their uses.
    pub(super) fn system_within(&self, typed: &SystemBuilder, limit: Limit) -> SystemBuilder {
        SystemBuilder {
            evict: limit.memory.is_some(),
            ..self.system(typed)
        }
    }
}

#[derive(Clone, Debug, Args)]
pub(super) struct Generate {
    /// Description of the image; `-` reads one prompt per line from standard input
    pub prompt: Option<String>,
    /// The prompt, given as an option
    #[arg(
        id = "prompt_flag",
        long = "prompt",
        short = 'p',
        value_name = "PROMPT",
        conflicts_with = "prompt"
    )]
    pub prompt_flag: Option<String>,
    /// Read one prompt per line from this file or pipe; `-` reads standard input
    #[arg(long, value_name = "FILE", conflicts_with_all = ["prompt", "prompt_flag"])]
    pub prompts: Option<PathBuf>,
    /// Read one class per line from this file or pipe, for class-conditional models; `-` reads
    /// standard input
    #[arg(long, value_name = "FILE")]
    #[arg(conflicts_with_all = ["prompt", "prompt_flag", "prompts", "class"])]
    pub classes: Option<PathBuf>,
    /// Repeat the search that made this image; other flags override its settings
    #[arg(long, value_name = "IMAGE")]
    pub from: Option<PathBuf>,
    /// Regenerate part of this image: the part that --mask marks
    #[arg(long, value_name = "FILE", requires = "mask")]
    pub image: Option<PathBuf>,
    /// Mask of the part to regenerate: its white pixels, or its transparent pixels if it has any
    #[arg(long, value_name = "FILE", requires = "image")]
    pub mask: Option<PathBuf>,
    #[command(flatten)]
    pub options: Options,
    #[command(flatten)]
    pub system: SystemBuilder,
    #[command(flatten)]
    pub held_out: HeldOut,
    #[command(flatten)]
    pub limit: Limit,
    #[command(flatten)]
    pub outputs: Outputs,
}

#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Model")]
pub(super) struct HeldOut {
    /// Also report the scores of these scorers, such as hps,clip, which the search does not use
    #[arg(long, value_name = "SCORERS", value_parser = parse::<ScorerList>)]
    pub held_out: Option<ScorerList>,
}

#[derive(Clone, Copy, Debug, Default, Args)]
#[command(next_help_heading = "Model")]
pub(super) struct Limit {
    /// Memory limit, such as 12G: runs fewer candidates at once and loads networks only while needed
    #[arg(long, value_name = "SIZE", value_parser = numbers::parse_bytes)]
    pub memory: Option<u64>,
}

/// The options under the heading "Image" and those of questions, for subcommands that choose methods
/// and plans in their own way.
#[derive(Clone, Debug, Default)]
pub(super) struct ImageOptions(pub Options);

/// The options of questions, for subcommands that generate nothing.
#[derive(Clone, Debug, Default)]
pub(super) struct QuestionOptions(pub Options);

/// Some of the options, as arguments.
trait OptionSubset {
    fn contains(argument: &Arg) -> bool;

    fn arguments() -> Vec<Arg> {
        let command = Options::augment_args(Command::new("options"));
        let chosen = command.get_arguments().filter(|one| Self::contains(one));
        chosen.cloned().map(with_own_help).collect()
    }

    /// The values go through the parser of [`Options`] once more, on their own.
    fn options(matches: &ArgMatches) -> Result<Options, clap::Error> {
        let mut words: Vec<OsString> = vec![];
        for argument in Self::arguments() {
            let Some(values) = matches.get_raw(argument.get_id().as_str()) else {
                continue;
            };
            for value in values {
                let mut word =
                    OsString::from(format!("--{}=", argument.get_long().unwrap_or_default()));
                word.push(value);
                words.push(word);
            }
        }
        let command = Options::augment_args(Command::new("options").no_binary_name(true));
        Options::from_arg_matches(&command.try_get_matches_from(words)?)
    }
}

impl OptionSubset for ImageOptions {
    fn contains(argument: &Arg) -> bool {
        argument.get_help_heading() == Some("Image") || QuestionOptions::contains(argument)
    }
}

impl OptionSubset for QuestionOptions {
    fn contains(argument: &Arg) -> bool {
        ["questions", "question_mean"].contains(&argument.get_id().as_str())
    }
}

/// Evaluations can be repeated unless a seed says otherwise.
fn with_own_help(argument: Arg) -> Arg {
    const SEED_OF_SAMPLES: &str =
        "Base seed of all samples, which are the same for every method [default: 0]";
    match argument.get_id().as_str() {
        "seed" => argument.help(SEED_OF_SAMPLES),
        _ => argument,
    }
}

impl Args for ImageOptions {
    fn augment_args(command: Command) -> Command {
        command.args(Self::arguments())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl Args for QuestionOptions {
    fn augment_args(command: Command) -> Command {
        command.args(Self::arguments())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for ImageOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Self::options(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl FromArgMatches for QuestionOptions {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Self::options(matches).map(Self)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

/// Parses the name of a folder for results: neither standard output nor a file is one.
fn output_folder() -> impl TypedValueParser<Value = PathBuf> {
    PathBufValueParser::new().try_map(|folder| {
        if folder == Path::new("-") {
            return Err(Error::input(
                "expected a folder for files, found `-`, which is standard output",
            )
            .with_hint("give the name of a folder; for a folder named `-`, write `./-`"));
        }
        file::check_folder(&folder)?;
        Ok(folder)
    })
}

#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Output")]
pub(super) struct Outputs {
    /// Where to write the image: a .png file, which is overwritten, or a folder, where an unused
    /// name is chosen; `-` is standard output, here and below [default: the current folder]
    #[arg(long, short, value_name = "FILE|DIR")]
    pub out: Option<PathBuf>,
    /// Write the K best images of the search instead of one, numbered best first: NAME-1.png,
    /// NAME-2.png and so on
    #[arg(long, value_name = "K", value_parser = whole::<usize>)]
    pub best: Option<usize>,
    /// Write the record of the search: a .json file or a folder
    #[arg(long, value_name = "FILE|DIR")]
    pub trace: Option<PathBuf>,
    /// Write the search as a tree of images: a .png file or a folder
    #[arg(long, value_name = "FILE|DIR")]
    pub tree: Option<PathBuf>,
    /// Write a page with the whole search: a .html file or a folder
    #[arg(long, value_name = "FILE|DIR")]
    pub report: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct Score {
    /// PNG, JPEG or WebP files, or folders of them
    #[arg(required = true, value_name = "IMAGE|DIR")]
    pub images: Vec<PathBuf>,
    /// Prompt to score the images against [default: the prompt recorded in each image]
    #[arg(long, value_name = "TEXT")]
    pub prompt: Option<String>,
    #[command(flatten)]
    pub options: QuestionOptions,
    #[command(flatten)]
    pub system: SystemBuilder,
}

#[derive(Clone, Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct Models {
    #[command(subcommand)]
    pub what: Option<ModelsWhat>,
    /// Show which model files are present in this folder
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
pub(super) enum ModelsWhat {
    /// Download models and everything they need from Hugging Face; resumes interrupted downloads
    Fetch(Fetch),
}

#[derive(Clone, Debug, Args)]
pub(super) struct Fetch {
    /// Names listed by `ttsvar models`, or scorers such as hps, clip or aesthetic
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
    /// Folder for the files [default: the Hugging Face cache]
    #[arg(long, value_name = "DIR", value_parser = output_folder())]
    pub weights: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct Plan {
    /// raw, best-of-n, importance, beam, lookahead, draft, sequential, auto, tts-var, or a plan file
    /// [default: the model's method]
    #[arg(value_name = "METHOD|FILE", conflicts_with_all = ["method", "plan"])]
    pub what: Option<String>,
    /// Plan for a model with this many scales instead; its cost is not known
    #[arg(long, value_name = "COUNT", value_parser = whole::<usize>)]
    #[arg(conflicts_with_all = ["model", "weights", "scorer", "aspect", "pixels"])]
    pub scales: Option<usize>,
    /// Print the plan as TOML, to be saved for `generate --plan`
    #[arg(long, conflicts_with = "json")]
    pub toml: bool,
    #[command(flatten)]
    pub options: Options,
    #[command(flatten)]
    pub system: SystemBuilder,
    #[command(flatten)]
    pub limit: Limit,
}

#[derive(Clone, Debug, Args)]
pub(super) struct Inspect {
    /// Images generated by this program, or traces
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub(super) struct Convert {
    /// Name of a released model, or a folder with a bundle.toml
    pub model: String,
    /// Folder with the downloads of a released model
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,
    /// Format for the weight matrices of the transformer and the text encoder: q8_0 (GGUF)
    #[arg(long, value_name = "FORMAT", default_value = "q8_0", value_parser = ["q8_0"])]
    pub to: String,
    /// Output folder, to be used later with --weights or --model; the model's other files are
    /// linked or copied into it
    #[arg(long, short, value_name = "DIR", value_parser = output_folder())]
    pub out: PathBuf,
}

#[derive(Clone, Debug, Args)]
pub(super) struct Doctor {
    /// Also check which models can run with the files in this folder
    #[arg(long, value_name = "DIR")]
    pub weights: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Args)]
pub(super) struct Completions {
    /// Shell to print the script for
    pub shell: Shell,
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use ttsvar_search::Method;

    use super::*;

    /// The headings of flags, of all commands.
    fn headings(command: &Command, found: &mut BTreeMap<String, BTreeSet<String>>) {
        for argument in command.get_arguments() {
            let flags = argument.get_long().filter(|long| *long != "help");
            let Some((long, heading)) = flags.zip(argument.get_help_heading()) else {
                continue;
            };
            found
                .entry(heading.to_owned())
                .or_default()
                .insert(long.to_owned());
        }
        for inner in command.get_subcommands() {
            headings(inner, found);
        }
    }

    #[test]
    fn flags_are_under_their_headings() {
        let mut found = BTreeMap::new();
        headings(&<Arguments as clap::CommandFactory>::command(), &mut found);
        let of =
            |heading: &str| -> Vec<&str> { found[heading].iter().map(String::as_str).collect() };
        assert_eq!(
            of("Model"),
            [
                "held-out",
                "memory",
                "model",
                "question-mean",
                "questions",
                "scorer",
                "state-dict",
                "weights"
            ]
        );
        assert_eq!(
            of("Image"),
            [
                "as-released",
                "aspect",
                "cfg",
                "cfg-layer",
                "decoder-cfg",
                "decoder-steps",
                "more-smooth",
                "pixels",
                "preview-steps",
                "sampling",
                "seed",
                "steer",
                "tau",
                "token-statistics",
                "top-k",
                "top-p"
            ]
        );
        assert_eq!(
            of("Global options"),
            ["device", "dtype", "json", "quiet", "text-dtype", "threads"]
        );
        for heading in ["Prompts", "Output", "Limits", "Evaluator"] {
            assert!(
                of(heading).iter().all(|flag| !of("Model").contains(flag)),
                "{heading}"
            );
        }
    }

    /// The parser only checks this in builds with debug assertions.
    #[test]
    fn no_two_arguments_of_a_command_have_the_same_id() {
        fn check(command: &Command) {
            let mut seen = BTreeSet::new();
            for argument in command.get_arguments() {
                let id = argument.get_id().as_str();
                assert!(seen.insert(id), "{}: {id}", command.get_name());
            }
            command.get_subcommands().for_each(check);
        }
        check(&<Arguments as clap::CommandFactory>::command());
    }

    #[test]
    fn evaluations_list_every_method() {
        let names = Method::ALL.map(|method| method.to_string()).join(", ");
        let command = <Arguments as clap::CommandFactory>::command();
        let eval = command.find_subcommand("eval").unwrap();
        for suite in eval.get_subcommands() {
            let mut arguments = suite.get_arguments();
            let methods = arguments.find(|argument| argument.get_id().as_str() == "methods");
            let help = methods.unwrap().get_help().unwrap().to_string();
            assert!(help.ends_with(&names), "{}: {help}", suite.get_name());
        }
    }

    #[test]
    fn every_argument_is_sound_and_has_a_help_text() {
        <Arguments as clap::CommandFactory>::command().debug_assert();
    }

    #[test]
    fn image_options_are_parsed_by_their_own_rules() {
        let parse = |words: &[&str]| {
            let command = ImageOptions::augment_args(Command::new("test"));
            ImageOptions::from_arg_matches(&command.try_get_matches_from(words)?)
        };
        let options = parse(&["test", "--aspect", "16:9", "--cfg=-1", "--seed", "7"])
            .unwrap()
            .0;
        assert_eq!(options.aspect.unwrap().to_string(), "16:9");
        assert_eq!((options.cfg, options.seed), (Some((-1.0).into()), Some(7)));
        assert!(parse(&["test", "--tau", "warm"]).is_err());
        assert!(parse(&["test", "--method", "raw"]).is_err());
    }
}
