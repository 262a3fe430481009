//! A client's request, read and checked: either a search that can be run, or an error.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{StatusCode, header},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use ttsvar_search::Plan;

use super::{Limits, refusal::Refusal};
use crate::{
    Error,
    options::{Aspect, Options},
    pipelines::ImageSize,
    request::{Session, new_seed, prompt},
    system::System,
};

/// A search as clients ask for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RawRequest {
    pub prompt: String,
    pub model: Option<String>,
    pub negative: Option<String>,
    pub size: Option<String>,
    pub seed: Option<u64>,
    /// Options by name.
    pub search: Option<Map<String, Value>>,
    /// Whether to keep the images of every scale for those who watch.
    pub previews: Option<bool>,
}

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
}

impl SearchRequest {
    /// The same search from another seed.
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
    /// The sizes of its images; the default one first.
    sizes: Vec<ImageSize>,
    limits: Limits,
}

impl RequestReader {
    /// # Errors
    /// The model has no images of the size that its description names.
    pub(super) fn new(system: Arc<System>, limits: Limits) -> crate::Result<Self> {
        let session = Session::new(&system, &Options::default())?;
        let (height, width) = session.pipeline().image_size();
        let mut sizes = system.image_sizes();
        sizes.sort_by_key(|size| (size.width, size.height) != (width, height));
        drop(session);
        Ok(Self {
            system,
            sizes,
            limits,
        })
    }

    pub(super) fn system(&self) -> &System {
        &self.system
    }

    /// The sizes of images, written `WIDTHxHEIGHT`, the default one first.
    pub(super) fn sizes(&self) -> Vec<String> {
        self.sizes.iter().map(written_size).collect()
    }

    /// Checks a request.
    pub(super) fn read(&self, raw: RawRequest) -> Result<SearchRequest, Refusal> {
        self.check_model(raw.model.as_deref())?;
        let prompt = self.prompt("prompt", &raw.prompt)?;
        let mut options =
            Options::from_map(&raw.search.unwrap_or_default()).map_err(blame("search"))?;
        options.check().map_err(blame("search"))?;
        let negative = raw.negative.filter(|negative| !negative.trim().is_empty());
        if let Some(negative) = negative {
            let negative = self.prompt("negative", &negative)?;
            set_once("negative", &mut options.negative, negative)?;
        }
        if let Some(seed) = raw.seed {
            set_once("seed", &mut options.seed, seed)?;
        }
        self.set_size(&mut options, raw.size.as_deref())?;
        let session = Session::new(&self.system, &options).map_err(blame("search"))?;
        self.check_width(session.plan())?;
        let (height, width) = session.pipeline().image_size();
        let seed = session.options().seed.unwrap_or_else(new_seed);
        options.seed = Some(seed);
        Ok(SearchRequest {
            prompt,
            seed,
            previews: raw.previews.unwrap_or(false),
            size: (width, height),
            plan: session.plan().clone(),
            settings: session.settings(),
            options,
        })
    }

    /// Refuses any model but the one that is loaded.
    fn check_model(&self, model: Option<&str>) -> Result<(), Refusal> {
        let known = self.system.name();
        let Some(model) = model.filter(|model| *model != known) else {
            return Ok(());
        };
        let message = format!("there is no model `{model}`, this server has `{known}`");
        let refusal = Refusal::new(StatusCode::NOT_FOUND, "model_not_found", message);
        Err(Refusal {
            param: Some("model"),
            ..refusal
        })
    }

    fn prompt(&self, param: &'static str, text: &str) -> Result<String, Refusal> {
        let text = text.trim();
        let most = self.limits.prompt;
        let characters = text.chars().count();
        if characters > most {
            return Err(Refusal::input(
                param,
                format!("{param} has {characters} characters, this server takes up to {most}"),
            ));
        }
        prompt(text, param).map_err(blame(param))
    }

    /// Sets the options that give images of this size; `auto` is the default one.
    fn set_size(&self, options: &mut Options, size: Option<&str>) -> Result<(), Refusal> {
        let Some(size) = size.filter(|size| *size != "auto") else {
            return Ok(());
        };
        let Some(found) = self.sizes.iter().find(|known| written_size(known) == size) else {
            let message = format!(
                "size is `{size}`, but `{}` generates {}",
                self.system.model(),
                self.sizes().join(", ")
            );
            return Err(Refusal::input("size", message));
        };
        let Some(pixels) = &found.pixels else {
            return Ok(());
        };
        set_once("size", &mut options.pixels, pixels.clone())?;
        match Aspect::from_size(found.width, found.height) {
            Some(aspect) => set_once("size", &mut options.aspect, aspect),
            None => Ok(()),
        }
    }

    /// Refuses searches that are too wide for this server.
    fn check_width(&self, plan: &Plan) -> Result<(), Refusal> {
        let widths = plan.stages().iter().map(|stage| stage.width);
        let widest = widths.chain([plan.start()]).max().unwrap_or(1);
        let rows = widest.max(plan.start().saturating_mul(plan.rounds()));
        let most = self.limits.rows;
        if rows > most {
            let message = format!(
                "the search has {rows} rows, this server takes up to {most}; choose a smaller n"
            );
            return Err(Refusal::input("search", message));
        }
        Ok(())
    }
}

fn written_size(size: &ImageSize) -> String {
    format!("{}x{}", size.width, size.height)
}

/// Sets an option that may stand in the request itself or among the options, but not in both.
fn set_once<T>(param: &'static str, option: &mut Option<T>, value: T) -> Result<(), Refusal> {
    match option.replace(value) {
        None => Ok(()),
        Some(_) => Err(Refusal::input(
            param,
            format!("`{param}` is given in the request and again in `search`"),
        )),
    }
}

/// An error of the library, blamed on one field.
fn blame(param: &'static str) -> impl Fn(Error) -> Refusal {
    move |error| Refusal {
        param: Some(param),
        ..Refusal::from(error)
    }
}

/// How long a client may take to send a request.
const SENDING: Duration = Duration::from_secs(30);

/// The JSON of a request.
///
/// # Errors
/// It is no JSON, not marked as such, not of the right form, too long, or does not come.
pub(super) async fn json<T: DeserializeOwned>(request: Request) -> Result<T, Refusal> {
    let kind = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    // Pages of other sites may send any text here, but JSON only if this server allowed it, which
    // it never does.
    if !kind
        .split(';')
        .next()
        .is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
    {
        let message = format!("expected the content type application/json, found `{kind}`");
        return Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "wrong_content_type",
            message,
        ));
    }
    let body = tokio::time::timeout(SENDING, Bytes::from_request(request, &()))
        .await
        .map_err(|_| {
            Refusal::new(
                StatusCode::REQUEST_TIMEOUT,
                "slow_request",
                "the request did not come to its end",
            )
        })?;
    let body =
        body.map_err(|error| Refusal::new(error.status(), "unreadable_body", error.body_text()))?;
    serde_json::from_slice(&body).map_err(|error| {
        Refusal::new(
            StatusCode::BAD_REQUEST,
            "invalid_json",
            format!("cannot read the request: {error}"),
        )
    })
}
