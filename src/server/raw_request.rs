//! The fields of a request for images: which exist, which are ignored, and their types.
//!
//! Both routes that take searches read the same fields. Options of a search may be given at the top
//! level or in `search`.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::{api_error::ApiError, field_names::suggestion, json_body::kind};
use crate::{options::Options, request::EditInput};

/// Fields of the request itself.
const FIELDS: [&str; 12] = [
    "prompt",
    "model",
    "n",
    "size",
    "previews",
    "search",
    "plan_of",
    "response_format",
    "output_format",
    "background",
    "stream",
    "partial_images",
];

/// In `search`, besides options: whether all images are those of one search.
const SHARE: &str = "share";

/// What names a plan.
const NAMES_OF_PLANS: [&str; 3] = ["method", "n", "schedule"];

/// Partial images of a stream at most, as in OpenAI's interface.
const MOST_PARTIAL: u64 = 3;

/// Fields of OpenAI's interface that change nothing here. Responses list those that were given.
pub(super) const IGNORED: [&str; 7] = [
    "user",
    "quality",
    "style",
    "moderation",
    "output_compression",
    "input_fidelity",
    "safety_identifier",
];

/// Other names of options.
const ALIASES: [(&str, &str); 1] = [("negative_prompt", "negative")];

/// The route of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Route {
    /// OpenAI's: several images in one response.
    Images,
    /// One image per job.
    Jobs,
}

/// A search as clients request it.
#[derive(Debug)]
pub(super) struct RawRequest {
    /// Absent where a class stands for it.
    pub prompt: Option<String>,
    pub model: Option<String>,
    pub size: Option<String>,
    /// Number of images.
    pub images: u64,
    /// The images are the best ones of one search.
    pub share: bool,
    /// The response is a stream.
    pub stream: bool,
    /// Number of partial images of each search in a stream.
    pub partial_images: usize,
    /// Keeps the images of every scale.
    pub previews: bool,
    /// A part of an image that is regenerated; it comes beside the fields.
    pub edit: Option<EditInput>,
    /// The options of the search that are given, by name.
    pub options: Map<String, Value>,
    /// The method that made the plan among the options, with its N and schedule.
    pub plan_of: Map<String, Value>,
    /// Where the request gives each option: `tau` or `search.tau`.
    places: HashMap<String, String>,
    /// The fields that change nothing.
    pub ignored: Vec<String>,
}

impl RawRequest {
    /// Reads the fields of a request.
    ///
    /// # Errors
    /// A field is unknown, is missing, has the wrong type, or is given twice with different values;
    /// the error names it. Or the request asks for a format that this server does not produce.
    pub(super) fn read(route: Route, fields: &Map<String, Value>) -> Result<Self, ApiError> {
        check_names(fields)?;
        check_formats(route, fields)?;
        let mut request = Self {
            prompt: text(fields, "prompt")?,
            model: text(fields, "model")?,
            size: text(fields, "size")?,
            images: images(route, fields)?,
            share: share(fields)?,
            stream: truth(fields, "stream")?.unwrap_or(false),
            partial_images: partial_images(fields)?,
            previews: truth(fields, "previews")?.unwrap_or(false),
            edit: None,
            options: Map::new(),
            plan_of: plan_of(fields)?,
            places: HashMap::new(),
            ignored: vec![],
        };
        let ignored = fields
            .keys()
            .filter(|name| IGNORED.contains(&name.as_str()));
        request.ignored = ignored.cloned().collect();
        if !request.stream && request.partial_images > 0 {
            request.partial_images = 0;
            request.ignored.push("partial_images".to_owned());
        }
        for (name, value) in fields {
            let option = option_of(name);
            if !FIELDS.contains(&name.as_str()) && is_option(option) {
                request.set_option(option, name.clone(), value)?;
            }
        }
        let inside = search(fields)?.into_iter().flatten();
        for (name, value) in inside.filter(|(name, _)| *name != SHARE) {
            request.set_option(option_of(name), format!("search.{name}"), value)?;
        }
        Ok(request)
    }

    /// The place of an option in the request.
    pub(super) fn place(&self, option: &str) -> Option<&str> {
        self.places.get(option).map(String::as_str)
    }

    /// The place to name when several options together are wrong.
    pub(super) fn place_of_all(&self) -> String {
        let inside = |place: &&String| place.starts_with("search.");
        let mut outside = self
            .options
            .keys()
            .filter_map(|option| self.places.get(option));
        match self.places.values().find(inside) {
            Some(_) => "search".to_owned(),
            None => outside.next().map_or("search", String::as_str).to_owned(),
        }
    }

