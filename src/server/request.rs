//! Requests: checks what clients ask for against the model and the limits of this server.

use std::sync::Arc;

use serde_json::{Map, Value};
use ttsvar_search::{Method, Plan};

use super::{
    Limits,
    api_error::ApiError,
    raw_request::{RawRequest, missing},
};
use crate::{
    Error,
    options::{Aspect, Options},
    pipelines::ImageSize,
    request::{EditInput, Session, new_seed, prompt},
    system::System,
};

/// A search that can be run. Equal requests give equal images.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SearchRequest {
    pub prompt: String,
    /// The options with a seed and an image size.
    pub options: Options,
    pub seed: u64,
    pub previews: bool,
    /// Width and height of the image.
    pub size: (usize, usize),
    pub plan: Plan,
    /// The settings that traces record.
    pub settings: Map<String, Value>,
    /// Number of images that are kept, the best ones.
    pub best: usize,
    /// The scales after which a stream shows a partial image.
    pub partial_scales: Vec<usize>,
    /// A part of an image that is regenerated, in the size of the image.
    pub edit: Option<Arc<EditInput>>,
}

impl SearchRequest {
    /// The same search with another seed.
    pub(super) fn with_seed(&self, seed: u64) -> Self {
        let mut other = self.clone();
        other.seed = seed;
        other.options.seed = Some(seed);
        other
    }
}

/// Reads requests for one system.
pub(super) struct RequestReader {
    system: Arc<System>,
    /// The sizes of its images, the default one first.
    sizes: Vec<ImageSize>,
    /// Number of scales of its images.
    scales: usize,
    limits: Limits,
}

impl RequestReader {
    /// Creates the reader and determines the sizes of the images.
    ///
    /// # Errors
    /// The description of the model names a default size that the model does not generate.
    pub(super) fn new(system: Arc<System>, limits: Limits) -> crate::Result<Self> {
        let mut session = Session::new(&system, &Options::default())?;
        if let Some(limit) = limits.memory {
            // Decides which networks stay in memory for as long as the server runs.
            session.fit_memory(limit)?;
        }
        system.read_all_networks()?;
        let (height, width) = session.pipeline().image_size();
        let mut sizes = system.image_sizes();
        sizes.sort_by_key(|size| (size.width, size.height) != (width, height));
        let scales = session.pipeline().scales().len();
        drop(session);
        Ok(Self {
            system,
            sizes,
            scales,
            limits,
        })
    }

    pub(super) fn system(&self) -> &System {
        &self.system
    }

    /// The sizes of images, written `WIDTHxHEIGHT`, the default one first.
    pub(super) fn sizes(&self) -> Vec<String> {
        self.sizes.iter().map(format_size).collect()
    }

