//! The interface of AUTOMATIC1111's web UI, so that its front ends and clients work here:
//! `/sdapi/v1/txt2img`, `options`, `sd-models`, `samplers`, `progress` and `interrupt`.
//!
//! Options of a search are given in `override_settings` or as the argument of the script `ttsvar` in
//! `alwayson_scripts`. `steps`, `cfg_scale` and other settings of diffusion models change nothing:
//! clients always send them, with values that do not suit these models. A size is a wish for a shape.
//!
//! The interface: stable-diffusion-webui, `modules/api/api.py` and `modules/api/models.py`.

use std::{collections::HashMap, sync::Arc};

use axum::{
    Json, Router,
    extract::{Request, State},
    http::HeaderMap,
    response::{IntoResponse, Response},
    routing::{get, post},
};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Map, Value, json};
use ttsvar_search::Method;

use super::{
    App,
    api_error::ApiError,
    images::{self, JobImage},
    json_body,
    raw_request::{RawRequest, Route, is_option},
    run_blocking,
    scheduler::SearchJob,
    store::Store,
};
use crate::{Error, image::Png, report::Parameters};

/// Fields that are passed on as they are.
const PASSED: [&str; 3] = ["prompt", "negative_prompt", "seed"];

/// Fields that are read here.
const READ: [&str; 9] = [
    "batch_size",
    "n_iter",
    "width",
    "height",
    "sampler_name",
    "sampler_index",
    "override_settings",
    "alwayson_scripts",
    "send_images",
];

/// Settings of the web UI that have a meaning here.
const MODEL: &str = "sd_model_checkpoint";
const PREVIEWS: &str = "live_previews_enable";

/// The name of the script whose argument has options.
const SCRIPT: &str = "ttsvar";

pub(super) fn routes() -> Router<Arc<App>> {
    Router::new()
        .route("/sdapi/v1/txt2img", post(txt2img))
        .route("/sdapi/v1/options", get(options).post(set_options))
        .route("/sdapi/v1/sd-models", get(models))
        .route("/sdapi/v1/samplers", get(samplers))
        .route("/sdapi/v1/progress", get(progress))
        .route("/sdapi/v1/interrupt", post(interrupt))
}

async fn txt2img(State(app): State<Arc<App>>, request: Request) -> Result<Response, ApiError> {
    let fields = json_body::read(request, &app.limits).await?;
    let wish = Wish::read(&app, &fields)?;
    let at_home = |error| wish.at_home(error);
    let raw = RawRequest::read(Route::Images, &wish.fields).map_err(at_home)?;
    let images = images::generate(&app, raw).await.map_err(at_home)?;
    run_blocking(move || wish.response(&app, &fields, &images)).await?
}

/// A request of a client as one of this server's.
struct Wish {
    fields: Map<String, Value>,
    /// The options of the search, which become one of the fields.
    search: Map<String, Value>,
    /// Where the client gives what is in the fields. A place begins with the name of a field.
    places: HashMap<String, String>,
    /// The fields and settings that change nothing.
    ignored: Vec<String>,
    sends_images: bool,
}

impl Wish {
    fn read(app: &App, given: &Map<String, Value>) -> Result<Self, ApiError> {
        let mut wish = Self {
            fields: Map::new(),
            search: Map::new(),
            places: HashMap::new(),
            ignored: vec![],
            sends_images: given.get("send_images") != Some(&Value::Bool(false)),
        };
        for (name, value) in given.iter().filter(|(_, value)| !value.is_null()) {
            if PASSED.contains(&name.as_str()) {
                wish.fields.insert(name.clone(), value.clone());
            } else if !READ.contains(&name.as_str()) {
                wish.ignored.push(name.clone());
            }
        }
        wish.set_images(given)?;
        wish.set_size(app, given)?;
        wish.set_sampler(given);
        wish.read_settings(given)?;
        for (option, value) in script_options(given)? {
            let place = format!("alwayson_scripts.{SCRIPT}.args.{option}");
            wish.set_option(&option, value, place);
        }
        let search = std::mem::take(&mut wish.search);
        wish.set("search", search.into(), "override_settings");
        Ok(wish)
    }

