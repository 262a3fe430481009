//! The stream of OpenAI's interface for images: partial images while a search runs, then the
//! finished ones.

use std::{collections::HashMap, sync::Arc};

use axum::response::{Response, sse::Event};
use base64::prelude::{BASE64_STANDARD, Engine};
use serde_json::{Value, json};

use super::{
    App,
    api_error::ApiError,
    contact_sheet::ContactSheet,
    event_log::Entry,
    images::{self, JobImage, Submitted},
    job::Job,
    openai::{Kind, image_json},
    run_blocking,
    scheduler::SearchJob,
    store::Store,
    watch::{Client, Disconnected, event_stream},
};
use crate::{Error, Result, clock::unix_seconds, image::Png};

/// Streams the images of jobs, one job after the other. The jobs end if the client leaves.
pub(super) fn respond(app: Arc<App>, submitted: Submitted, kind: Kind) -> Response {
    event_stream(|client| async move {
        for (job, search) in submitted.jobs.iter().zip(&submitted.searches) {
            if let Some(search) = search {
                send_partial_images(&app, job, search, kind, &client).await?;
            }
            let images = match images::wait_for(&app, job, submitted.best).await {
                Ok(images) => images,
                Err(error) => return client.send(error_event(&error)).await,
            };
            for image in images {
                match run_blocking(move || completed(&image, kind)).await {
                    Ok(event) => client.send(event).await?,
                    Err(error) => return client.send(error_event(&error.into())).await,
                }
            }
        }
        submitted.guard.disarm();
        Ok(())
    })
}

/// Sends partial images as they come, until the job is over.
async fn send_partial_images(
    app: &Arc<App>,
    job: &Job,
    search: &SearchJob,
    kind: Kind,
    client: &Client,
) -> Result<(), Disconnected> {
    let mut changes = search.log.subscribe();
    let mut leading = Leading::default();
    let (mut seen, mut sent) = (0, 0);
    loop {
        // Checked before the log is read, so that its last entries are not missed
        let open = app.scheduler.search(&job.id).is_some();
        for entry in search.log.after(seen) {
            seen += 1;
            let Some((sheet, place)) = leading.take(&entry) else {
                continue;
            };
            let partial = &search.request.partial_scales;
            if sent == partial.len() || !partial.contains(&sheet.scale) {
                continue;
            }
            let id = sheet.ids[place];
            let about = json!({ "job": job.id, "scale": sheet.scale, "candidate": id });
            let store = app.store.clone();
            let folder = search.id.clone();
            let image = run_blocking(move || partial_image(&store, &folder, &sheet, place)).await;
            match image.flatten() {
                Ok(Some(image)) => {
                    client
                        .send(partial_event(&image, kind, sent, about))
                        .await?;
                    sent += 1;
                }
                Ok(None) => {}
                Err(error) => tracing::warn!(job = job.id, %error, "skipped a partial image"),
            }
        }
        if !open {
            return Ok(());
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = client.closed() => return Err(Disconnected),
        }
    }
}

/// Which candidate leads: that with the best score so far, by its own or by its nearest scored
/// ancestor.
#[derive(Default)]
struct Leading {
    scores: HashMap<u64, f64>,
}

impl Leading {
    /// Takes an event of the search. If it is a contact sheet, returns it with the place of the
    /// leading candidate on it.
    fn take(&mut self, entry: &Entry) -> Option<(ContactSheet, usize)> {
        match entry.event.as_str() {
            "scores" => self.take_scores(&entry.data),
            "selection" => self.take_children(&entry.data),
            "previews" => {
                let sheet: ContactSheet = serde_json::from_value(entry.data.clone()).ok()?;
                let place = self.best(&sheet.ids)?;
                return Some((sheet, place));
            }
            _ => {}
        }
        None
    }

    fn take_scores(&mut self, data: &Value) {
        let ids = elements(&data["ids"]).filter_map(Value::as_u64);
        for (id, score) in ids.zip(elements(&data["scores"])) {
            self.scores
                .insert(id, score.as_f64().unwrap_or(f64::NEG_INFINITY));
        }
    }

    fn take_children(&mut self, data: &Value) {
        for fate in elements(&data["fates"]) {
            let parent = fate["id"].as_u64();
            let Some(score) = parent.and_then(|id| self.scores.get(&id).copied()) else {
                continue;
            };
            for child in elements(&fate["children"]).filter_map(Value::as_u64) {
                self.scores.entry(child).or_insert(score);
            }
        }
    }