    /// The size whose shape is nearest to that of `width` x `height` pixels; of those, the one with
    /// the nearest number of pixels.
    pub(super) fn nearest_size(&self, width: usize, height: usize) -> Option<String> {
        let apart = |size: &ImageSize| {
            let ratio = |width: usize, height: usize| (width as f64 / height.max(1) as f64).ln();
            let shape = (ratio(size.width, size.height) - ratio(width, height)).abs();
            let pixels = (size.width * size.height) as f64 / (width * height).max(1) as f64;
            (shape, pixels.ln().abs())
        };
        let order = |a: &&ImageSize, b: &&ImageSize| {
            let (a, b) = (apart(a), apart(b));
            a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1))
        };
        self.sizes.iter().min_by(order).map(format_size)
    }

    /// Checks a request.
    ///
    /// # Errors
    /// Part of the request is invalid or exceeds a limit.
    pub(super) fn read(&self, raw: &RawRequest) -> Result<SearchRequest, ApiError> {
        self.check_model(raw.model.as_deref())?;
        self.check_images(raw.images)?;
        let prompt = self.given_prompt(raw)?;
        let at_fault = |error: Error| self.at_fault(raw, error);
        let mut options = Options::from_map(&raw.options).map_err(at_fault)?;
        options.check().map_err(at_fault)?;
        name_plan(&mut options, &raw.plan_of)?;
        options.negative = self.negative(raw, options.negative)?;
        self.set_size(&mut options, raw.size.as_deref())?;
        let mut session = Session::new(&self.system, &options).map_err(at_fault)?;
        self.limits.apply(&mut session).map_err(at_fault)?;
        self.check_width(raw, session.plan())?;
        let best = best(raw, &session)?;
        if prompt.is_none() && session.options().class.is_none() {
            return Err(missing(self.subject_field()));
        }
        let prompt = session
            .subject(prompt.as_deref())
            .map_err(|error| ApiError::from(error).with_param("prompt"))?;
        self.check_layout(raw, &session, &prompt)?;
        let (height, width) = session.pipeline().image_size();
        let mut settings = session.settings_of(&prompt);
        let edit = raw.edit.clone().map(|edit| session.check_edit(edit));
        let edit = edit.transpose().map_err(at_image)?;
        if let Some(edit) = &edit {
            edit.record(&mut settings);
        }
        let seed = session.options().seed.unwrap_or_else(new_seed);
        options.seed = Some(seed);
        Ok(SearchRequest {
            seed,
            best,
            previews: raw.previews,
            partial_scales: partial_scales(raw.partial_images, session.pipeline().scales().len()),
            size: (width, height),
            plan: session.plan().clone(),
            settings,
            prompt,
            edit: edit.map(Arc::new),
            options,
        })
    }

    /// Checks the number of images.
    fn check_images(&self, n: u64) -> Result<(), ApiError> {
        let most = self.limits.images as u64;
        if (1..=most).contains(&n) {
            return Ok(());
        }
        let message = format!("n is {n}, but this server generates 1 to {most} images per request");
        Err(ApiError::input("n", message))
    }

    /// Checks that the layout, if there is one, fits the prompt.
    fn check_layout(
        &self,
        raw: &RawRequest,
        session: &Session,
        prompt: &str,
    ) -> Result<(), ApiError> {
        let place = raw.place("steer").unwrap_or("steer").to_owned();
        let steering = session.pipeline().steering(&session.prompt(prompt));
        let steering = steering.map_err(|error| ApiError::from(Error::from(error)));
        steering
            .map(|_| ())
            .map_err(|error| error.with_param(place))
    }

    /// The prompt of a request, if it has one. For a model of classes, clients of OpenAI's interface
    /// may send a blank one.
    fn given_prompt(&self, raw: &RawRequest) -> Result<Option<String>, ApiError> {
        let takes_classes = self.system.classes().is_some();
        match &raw.prompt {
            Some(text) if takes_classes && text.trim().is_empty() => Ok(None),
            Some(text) => self.prompt("prompt", text).map(Some),
            None if takes_classes || raw.options.contains_key("class") => Ok(None),
            None => Err(missing(self.subject_field())),
        }
    }

    /// The field that says what an image shows.
    fn subject_field(&self) -> &'static str {
        match self.system.classes() {
            Some(_) => "class",
            None => "prompt",
        }
    }

    /// The error of the library as an error of a field: of the option that is wrong by itself, or
    /// of all options if they do not go together.
    fn at_fault(&self, raw: &RawRequest, error: Error) -> ApiError {
        let alone = |name: &String, value: &Value| {
            let options = Options::from_map(&Map::from_iter([(name.clone(), value.clone())]))?;
            options.check()?;
            Session::new(&self.system, &options).map(|_| ())
        };
        let wrong = raw
            .options
            .iter()
            .find(|(name, value)| alone(name, value).is_err());
        let place = wrong.and_then(|(name, _)| raw.place(name));
        let place = place.map_or_else(|| raw.place_of_all(), str::to_owned);
        let mut error = ApiError::from(error).with_param(place);
        if wrong.is_some_and(|(name, _)| name == "seed") {
            // Requests may also ask for any seed.
            error.message += ", or -1";
        }
        error
    }

    /// The negative prompt. A blank one is none.
    fn negative(&self, raw: &RawRequest, text: Option<String>) -> Result<Option<String>, ApiError> {
        let Some(text) = text.filter(|text| !text.trim().is_empty()) else {
            return Ok(None);
        };
        let place = raw.place("negative").unwrap_or("negative").to_owned();
        self.prompt(&place, &text).map(Some)
    }

    /// Refuses any model other than the loaded one.
    pub(super) fn check_model(&self, model: Option<&str>) -> Result<(), ApiError> {
        let known = self.system.name();
        let Some(model) = model.filter(|model| *model != known) else {
            return Ok(());
        };
        let message = format!("there is no model `{model}`; this server runs `{known}`");
        Err(ApiError::model_not_found(message))
    }

    fn prompt(&self, param: &str, text: &str) -> Result<String, ApiError> {
        let text = text.trim();
        let most = self.limits.prompt;
        let characters = text.chars().count();
        if characters > most {
            return Err(ApiError::input(
                param.to_owned(),
                format!(
                    "{param} has {characters} characters, but this server accepts up to {most}"
                ),
            ));
        }
        prompt(text, param).map_err(|error| ApiError::from(error).with_param(param.to_owned()))
    }

    /// Sets the options that generate images of this size. `auto` means the default size.
    fn set_size(&self, options: &mut Options, size: Option<&str>) -> Result<(), ApiError> {
        let Some(size) = size.filter(|size| *size != "auto") else {
            return Ok(());
        };
        let Some(found) = self.sizes.iter().find(|known| format_size(known) == size) else {
            let message = format!(
                "size is `{size}`, but `{}` generates {}",
                self.system.model(),
                self.sizes().join(", ")
            );
            return Err(ApiError::input("size", message));
        };
        let Some(pixels) = &found.pixels else {
            return Ok(());
        };
        set_by_size(&mut options.pixels, pixels.clone())?;
        match Aspect::from_size(found.width, found.height) {
            Some(aspect) => set_by_size(&mut options.aspect, aspect),
            None => Ok(()),
        }
    }

    /// Refuses searches that are too wide for this server.
    fn check_width(&self, raw: &RawRequest, plan: &Plan) -> Result<(), ApiError> {
        let rows = width(plan);
        let most = self.limits.rows;
        if rows > most {
            let message = format!(
                "the search has {rows} candidates, but this server accepts up to {most}; \
                 choose a smaller n"
            );
            let place = raw.place("n").or(raw.place("plan"));
            let place = place.map_or_else(|| raw.place_of_all(), str::to_owned);
            return Err(ApiError::input(place, message));
        }
        Ok(())
    }

    /// The largest N at which the model can run a method within the limits of this server.
    pub(super) fn max_n(&self, method: Method) -> usize {
        let fits = |n: usize| {
            method
                .plan(self.scales, n)
                .is_ok_and(|plan| width(&plan) <= self.limits.rows)
        };
        // Widths grow with N, and no method is narrower than N
        let mut fitting = 1;
        let mut too_large = self.limits.rows.saturating_add(1).max(2);
        while too_large - fitting > 1 {
            let n = fitting + (too_large - fitting) / 2;
            if fits(n) {
                fitting = n;
            } else {
                too_large = n;
            }
        }
        fitting
    }
}