    /// Sets a field that the client gives at another place.
    fn set(&mut self, field: &str, value: Value, place: &str) {
        self.fields.insert(field.to_owned(), value);
        self.places.insert(field.to_owned(), place.to_owned());
    }

    /// Sets an option of the search.
    fn set_option(&mut self, option: &str, value: Value, place: String) {
        self.search.insert(option.to_owned(), value);
        self.places.insert(format!("search.{option}"), place);
    }

    /// Sets the number of images.
    fn set_images(&mut self, given: &Map<String, Value>) -> Result<(), ApiError> {
        let batch = count(given, "batch_size")?;
        let batches = count(given, "n_iter")?;
        let place = match (batch, batches) {
            (_, 1) => "batch_size",
            (1, _) => "n_iter",
            _ => "batch_size times n_iter",
        };
        self.set("n", batch.saturating_mul(batches).into(), place);
        Ok(())
    }

    /// Sets the size nearest to the one that is wished for.
    fn set_size(&mut self, app: &App, given: &Map<String, Value>) -> Result<(), ApiError> {
        let width = positive(given, "width")?;
        let height = positive(given, "height")?;
        if let Some((width, height)) = width.zip(height)
            && let Some(size) = app.requests.nearest_size(width as usize, height as usize)
        {
            self.set("size", size.into(), "width");
        }
        Ok(())
    }

    /// Takes the name of a sampler as a method, if it is one.
    fn set_sampler(&mut self, given: &Map<String, Value>) {
        for name in ["sampler_index", "sampler_name"] {
            let Some(sampler) = given.get(name).and_then(Value::as_str) else {
                continue;
            };
            match sampler.parse::<Method>() {
                Ok(_) => self.set_option("method", sampler.into(), name.to_owned()),
                Err(_) => self.ignored.push(name.to_owned()),
            }
        }
    }

    /// Reads `override_settings`: the model, previews, and options of a search.
    fn read_settings(&mut self, given: &Map<String, Value>) -> Result<(), ApiError> {
        for (name, value) in object(given, "override_settings")?.into_iter().flatten() {
            let place = format!("override_settings.{name}");
            let value = value.clone();
            match name.as_str() {
                MODEL => self.set("model", value, &place),
                PREVIEWS => self.set("previews", value, &place),
                option if is_option(option) => self.set_option(option, value, place),
                _ => self.ignored.push(place),
            }
        }
        Ok(())
    }

    /// An error about a field of this server's, at the place where the client gives it.
    fn at_home(&self, mut error: ApiError) -> ApiError {
        // Messages quote options, and begin with other fields
        let options = self.places.iter();
        for (option, place) in options.filter(|(field, _)| field.starts_with("search.")) {
            let quoted = format!("`{option}`");
            error.message = error.message.replace(&quoted, &format!("`{place}`"));
        }
        error.message = error.message.replace("`search.", "`override_settings.");
        let Some((field, place)) = error
            .param
            .as_deref()
            .and_then(|param| self.places.get_key_value(param))
        else {
            return error;
        };
        if let Some(rest) = error.message.strip_prefix(&format!("{field} ")) {
            error.message = format!("{place} {rest}");
        }
        let param = place.split(' ').next().unwrap_or(place).to_owned();
        error.with_param(param)
    }

    /// The response with the images. Decoding and encoding them takes time.
    fn response(
        &self,
        app: &App,
        given: &Map<String, Value>,
        images: &[JobImage],
    ) -> Result<Response, ApiError> {
        let info = info(app, images, &self.ignored)?;
        let sent = images.iter().filter(|_| self.sends_images);
        let body = json!({
            "images": sent.map(|image| BASE64_STANDARD.encode(&image.png)).collect::<Vec<_>>(),
            "parameters": given,
            "info": info.to_string(),
        });
        Ok(Json(body).into_response())
    }
}

