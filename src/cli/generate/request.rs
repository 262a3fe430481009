//! What was typed, together with what a repeated image recorded.

use ttsvar_search::Drafts;

use super::super::{
    arguments::{self, Global},
    console::Console,
    outputs::Outputs,
    prompts::Prompts,
};
use crate::{
    Error, Result, image,
    options::Options,
    request::{EditInput, MethodSpec, Recorded, check_subject, no_prompt},
    system::SystemBuilder,
};

/// The request, checked as far as that is possible without the model.
pub(super) struct Request {
    pub prompts: Prompts,
    pub system: SystemBuilder,
    pub options: Options,
    pub outputs: Outputs,
    /// A part of an image that is regenerated.
    pub edit: Option<EditInput>,
    /// Whether the search repeats that of an image.
    pub repeats: bool,
    /// The place of the first image to write among the finished ones, 1 for the best.
    pub rank: usize,
}

impl Request {
    pub(super) fn read(
        typed: &arguments::Generate,
        global: &Global,
        console: &Console,
    ) -> Result<Self> {
        typed.options.check()?;
        let mut options = typed.options.clone();
        let mut system = global
            .system_within(&typed.system, typed.limit)
            .may_lack_parts();
        system.held_out.clone_from(&typed.held_out.held_out);
        let recorded = typed.from.as_deref().map(Recorded::open).transpose()?;
        if let Some(recorded) = &recorded {
            warn_of_differences(recorded, &system, console);
            options = options.or(&recorded.options);
            system.model = system.model.or_else(|| recorded.system.model.clone());
            system.scorer = system.scorer.or_else(|| recorded.system.scorer.clone());
            system.dtype = system.dtype.or(recorded.system.dtype);
            system.text_dtype = system.text_dtype.or(recorded.system.text_dtype);
            system.server.or_model_of(&recorded.system.server);
            let recorded = recorded.system.state_dict.clone();
            system.state_dict = system.state_dict.or(recorded);
        }
        options.negative = options
            .negative
            .filter(|negative| !negative.trim().is_empty());
        let prompts = read_prompts(typed, recorded.as_ref(), &options, &system)?;
        let outputs = Outputs::read(&typed.outputs, prompts.list, console)?;
        let rank = match &recorded {
            Some(recorded) if is_plain_repeat(typed) => recorded.rank,
            _ => 1,
        };
        check_conditioning(&prompts, &options, &system)?;
        let edit = read_edit(typed)?;
        let was_edited = recorded
            .as_ref()
            .is_some_and(|recorded| recorded.edit.is_some());
        if was_edited && edit.is_none() {
            return Err(unknown_original());
        }
        let request = Self {
            edit,
            outputs,
            prompts,
            system,
            options,
            repeats: recorded.is_some(),
            rank,
        };
        request.check_plan()?;
        Ok(request)
    }

    /// How many images the search has to finish.
    pub(super) fn images(&self) -> usize {
        self.outputs.best.unwrap_or(self.rank)
    }

    /// Checks the plan, and that it may finish as many images as are wanted, without the model.
    fn check_plan(&self) -> Result<()> {
        // What is checked does not depend on the number of scales.
        const ANY_SCALES: usize = 13;
        let options = self.system.resolve(&self.options)?;
        let (plan, method) = MethodSpec::plan(&options, ANY_SCALES, Drafts::default())?;
        method.check_best(&plan, self.images())
    }
}

/// Returns whether nothing but the image to repeat, and where to write, was typed.
fn is_plain_repeat(typed: &arguments::Generate) -> bool {
    let texts = [&typed.prompt, &typed.prompt_flag];
    let files = [&typed.prompts, &typed.classes];
    typed.options == Options::default()
        && texts.iter().all(|text| text.is_none())
        && files.iter().all(|file| file.is_none())
        && typed.outputs.best.is_none()
}

/// The image and the mask of an edit.
fn read_edit(typed: &arguments::Generate) -> Result<Option<EditInput>> {
    let (Some(image), Some(mask)) = (&typed.image, &typed.mask) else {
        return Ok(None);
    };
    Ok(Some(EditInput {
        image: image::open(image)?,
        mask: image::open_mask(mask)?,
    }))
}

/// The error for repeating an edit without its original.
fn unknown_original() -> Error {
    Error::input("this image is an edit of another image, which is not recorded in it")
        .with_hint("give the original image and its mask with --image and --mask")
}

/// The prompts or classes that were typed, otherwise those of the repeated image.
fn read_prompts(
    typed: &arguments::Generate,
    recorded: Option<&Recorded>,
    options: &Options,
    system: &SystemBuilder,
) -> Result<Prompts> {
    if let Some(file) = &typed.classes {
        return Prompts::classes(file);
    }
    let prompt = typed.prompt.as_deref().or(typed.prompt_flag.as_deref());
    if let Some(prompts) = Prompts::read(prompt, typed.prompts.as_deref())? {
        return Ok(prompts);
    }
    if options.class.is_some() {
        return Ok(Prompts::class_of_options());
    }
    match recorded {
        Some(recorded) => Prompts::literal(&recorded.prompt),
        None if system.takes_classes()? => Ok(Prompts::class_of_options()),
        None => Err(no_prompt()),
    }
}

/// Refuses prompts for a model of classes and the other way round, and a class that the model does
/// not know, before the model is loaded.
fn check_conditioning(prompts: &Prompts, options: &Options, system: &SystemBuilder) -> Result<()> {
    let has_class = prompts.are_classes() || options.class.is_some();
    check_subject(system.takes_classes()?, !prompts.are_classes(), has_class)?;
    if let (Some(class), Some(classes)) = (&options.class, system.classes()?) {
        classes.find(class.as_str())?;
    }
    Ok(())
}

/// A repeated image may differ under another version or data type.
fn warn_of_differences(recorded: &Recorded, typed: &SystemBuilder, console: &Console) {
    let Some(version) = &recorded.version else {
        console.note(
            "that image was made by another program: its prompts and seed are reused, \
             but the new image will differ",
        );
        return;
    };
    if version != env!("CARGO_PKG_VERSION") {
        console.note(&format!(
            "that image was made by version {version}; this version may make a different image"
        ));
    }
    let before = recorded.system.dtype.unwrap_or_default();
    let now = typed.dtype.unwrap_or(before);
    if now != before {
        console.note(&format!(
            "that image was made with --dtype {before}; {now} may make a different image"
        ));
    }
}
