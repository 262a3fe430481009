//! Requests: reads and checks the JSON of clients.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{StatusCode, header},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use ttsvar_search::{Method, Plan};

use super::{Limits, api_error::ApiError};
use crate::{
    Error,
    options::{Aspect, Options},
    pipelines::ImageSize,
    request::{Session, new_seed, prompt},
    system::System,
};

/// A search as clients request it.
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
    /// Keeps the images of every scale.
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
        let session = Session::new(&system, &Options::default())?;
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

    /// Checks a request.
    ///
    /// # Errors
    /// Part of the request is invalid or exceeds a limit.
    pub(super) fn read(&self, raw: RawRequest) -> Result<SearchRequest, ApiError> {
        self.check_model(raw.model.as_deref())?;
        let prompt = self.prompt("prompt", &raw.prompt)?;
        let mut options =
            Options::from_map(&raw.search.unwrap_or_default()).map_err(with_param("search"))?;
        options.check().map_err(with_param("search"))?;
        let negative = raw.negative.filter(|negative| !negative.trim().is_empty());
        if let Some(negative) = negative {
            let negative = self.prompt("negative", &negative)?;
            set_once("negative", &mut options.negative, negative)?;
        }
        if let Some(seed) = raw.seed {
            set_once("seed", &mut options.seed, seed)?;
        }
        self.set_size(&mut options, raw.size.as_deref())?;
        let session = Session::new(&self.system, &options).map_err(with_param("search"))?;
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

    /// Refuses any model other than the loaded one.
    fn check_model(&self, model: Option<&str>) -> Result<(), ApiError> {
        let known = self.system.name();
        let Some(model) = model.filter(|model| *model != known) else {
            return Ok(());
        };
        let message = format!("there is no model `{model}`, this server runs `{known}`");
        let error = ApiError::new(StatusCode::NOT_FOUND, "model_not_found", message);
        Err(ApiError {
            param: Some("model"),
            ..error
        })
    }

    fn prompt(&self, param: &'static str, text: &str) -> Result<String, ApiError> {
        let text = text.trim();
        let most = self.limits.prompt;
        let characters = text.chars().count();
        if characters > most {
            return Err(ApiError::input(
                param,
                format!("{param} has {characters} characters, this server accepts up to {most}"),
            ));
        }
        prompt(text, param).map_err(with_param(param))
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
        set_once("size", &mut options.pixels, pixels.clone())?;
        match Aspect::from_size(found.width, found.height) {
            Some(aspect) => set_once("size", &mut options.aspect, aspect),
            None => Ok(()),
        }
    }

    /// Refuses searches that are too wide for this server.
    fn check_width(&self, plan: &Plan) -> Result<(), ApiError> {
        let rows = width(plan);
        let most = self.limits.rows;
        if rows > most {
            let message = format!(
                "the search has {rows} candidates, this server accepts up to {most}; \
                 choose a smaller n"
            );
            return Err(ApiError::input("search", message));
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

/// Sets an option that may be given in the request itself or in `search`, but not in both.
fn set_once<T>(param: &'static str, option: &mut Option<T>, value: T) -> Result<(), ApiError> {
    match option.replace(value) {
        None => Ok(()),
        Some(_) => Err(ApiError::input(
            param,
            format!("`{param}` is given in the request and again in `search`"),
        )),
    }
}

/// Converts an error of the library to an error of one field.
fn with_param(param: &'static str) -> impl Fn(Error) -> ApiError {
    move |error| ApiError {
        param: Some(param),
        ..ApiError::from(error)
    }
}

/// Time for a client to send a request.
const SEND_TIMEOUT: Duration = Duration::from_secs(30);

/// Reads the JSON body of a request.
///
/// # Errors
/// The body is not JSON or not marked as such, has the wrong form, is too long, or does not arrive
/// in time.
pub(super) async fn json<T: DeserializeOwned>(request: Request) -> Result<T, ApiError> {
    let content_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or("");
    // Other websites can send any text here, but JSON only with permission (CORS), which this
    // server never grants.
    let mime_type = content_type.split(';').next().unwrap_or("").trim();
    if !mime_type.eq_ignore_ascii_case("application/json") {
        let message = format!("expected the content type application/json, found `{content_type}`");
        return Err(ApiError::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "wrong_content_type",
            message,
        ));
    }
    let body = tokio::time::timeout(SEND_TIMEOUT, Bytes::from_request(request, &()))
        .await
        .map_err(|_| {
            ApiError::new(
                StatusCode::REQUEST_TIMEOUT,
                "slow_request",
                format!(
                    "the request did not arrive within {} s",
                    SEND_TIMEOUT.as_secs()
                ),
            )
        })?
        .map_err(|error| ApiError::new(error.status(), "unreadable_body", error.body_text()))?;
    serde_json::from_slice(&body).map_err(|error| {
        ApiError::new(
            StatusCode::BAD_REQUEST,
            "invalid_json",
            format!("cannot read the request: {error}"),
        )
    })
}