/// The options in `alwayson_scripts`: `{"ttsvar": {"args": [{...}]}}`.
fn script_options(given: &Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    let scripts = object(given, "alwayson_scripts")?;
    let Some(script) = scripts.and_then(|scripts| scripts.get(SCRIPT)) else {
        return Ok(Map::new());
    };
    let arguments = &script["args"];
    let argument = match arguments {
        Value::Array(list) if list.len() == 1 => &list[0],
        other => other,
    };
    argument.as_object().cloned().ok_or_else(|| {
        ApiError::input(
            "alwayson_scripts.ttsvar.args",
            "expected one argument, an object with options by name, \
             such as {\"args\": [{\"method\": \"best-of-n\", \"n\": 8}]}",
        )
    })
}

fn object<'g>(
    given: &'g Map<String, Value>,
    name: &'static str,
) -> Result<Option<&'g Map<String, Value>>, ApiError> {
    match given.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(object)) => Ok(Some(object)),
        Some(_) => Err(ApiError::input(name, format!("{name}: expected an object"))),
    }
}

/// An integer from 1 on, if it is given.
fn positive(given: &Map<String, Value>, name: &'static str) -> Result<Option<u64>, ApiError> {
    let Some(value) = given.get(name).filter(|value| !value.is_null()) else {
        return Ok(None);
    };
    let number = value
        .as_u64()
        .filter(|number| (1..=1 << 20).contains(number));
    match number {
        Some(number) => Ok(Some(number)),
        None => Err(ApiError::input(
            name,
            format!("{name}: expected an integer from 1 to {}", 1 << 20),
        )),
    }
}

/// The same with 1 as the default.
fn count(given: &Map<String, Value>, name: &'static str) -> Result<u64, ApiError> {
    Ok(positive(given, name)?.unwrap_or(1))
}

/// What clients read of the images: prompts, seeds, and the text of each image.
fn info(app: &App, images: &[JobImage], ignored: &[String]) -> Result<Value, ApiError> {
    let mut texts = vec![];
    let mut all = vec![];
    for image in images {
        let png = Png::decode(&image.png)?;
        let parameters = Parameters::read(&png).unwrap_or_default();
        texts.push(parameters.to_text());
        all.push(parameters);
    }
    let first = all.first().cloned().unwrap_or_default();
    let of_all = |read: fn(&Parameters) -> Value| all.iter().map(read).collect::<Vec<_>>();
    let (width, height) = first.size.unwrap_or_default();
    Ok(json!({
        "prompt": first.prompt,
        "all_prompts": of_all(|of| of.prompt.clone().into()),
        "negative_prompt": first.negative.clone().unwrap_or_default(),
        "all_negative_prompts": of_all(|of| of.negative.clone().unwrap_or_default().into()),
        "seed": first.seed,
        "all_seeds": of_all(|of| of.seed.into()),
        "width": width,
        "height": height,
        "sampler_name": first.sampler,
        "cfg_scale": first.cfg,
        "steps": first.steps,
        "batch_size": images.len(),
        "sd_model_name": app.requests.system().name(),
        "infotexts": texts,
        "index_of_first_image": 0,
        "version": first.program,
        "jobs": images.iter().map(|image| &image.job.id).collect::<Vec<_>>(),
        "scores": images.iter().map(|image| image.score).collect::<Vec<_>>(),
        "warnings": images.iter().map(|image| &image.job.warnings).collect::<Vec<_>>(),
        "ignored": ignored,
    }))
}

async fn options(State(app): State<Arc<App>>) -> Json<Value> {
    Json(json!({
        MODEL: app.requests.system().name(),
        "sd_checkpoint_hash": null,
        "samples_format": "png",
        PREVIEWS: false,
    }))
}

