//! What a client asks for, read and checked: either a search that can be run, or a refusal.

use std::{sync::Arc, time::Duration};

use axum::{
    body::Bytes,
    extract::{FromRequest, Request},
    http::{StatusCode, header},
};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};
use ttsvar_search::{DecodeSize, Plan, Prompt, StageOptions};

use super::{Limits, refusal::Refusal};
use crate::{
    Error,
    bundle::{Canvas, Settings, System},
    request::{Aspect, Look, Named, Source, Wish, new_seed, preview, prompt, recorded, search},
};

/// A search as clients ask for it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    pub prompt: String,
    pub model: Option<String>,
    pub negative: Option<String>,
    pub size: Option<String>,
    pub seed: Option<u64>,
    pub search: Option<SearchWanted>,
    /// Whether the pictures of every scale are to be kept for those who watch.
    pub previews: Option<bool>,
}

/// How to search; every name is one of the command line's.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SearchWanted {
    method: Option<String>,
    n: Option<usize>,
    schedule: Option<String>,
    /// A plan file's text, or the same keys as JSON.
    plan: Option<Value>,
    features: Option<String>,
    potential: Option<String>,
    lambda: Option<f64>,
    draw: Option<String>,
    preview: Option<Value>,
    cfg: Option<f32>,
    tau: Option<f32>,
    top_p: Option<f32>,
    top_k: Option<usize>,
}

/// A search that can be run. Equal orders give equal pictures.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Order {
    pub prompt: Prompt,
    pub plan: Plan,
    pub named: Named,
    pub settings: Settings,
    pub preview: DecodeSize,
    pub seed: u64,
    pub previews: bool,
    /// Width and height of the picture.
    pub size: (usize, usize),
    /// What the trace records of all this.
    pub recorded: Map<String, Value>,
}

/// Makes orders for one model.
pub(super) struct Orders {
    system: Arc<System>,
    /// The model's name as the caller gave it, which records keep.
    model: String,
    /// The sizes of its pictures; the usual one first.
    sizes: Vec<Canvas>,
    limits: Limits,
}

impl Orders {
    /// # Errors
    /// The model has no pictures of the size that its description names.
    pub(super) fn new(system: Arc<System>, model: String, limits: Limits) -> crate::Result<Self> {
        let (height, width) = system.pipeline(&system.settings())?.image_size();
        let mut sizes = system.canvases();
        sizes.sort_by_key(|canvas| (canvas.width, canvas.height) != (width, height));
        Ok(Self {
            system,
            model,
            sizes,
            limits,
        })
    }

    pub(super) fn system(&self) -> &System {
        &self.system
    }

    /// The sizes of pictures, written `WIDTHxHEIGHT`, the usual one first.
    pub(super) fn sizes(&self) -> Vec<String> {
        self.sizes
            .iter()
            .map(|canvas| format!("{}x{}", canvas.width, canvas.height))
            .collect()
    }

    /// What `wanted` means.
    pub(super) fn read(&self, wanted: Wanted) -> Result<Order, Refusal> {
        self.known(wanted.model.as_deref())?;
        let prompt = self.prompt("prompt", &wanted.prompt)?;
        let negative = wanted
            .negative
            .filter(|negative| !negative.trim().is_empty());
        let negative = negative
            .map(|negative| self.prompt("negative", &negative))
            .transpose()?;
        let canvas = self.canvas(wanted.size.as_deref())?;
        let how = wanted.search.unwrap_or_default();
        let look = look(&how, canvas)?;
        let settings = look.settings(self.system.defaults());
        let preview = preview_size(how.preview.as_ref())?;
        let pipeline = self.system.pipeline(&settings)?;
        let wish = wish(how)?;
        let (plan, named) = wish
            .plan(pipeline.scales().len(), self.system.defaults())
            .map_err(of("search"))?;
        self.narrow(&plan)?;
        search(&self.system, pipeline.as_ref())
            .check(&plan)
            .map_err(of("search"))?;
        let recorded = recorded(&self.system, &self.model, named, &look, &settings);
        let (height, width) = pipeline.image_size();
        let (seed, previews) = (
            wanted.seed.unwrap_or_else(new_seed),
            wanted.previews.unwrap_or(false),
        );
        let (prompt, size) = (
            Prompt {
                text: prompt,
                negative,
            },
            (width, height),
        );
        Ok(Order {
            prompt,
            plan,
            named,
            settings,
            preview,
            seed,
            previews,
            size,
            recorded,
        })
    }