    /// Sets an option, which the request may have given already with the same value.
    fn set_option(&mut self, option: &str, place: String, value: &Value) -> Result<(), ApiError> {
        let any_seed = option == "seed" && value.as_i64() == Some(-1);
        if value.is_null() || any_seed {
            return Ok(());
        }
        if let Some(before) = self.options.get(option)
            && before != value
        {
            let other = &self.places[option];
            let message = format!("`{place}` is {value}, but `{other}` is {before}");
            return Err(ApiError::input(place, message));
        }
        self.options.insert(option.to_owned(), value.clone());
        self.places.insert(option.to_owned(), place);
        Ok(())
    }
}

/// The option behind a name.
fn option_of(name: &str) -> &str {
    let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
    alias.map_or(name, |(_, option)| option)
}

pub(super) fn is_option(name: &str) -> bool {
    Options::names().iter().any(|option| option == name)
}

/// Refuses unknown fields, and unknown options in `search`.
fn check_names(fields: &Map<String, Value>) -> Result<(), ApiError> {
    let options = Options::names();
    let options = options.iter().map(String::as_str);
    let options = options.chain(ALIASES.map(|(alias, _)| alias));
    let own = FIELDS.into_iter().chain(options.clone());
    for name in fields.keys() {
        if IGNORED.contains(&name.as_str()) || own.clone().any(|known| known == name) {
            continue;
        }
        let hint = suggestion(name, own.clone());
        return Err(ApiError::unknown_field(name.clone(), "a request", hint));
    }
    for name in search(fields)?.into_iter().flat_map(Map::keys) {
        if name != SHARE && !options.clone().any(|known| known == name) {
            let hint = suggestion(name, options.clone());
            let place = "the options of a search";
            return Err(ApiError::unknown_field(
                format!("search.{name}"),
                place,
                hint,
            ));
        }
    }
    Ok(())
}

/// The options in `search`.
fn search(fields: &Map<String, Value>) -> Result<Option<&Map<String, Value>>, ApiError> {
    match fields.get("search") {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(search)) => Ok(Some(search)),
        Some(other) => Err(wrong_kind(
            "search",
            other,
            "an object with options by name",
        )),
    }
}

/// The name of a plan.
fn plan_of(fields: &Map<String, Value>) -> Result<Map<String, Value>, ApiError> {
    let name = match fields.get("plan_of") {
        None | Some(Value::Null) => return Ok(Map::new()),
        Some(Value::Object(name)) => name,
        Some(other) => return Err(wrong_kind("plan_of", other, "an object with a method")),
    };
    match name
        .keys()
        .find(|key| !NAMES_OF_PLANS.contains(&key.as_str()))
    {
        None => Ok(name.clone()),
        Some(key) => {
            let hint = suggestion(key, NAMES_OF_PLANS.into_iter());
            let key = format!("plan_of.{key}");
            Err(ApiError::unknown_field(key, "the name of a plan", hint))
        }
    }
}

/// Refuses formats that this server does not produce.
fn check_formats(route: Route, fields: &Map<String, Value>) -> Result<(), ApiError> {
    let only = |name: &'static str, produced: &[&str]| match text(fields, name)? {
        Some(format) if !produced.contains(&format.as_str()) => {
            let produced = produced.join(" or ");
            let message = format!("{name} is `{format}`, but this server produces {produced}");
            Err(ApiError::input(name, message))
        }
        _ => Ok(()),
    };
    match route {
        Route::Images => only("response_format", &["b64_json"])?,
        Route::Jobs => only("response_format", &["url"])?,
    }
    only("output_format", &["png"])?;
    only("background", &["opaque", "auto"])?;
    if route == Route::Jobs && truth(fields, "stream")? == Some(true) {
        let message = "this route does not stream; watch the events of the job instead";
        return Err(ApiError::input("stream", message));
    }
    Ok(())
}

/// The number of images.
fn images(route: Route, fields: &Map<String, Value>) -> Result<u64, ApiError> {
    let n = match fields.get("n") {
        None | Some(Value::Null) => return Ok(1),
        Some(n) => n,
    };
    match (route, n.as_u64()) {
        (Route::Jobs, Some(1)) => Ok(1),
        (Route::Jobs, _) if !share(fields)? => {
            let message = format!(
                "n is {n}, but a job generates 1 image, or with `search.share` the best {n} of its \
                 search; the N of the method is `search.n`"
            );
            Err(ApiError::input("n", message))
        }
        (_, Some(n)) => Ok(n),
        (_, None) => Err(wrong_kind("n", n, "a number of images, 1 or more")),
    }
}

/// Whether all images are those of one search.
fn share(fields: &Map<String, Value>) -> Result<bool, ApiError> {
    match search(fields)?.and_then(|search| search.get(SHARE)) {
        None | Some(Value::Null) => Ok(false),
        Some(Value::Bool(share)) => Ok(*share),
        Some(other) => Err(wrong_kind("search.share", other, "true or false")),
    }
}

/// The number of partial images of each search.
fn partial_images(fields: &Map<String, Value>) -> Result<usize, ApiError> {
    match fields.get("partial_images") {
        None | Some(Value::Null) => Ok(0),
        Some(number) => match number.as_u64().filter(|number| *number <= MOST_PARTIAL) {
            Some(number) => Ok(number as usize),
            None => {
                let expected = format!("an integer from 0 to {MOST_PARTIAL}");
                Err(wrong_kind("partial_images", number, &expected))
            }
        },
    }
}