/// Names the plan among the options by the method that made it, as the records of images do.
fn name_plan(options: &mut Options, name: &Map<String, Value>) -> Result<(), ApiError> {
    if name.is_empty() {
        return Ok(());
    }
    if options.plan.is_none() {
        let message = "plan_of names the method that made a plan, but there is no plan; \
                       give method, n and schedule as options instead";
        return Err(ApiError::input("plan_of", message));
    }
    let at_name = |error: Error| ApiError::from(error).with_param("plan_of");
    let name = Options::from_map(name).map_err(at_name)?;
    name.check().map_err(at_name)?;
    options.method = name.method;
    options.n = name.n;
    options.schedule = name.schedule;
    Ok(())
}

/// The number of images that a search keeps.
fn best(raw: &RawRequest, session: &Session) -> Result<usize, ApiError> {
    if !raw.share {
        return Ok(1);
    }
    let best = usize::try_from(raw.images).unwrap_or(usize::MAX);
    session.check_best(best).map_err(|error| {
        let advice =
            "choose a larger `search.n`, or a method that finishes more, such as best-of-n";
        ApiError::input("n", format!("{error}; {advice}"))
    })?;
    Ok(best)
}

/// The scales after which a stream shows partial images: evenly spaced, without the last.
fn partial_scales(images: usize, scales: usize) -> Vec<usize> {
    let spaced = (1..=images).map(|number| number * scales / (images + 1));
    let mut found: Vec<usize> = spaced.filter(|scale| scale + 1 < scales).collect();
    found.dedup();
    found
}

/// An error with the image or the mask of an edit.
fn at_image(error: Error) -> ApiError {
    ApiError::from(error).with_param("image")
}

/// Candidates of a search, either at its widest or over all rounds.
fn width(plan: &Plan) -> usize {
    let widest = plan
        .stages()
        .iter()
        .map(|stage| stage.width)
        .fold(plan.start(), usize::max);
    widest.max(plan.start().saturating_mul(plan.rounds()))
}

fn format_size(size: &ImageSize) -> String {
    format!("{}x{}", size.width, size.height)
}

/// Sets an option that follows from the size, unless the request gives another value.
fn set_by_size<T: PartialEq>(option: &mut Option<T>, value: T) -> Result<(), ApiError> {
    match option.replace(value) {
        Some(before) if Some(&before) != option.as_ref() => Err(ApiError::input(
            "size",
            "the size contradicts `pixels` or `aspect`; leave one of them out",
        )),
        _ => Ok(()),
    }
}
