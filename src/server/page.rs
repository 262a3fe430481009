//! The web page: its files, which are built into the program, and their content security policy.
//! Beside it, what anyone may ask: whether the server runs, and its version.

use std::sync::Arc;

use axum::{
    Json, Router,
    http::{HeaderName, header},
    response::{IntoResponse, Response},
    routing::get,
};

use serde_json::json;

use super::App;

/// The page loads everything from this server, contains no inline scripts, and cannot be framed.
const POLICY: &str = concat!(
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; ",
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Path, content type and text of each file.
const FILES: [(&str, &str, &str); 11] = [
    (
        "/",
        "text/html; charset=utf-8",
        include_str!("page/index.html"),
    ),
    (
        "/page/style.css",
        "text/css; charset=utf-8",
        include_str!("page/style.css"),
    ),
    (
        "/page/icon.svg",
        "image/svg+xml",
        include_str!("page/icon.svg"),
    ),
    ("/page/app.js", SCRIPT, include_str!("page/app.js")),
    ("/page/api.js", SCRIPT, include_str!("page/api.js")),
    ("/page/edit.js", SCRIPT, include_str!("page/edit.js")),
    (
        "/page/image_settings.js",
        SCRIPT,
        include_str!("page/image_settings.js"),
    ),
    ("/page/panel.js", SCRIPT, include_str!("page/panel.js")),
    ("/page/run.js", SCRIPT, include_str!("page/run.js")),
    (
        "/page/trace_check.js",
        SCRIPT,
        include_str!("page/trace_check.js"),
    ),
    ("/page/tree.js", SCRIPT, include_str!("page/tree.js")),
];

pub(super) fn routes() -> Router<Arc<App>> {
    let version = || async { Json(json!({ "version": env!("CARGO_PKG_VERSION") })) };
    let health = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/health", get(|| async { "ok\n" }))
        .route("/version", get(version));
    FILES
        .iter()
        .fold(health, |router, &(path, content_type, text)| {
            router.route(path, get(move || async move { file(content_type, text) }))
        })
}

fn file(content_type: &'static str, text: &'static str) -> Response {
    let headers: [(HeaderName, &str); 5] = [
        (header::CONTENT_TYPE, content_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
