//! Single-file HTML pages: they load nothing, can be read without scripts, and support light and
//! dark mode and printing.

pub mod search;
pub mod verdicts;

use base64::{Engine, engine::general_purpose::STANDARD};

use maud::{DOCTYPE, Markup, PreEscaped, html};

use crate::quoting;

/// The style of all pages.
const STYLE: &str = include_str!("shared.css");

/// A whole page. `script` is optional for reading it.
fn document(title: &str, style: &str, body: &Markup, script: &str) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                meta name="color-scheme" content="light dark";
                title { (title) }
                style { (PreEscaped(STYLE)) (PreEscaped(style)) }
            }
            body {
                (body)
                script { (PreEscaped(script)) }
            }
        }
    };
    quoting::without_controls(&page.into_string())
}

/// Bytes as a data URL.
fn data(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", STANDARD.encode(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_hold_their_data() {
        assert_eq!(
            data("text/plain", b"two\n"),
            "data:text/plain;base64,dHdvCg=="
        );
        let page = document(
            "<b> & \"c\"",
            "p {}\n",
            &html! { p { "\u{1b}[1m" } },
            "f()\n",
        );
        assert!(
            !page.contains('\u{1b}') && page.contains("\u{fffd}[1m"),
            "{page}"
        );
        assert!(
            page.contains("<title>&lt;b&gt; &amp; &quot;c&quot;</title>"),
            "{page}"
        );
    }
}