    /// The place of the first candidate with the best score.
    fn best(&self, ids: &[usize]) -> Option<usize> {
        let score = |id: usize| self.scores.get(&(id as u64)).copied();
        let scores = ids.iter().map(|id| score(*id).unwrap_or(f64::NEG_INFINITY));
        let best = scores
            .enumerate()
            .reduce(|best, other| match other.1 > best.1 {
                true => other,
                false => best,
            });
        best.map(|(place, _)| place)
    }
}

/// The elements of a list; none of anything else.
fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// The image of a candidate on a contact sheet of a running search. `None` if the search is over and
/// its sheets are gone.
fn partial_image(
    store: &Store,
    folder: &str,
    sheet: &ContactSheet,
    place: usize,
) -> Result<Option<PartialImage>> {
    let Some(bytes) = store.read(folder, &Store::sheet_name(sheet.sheet))? else {
        return Ok(None);
    };
    let images = sheet.cut(&Png::decode(&bytes)?.image);
    let image = images.and_then(|images| images.into_iter().nth(place));
    let image = image.ok_or_else(|| Error::internal("a contact sheet is too narrow"))?;
    Ok(Some(PartialImage {
        size: format!("{}x{}", image.width(), image.height()),
        base64: BASE64_STANDARD.encode(Png::new(image).encode()?),
    }))
}

struct PartialImage {
    size: String,
    /// The PNG file.
    base64: String,
}

fn partial_event(image: &PartialImage, kind: Kind, index: usize, about: Value) -> Event {
    let mut data = json!({
        "type": format!("{}.partial_image", kind.name()),
        "partial_image_index": index,
        "b64_json": image.base64,
        "created_at": unix_seconds() as u64,
        "size": image.size,
        "quality": "auto",
        "background": "opaque",
        "output_format": "png",
    });
    extend(&mut data, about);
    event(&data)
}

/// The event of a finished image. Encoding it takes time.
fn completed(image: &JobImage, kind: Kind) -> Event {
    let mut data = json!({
        "type": format!("{}.completed", kind.name()),
        "created_at": unix_seconds() as u64,
        "size": image.job.facts.get("size"),
        "quality": "auto",
        "background": "opaque",
        "output_format": "png",
        // This server counts no tokens. Clients in typed languages expect the field.
        "usage": {
            "input_tokens": 0,
            "output_tokens": 0,
            "total_tokens": 0,
            "input_tokens_details": { "text_tokens": 0, "image_tokens": 0 },
        },
    });
    extend(&mut data, image_json(image));
    event(&data)
}

fn extend(data: &mut Value, more: Value) {
    if let (Some(data), Value::Object(more)) = (data.as_object_mut(), more) {
        data.extend(more);
    }
}

/// An event whose name is its type.
fn event(data: &Value) -> Event {
    let name = data["type"].as_str().unwrap_or_default();
    Event::default().event(name).data(data.to_string())
}

/// The last event of a stream whose search failed.
fn error_event(error: &ApiError) -> Event {
    Event::default()
        .event("error")
        .data(error.body().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(event: &str, data: Value) -> Entry {
        Entry {
            event: event.to_owned(),
            data,
        }
    }

    #[test]
    fn the_leading_candidate_has_the_best_score_so_far() {
        let mut leading = Leading::default();
        let sheet = |ids: Value| entry("previews", json!({ "scale": 1, "ids": ids, "sheet": 0 }));
        let mut place = |entry: Entry| leading.take(&entry).map(|(_, place)| place);
        assert_eq!(place(sheet(json!([0, 1, 2]))), Some(0));
        let scores = json!({ "scale": 1, "ids": [0, 1, 2], "scores": [0.5, "nan", 0.75] });
        assert_eq!(place(entry("scores", scores)), None);
        assert_eq!(place(sheet(json!([0, 1, 2]))), Some(2));
        let fates = json!([{ "id": 2, "children": [3, 4] }, { "id": 1, "children": [] }]);
        assert_eq!(place(entry("selection", json!({ "fates": fates }))), None);
        assert_eq!(place(sheet(json!([1, 4]))), Some(1));
        assert_eq!(place(sheet(json!([]))), None);
        assert_eq!(place(sheet(json!("damaged"))), None);
    }
}