/// There are no settings that outlive a request: the loaded model may be named, and the rest changes
/// nothing.
async fn set_options(
    State(app): State<Arc<App>>,
    request: Request,
) -> Result<Json<Value>, ApiError> {
    let fields = json_body::read(request, &app.limits).await?;
    if let Some(model) = fields.get(MODEL).and_then(Value::as_str) {
        let checked = app.requests.check_model(Some(model));
        checked.map_err(|error| error.with_param(MODEL))?;
    }
    Ok(Json(Value::Null))
}

async fn models(State(app): State<Arc<App>>) -> Json<Value> {
    let name = app.requests.system().name();
    Json(json!([{
        "title": name,
        "model_name": name,
        "hash": null,
        "sha256": null,
        "filename": name,
        "config": null,
    }]))
}

/// The methods of search.
async fn samplers() -> Json<Value> {
    let sampler = |method: Method| {
        json!({
            "name": method.to_string(),
            "aliases": [],
            "options": { "description": method.description() },
        })
    };
    Json(Method::ALL.into_iter().map(sampler).collect())
}

/// The progress of the running search that began first.
async fn progress(State(app): State<Arc<App>>) -> Result<Json<Value>, ApiError> {
    let waiting = app.scheduler.waiting();
    let Some((search, _)) = app.scheduler.first_running() else {
        return Ok(Json(progress_json(&Progress::default(), waiting, None)));
    };
    let progress = Progress::of(&search);
    let image = match progress.sheet {
        Some(sheet) => {
            let store = app.store.clone();
            run_blocking(move || {
                let png = store.read(&search.id, &Store::sheet_name(sheet))?;
                Ok::<_, Error>(png.map(|png| BASE64_STANDARD.encode(png)))
            })
            .await??
        }
        None => None,
    };
    Ok(Json(progress_json(&progress, waiting, image)))
}

/// How far a search is. One that runs in rounds may count its scales again.
#[derive(Default)]
struct Progress {
    id: String,
    scales: usize,
    done: usize,
    seconds: f64,
    /// The latest contact sheet.
    sheet: Option<usize>,
}

impl Progress {
    fn of(search: &SearchJob) -> Self {
        let mut progress = Self {
            id: search.id.clone(),
            seconds: search.seconds(),
            ..Self::default()
        };
        for entry in search.log.after(0) {
            match entry.event.as_str() {
                "started" => {
                    progress.scales = entry.data["scales"].as_array().map_or(0, Vec::len);
                }
                "candidates" => {
                    progress.done = entry.data["scale"]
                        .as_u64()
                        .map_or(0, |scale| scale as usize + 1);
                }
                "previews" => {
                    let sheet = entry.data["sheet"].as_u64();
                    progress.sheet = sheet.map(|sheet| sheet as usize);
                }
                _ => (),
            }
        }
        progress
    }

    /// From 0 to 1.
    fn share(&self) -> f64 {
        match self.scales {
            0 => 0.0,
            scales => self.done as f64 / scales as f64,
        }
    }

    /// Seconds that remain if all scales took the same time.
    fn remaining(&self) -> f64 {
        match self.done {
            0 => 0.0,
            _ => self.seconds * (1.0 / self.share() - 1.0),
        }
    }
}

fn progress_json(progress: &Progress, waiting: usize, image: Option<String>) -> Value {
    let running = !progress.id.is_empty();
    json!({
        "progress": progress.share(),
        "eta_relative": progress.remaining(),
        "state": {
            "skipped": false,
            "interrupted": false,
            "job": progress.id,
            "job_count": waiting + usize::from(running),
            "job_no": 0,
            "sampling_step": progress.done,
            "sampling_steps": progress.scales,
        },
        "current_image": image,
        "textinfo": null,
    })
}

/// Cancels the running search that began first.
async fn interrupt(
    State(app): State<Arc<App>>,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    json_body::check_needless(&headers)?;
    let cancel = move || {
        let jobs = app
            .scheduler
            .first_running()
            .map_or(vec![], |(_, jobs)| jobs);
        for job in jobs {
            app.scheduler.cancel(&job);
        }
    };
    run_blocking(cancel).await?;
    Ok(Json(json!({})))
}
