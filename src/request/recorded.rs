//! Writes and reads the settings that images, traces and evaluations record.

use std::path::Path;

use serde_json::{Map, Value};
use ttsvar_search::DecodeSize;

use super::MethodSpec;
#[cfg(feature = "remote")]
use crate::scorers::openai::VisionServer;
use crate::{
    Error, Result,
    image::Png,
    loading::Dtype,
    options::{Options, Preview},
    report::{EDIT, EXTERNAL, Parameters, Provenance},
    scorers::ScorerMix,
    system::{System, SystemBuilder},
};

/// Options that traces and images record outside of the settings: beside them, or in the plan.
const OUTSIDE: [&str; 13] = [
    "negative",
    "seed",
    "preview",
    "plan",
    "features",
    "potential",
    "lambda",
    "draw",
    "verifier",
    "above",
    "finish",
    "enough",
    // The plan has as many rounds as the budget allowed.
    "budget",
];

/// The setting with the model that the scorer `openai` asks.
const ASKED: &str = "openai";

/// The settings of a search, in the order in which records list them. Scorers are recorded if they
/// are not the model's default, and the data type if it is not f32, since both affect images.
pub fn settings(system: &System, options: &Options, method: MethodSpec) -> Map<String, Value> {
    let named = Options {
        method: method.method,
        n: method.n,
        schedule: method.schedule,
        ..options.clone()
    };
    let mut settings = Map::new();
    settings.insert("model".to_owned(), system.model().into());
    for (name, value) in named.to_map() {
        if !OUTSIDE.contains(&name.as_str()) {
            settings.insert(name, value);
        }
    }
    if let Some(class) = class_number(system, options) {
        settings.insert("class".to_owned(), class.into());
    }
    if let Some(mix) = system.scorer_mix() {
        settings.insert("scorers".to_owned(), mix.to_string().into());
    }
    if !system.asked().is_empty() {
        settings.insert(ASKED.to_owned(), system.asked().clone().into());
    }
    if let Some(name) = system.state_dict() {
        settings.insert("state_dict".to_owned(), name.into());
    }
    if system.dtype() != Dtype::default() {
        settings.insert("dtype".to_owned(), system.dtype().name().into());
    }
    if system.text_dtype() != system.dtype() {
        settings.insert("text_dtype".to_owned(), system.text_dtype().name().into());
    }
    settings
}

/// Replaces the questions in the settings by those about a prompt.
pub fn keep_questions_about(settings: &mut Map<String, Value>, options: &Options, prompt: &str) {
    let Some(questions) = &options.questions else {
        return;
    };
    let kept = Options {
        questions: Some(questions.only(prompt)),
        ..Options::default()
    };
    settings.extend(kept.to_map());
}

/// The number of the class in the options, whatever names it there.
fn class_number(system: &System, options: &Options) -> Option<usize> {
    let class = options.class.as_ref()?;
    system.classes()?.find(class.as_str()).ok()
}

/// Records the name of a caller's own scorer or extractor.
pub fn add_external(settings: &mut Map<String, Value>, role: &'static str, name: &str) {
    debug_assert!(EXTERNAL.contains(&role));
    if role == "scorer" {
        settings.remove("scorers");
    }
    settings.insert(role.to_owned(), name.into());
}

/// Everything that is needed to repeat the search behind an image.
#[derive(Clone, Debug, PartialEq)]
pub struct Recorded {
    /// The prompt.
    pub prompt: String,
    /// The version of this program; `None` if another one made the image, and only its prompts and
    /// seed are known.
    pub version: Option<String>,
    /// The model, its scorers and its data type.
    pub system: SystemBuilder,
    /// The options: the plan, and the method as its name.
    pub options: Options,
    /// The place of the image among those that its search finished, 1 for the best one.
    pub rank: usize,
    /// The name of the edit, if a part of another image was generated.
    pub edit: Option<String>,
}

impl Recorded {
    /// Reads the record in an image file, or what another program recorded.
    ///
    /// # Errors
    /// The file cannot be read, or its record is missing or damaged. Or the search used a scorer or
    /// extractor of the caller, which this program does not have.
    pub fn open(path: &Path) -> Result<Self> {
        match Origin::read(path, &Png::open(path)?)? {
            Origin::Own(record) => Self::read(&record).map_err(|error| Error::in_file(path, error)),
            Origin::Other(parameters) => Ok(Self::of_other(&parameters)),
        }
    }

    /// What applies here of another program's settings: the prompts and the seed. Its guidance,
    /// steps and size are for another kind of model.
    fn of_other(parameters: &Parameters) -> Self {
        Self {
            prompt: parameters.prompt.clone(),
            version: None,
            system: SystemBuilder::default(),
            options: Options {
                negative: parameters.negative.clone(),
                seed: parameters.seed,
                ..Options::default()
            },
            rank: 1,
            edit: None,
        }
    }