/// The error for a field that the model needs.
pub(super) fn missing(name: &'static str) -> ApiError {
    let message = format!("{name} is missing");
    ApiError {
        code: "missing_required_parameter",
        ..ApiError::input(name, message)
    }
}

fn text(fields: &Map<String, Value>, name: &'static str) -> Result<Option<String>, ApiError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::String(text)) => Ok(Some(text.clone())),
        Some(other) => Err(wrong_kind(name, other, "a string")),
    }
}

fn truth(fields: &Map<String, Value>, name: &'static str) -> Result<Option<bool>, ApiError> {
    match fields.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Bool(truth)) => Ok(Some(*truth)),
        Some(other) => Err(wrong_kind(name, other, "true or false")),
    }
}

/// The error for a value of another type. Long values are named by their kind.
fn wrong_kind(name: &'static str, value: &Value, expected: &str) -> ApiError {
    let found = match value {
        Value::Array(_) | Value::Object(_) | Value::Null => kind(value).to_owned(),
        short => short.to_string(),
    };
    ApiError::input(name, format!("{name} is {found}, expected {expected}"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(route: Route, fields: Value) -> Result<RawRequest, ApiError> {
        RawRequest::read(route, fields.as_object().unwrap())
    }

    #[test]
    fn options_are_read_at_both_places() {
        let fields = json!({
            "prompt": "a", "tau": 0.5, "negative_prompt": "b", "user": "me", "seed": -1,
            "search": { "n": 2, "tau": 0.5, "seed": -1 },
        });
        for route in [Route::Images, Route::Jobs] {
            let request = read(route, fields.clone()).unwrap();
            let expected = json!({ "tau": 0.5, "negative": "b", "n": 2 });
            assert_eq!(Value::Object(request.options.clone()), expected);
            assert_eq!(request.ignored, ["user"]);
            assert_eq!(request.place("n"), Some("search.n"));
            assert_eq!(request.images, 1);
        }
    }

    #[test]
    fn an_option_with_two_values_is_refused() {
        for fields in [
            json!({ "prompt": "a", "seed": 1, "search": { "seed": 2 } }),
            json!({ "prompt": "a", "negative": "b", "negative_prompt": "c" }),
            json!({ "prompt": "a", "search": { "negative": "b", "negative_prompt": "c" } }),
        ] {
            let error = read(Route::Jobs, fields).unwrap_err();
            assert!(error.message.contains("but"), "{}", error.message);
        }
    }

    #[test]
    fn a_stream_has_partial_images_and_a_search_may_be_shared() {
        let fields = |stream: bool, partial: Value| {
            json!({
                "prompt": "a", "stream": stream, "partial_images": partial,
                "search": { "share": true, "n": 4 },
            })
        };
        let streamed = read(Route::Images, fields(true, json!(3))).unwrap();
        assert!(streamed.stream && streamed.share && streamed.ignored.is_empty());
        assert_eq!(streamed.partial_images, 3);
        assert_eq!(json!(streamed.options), json!({ "n": 4 }));
        let plain = read(Route::Images, fields(false, json!(2))).unwrap();
        assert_eq!(
            (plain.partial_images, plain.ignored),
            (0, vec!["partial_images".to_owned()])
        );
        for (wrong, place) in [
            (fields(true, json!(4)), "partial_images"),
            (fields(true, json!("1")), "partial_images"),
            (
                json!({ "prompt": "a", "search": { "share": 1 } }),
                "search.share",
            ),
        ] {
            let error = read(Route::Images, wrong).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(place), "{}", error.message);
        }
        assert!(read(Route::Jobs, json!({ "prompt": "a", "stream": true })).is_err());
        let mut job = fields(false, json!(0));
        job["n"] = json!(3);
        assert_eq!(read(Route::Jobs, job.clone()).unwrap().images, 3);
        job["search"]["share"] = json!(false);
        assert!(read(Route::Jobs, job).is_err());
    }

    #[test]
    fn the_formats_of_each_route_are_those_it_produces() {
        let format = |format: &str| json!({ "prompt": "a", "response_format": format });
        assert!(read(Route::Images, format("b64_json")).is_ok());
        assert!(read(Route::Images, format("url")).is_err());
        assert!(read(Route::Jobs, format("url")).is_ok());
        assert!(read(Route::Jobs, format("b64_json")).is_err());
        for route in [Route::Images, Route::Jobs] {
            let transparent = json!({ "prompt": "a", "background": "transparent" });
            let error = read(route, transparent).unwrap_err();
            assert_eq!(error.param.as_deref(), Some("background"));
            assert!(read(route, json!({ "prompt": "a", "background": "auto" })).is_ok());
        }
    }
}