    /// Refuses any model but the one that is loaded.
    fn known(&self, model: Option<&str>) -> Result<(), Refusal> {
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
        let (text, most) = (text.trim(), self.limits.prompt);
        let letters = text.chars().count();
        if letters > most {
            return Err(Refusal::input(
                param,
                format!("{param} has {letters} characters, this server takes {most}"),
            ));
        }
        prompt(text, param).map_err(of(param))
    }

    /// The size that was named; none for the usual one.
    fn canvas(&self, size: Option<&str>) -> Result<Option<&Canvas>, Refusal> {
        let Some(size) = size.filter(|size| *size != "auto") else {
            return Ok(None);
        };
        let named = |canvas: &&Canvas| format!("{}x{}", canvas.width, canvas.height) == size;
        self.sizes.iter().find(named).map(Some).ok_or_else(|| {
            let message = format!(
                "size is `{size}`, but `{}` paints {}",
                self.model,
                self.sizes().join(", ")
            );
            Refusal::input("size", message)
        })
    }

    /// Refuses searches that are too wide for this server.
    fn narrow(&self, plan: &Plan) -> Result<(), Refusal> {
        let widest = plan
            .stages()
            .iter()
            .map(|stage| stage.width)
            .chain([plan.start()])
            .max()
            .unwrap_or(1);
        let rows = widest.max(plan.start().saturating_mul(plan.rounds()));
        if rows > self.limits.rows {
            let message = format!(
                "the search has {rows} rows, this server takes {}; choose a smaller n",
                self.limits.rows
            );
            return Err(Refusal::input("search", message));
        }
        Ok(())
    }
}

/// An error of the library as a refusal of one field.
fn of<E: Into<Error>>(param: &'static str) -> impl Fn(E) -> Refusal {
    move |error| Refusal {
        param: Some(param),
        ..Refusal::from(error.into())
    }
}

fn parsed<T: std::str::FromStr<Err = ttsvar_search::Error>>(
    text: &Option<String>,
) -> Result<Option<T>, Refusal> {
    text.as_deref()
        .map(str::parse)
        .transpose()
        .map_err(of("search"))
}

fn look(how: &SearchWanted, canvas: Option<&Canvas>) -> Result<Look, Refusal> {
    let look = Look {
        cfg: how.cfg,
        cfg_layer: None,
        tau: how.tau,
        top_p: how.top_p,
        top_k: how.top_k,
        aspect: canvas
            .filter(|canvas| canvas.pixels.is_some())
            .and_then(|size| Aspect::of(size.width, size.height)),
        pixels: canvas.and_then(|canvas| canvas.pixels),
    };
    look.check().map_err(of("search"))?;
    Ok(look)
}

fn preview_size(wanted: Option<&Value>) -> Result<DecodeSize, Refusal> {
    let written = wanted.map(|value| {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    });
    preview(written.as_deref()).map_err(of("search"))
}

fn wish(how: SearchWanted) -> Result<Wish, Refusal> {
    let named = Named {
        method: parsed(&how.method)?,
        n: how.n,
        schedule: parsed(&how.schedule)?,
    };
    let source = match how.plan {
        Some(_) if named != Named::default() => {
            return Err(Refusal::input(
                "search",
                "a plan says how to search; method, n and schedule go without one",
            ));
        }
        Some(Value::String(text)) => Source::Plan(
            Plan::from_toml(&text).map_err(of("search"))?,
            Named::default(),
        ),
        Some(plan) => {
            let plan = serde_json::from_value(plan);
            let plan =
                plan.map_err(|error| Refusal::input("search", format!("search.plan: {error}")))?;
            Source::Plan(plan, Named::default())
        }
        None => Source::Method(named),
    };
    let (features, potential, draw) = (
        parsed(&how.features)?,
        parsed(&how.potential)?,
        parsed(&how.draw)?,
    );
    Ok(Wish {
        source,
        choices: StageOptions {
            features,
            potential,
            lambda: how.lambda,
            draw,
        },
    })
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