    /// Reads a record.
    ///
    /// # Errors
    /// A setting is unknown or damaged; the error names it. Or the search used a scorer or
    /// extractor of the caller, which this program does not have.
    pub fn read(provenance: &Provenance) -> Result<Self> {
        let mut settings = provenance.settings.clone();
        for role in EXTERNAL {
            if let Some(name) = settings.get(role) {
                let name = name.as_str().unwrap_or("unnamed");
                return Err(
                    Error::input(format!("the search used a custom {role}, `{name}`"))
                        .with_hint("repeat it with the program that provided it"),
                );
            }
        }
        let edit = take_text(&mut settings, EDIT)?;
        let scorer = take_text(&mut settings, "scorers")?;
        let asked = settings.remove(ASKED);
        let state_dict = take_text(&mut settings, "state_dict")?;
        let dtype = take_text(&mut settings, "dtype")?;
        let text_dtype = take_text(&mut settings, "text_dtype")?;
        let mut system = SystemBuilder {
            model: Some(provenance.model.clone()).filter(|model| !model.is_empty()),
            scorer: scorer
                .map(|mix| parse::<ScorerMix>("scorers", &mix))
                .transpose()?,
            state_dict,
            dtype: Some(match dtype {
                Some(dtype) => parse("dtype", &dtype)?,
                None => Dtype::default(),
            }),
            text_dtype: text_dtype
                .map(|dtype| parse("text_dtype", &dtype))
                .transpose()?,
            ..SystemBuilder::default()
        };
        set_asked(&mut system, asked.as_ref())?;
        let settings = Options::from_map(&settings).map_err(damaged)?;
        settings.check_ranges().map_err(damaged)?;
        let preview = match provenance.preview {
            None => DecodeSize::Full,
            Some(0) => {
                return Err(damaged(Error::input(
                    "`preview`: expected 1 pixel or more, found 0",
                )));
            }
            Some(pixels) => DecodeSize::Preview(pixels),
        };
        Ok(Self {
            prompt: provenance.prompt.clone(),
            version: Some(provenance.version.clone()),
            system,
            options: Options {
                negative: provenance.negative.clone(),
                seed: Some(provenance.seed),
                preview: Some(Preview(preview)),
                plan: Some(provenance.plan.clone()),
                ..settings
            },
            rank: provenance.rank,
            edit,
        })
    }
}

/// How an image file says that it was made.
pub enum Origin {
    /// By this program.
    Own(Box<Provenance>),
    /// By another one.
    Other(Parameters),
}

impl Origin {
    /// Reads the record of an image.
    ///
    /// # Errors
    /// There is no record, or it is damaged.
    pub fn read(path: &Path, png: &Png) -> Result<Self> {
        Self::find(path, png)?.ok_or_else(|| {
            Error::file(path, "this image does not record how it was made").with_hint(
                "the records of `ttsvar`, AUTOMATIC1111's web UI and ComfyUI are read, \
                 unless another program removed them",
            )
        })
    }

    /// Reads the record of an image, if it has one.
    ///
    /// # Errors
    /// It is damaged.
    pub fn find(path: &Path, png: &Png) -> Result<Option<Self>> {
        let own = Provenance::read(png).map_err(|error| Error::in_file(path, error))?;
        let other = || Parameters::read(png).map(Self::Other);
        Ok(own.map(|own| Self::Own(Box::new(own))).or_else(other))
    }

    /// The prompt.
    pub fn into_prompt(self) -> String {
        match self {
            Self::Own(record) => record.prompt,
            Self::Other(parameters) => parameters.prompt,
        }
    }
}

/// Takes the model that a vision server is to be asked for.
#[cfg(feature = "remote")]
fn set_asked(system: &mut SystemBuilder, asked: Option<&Value>) -> Result<()> {
    if let Some(asked) = asked {
        system.server = VisionServer::from_recorded(asked).map_err(damaged)?;
    }
    Ok(())
}

#[cfg(not(feature = "remote"))]
fn set_asked(_: &mut SystemBuilder, _: Option<&Value>) -> Result<()> {
    Ok(())
}

fn take_text(settings: &mut Map<String, Value>, name: &str) -> Result<Option<String>> {
    match settings.remove(name) {
        None => Ok(None),
        Some(Value::String(text)) => Ok(Some(text)),
        Some(other) => Err(damaged(Error::input(format!(
            "`{name}`: expected a text, found {other}"
        )))),
    }
}

fn parse<T: std::str::FromStr<Err = Error>>(name: &str, text: &str) -> Result<T> {
    text.parse()
        .map_err(|error: Error| damaged(Error::input(format!("`{name}`: {error}"))))
}

fn damaged(error: Error) -> Error {
    Error::input(format!("the recorded settings are damaged: {error}")).with_hint(
        "another program or version may have written them; \
         give the options on the command line instead",
    )
}
