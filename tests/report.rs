//! The page of a search: it says what the trace says, is one file, and takes no prompt for markup.

#[path = "support/toy.rs"]
mod toy;

use insta::assert_snapshot;
use toy::{Judge, Toy, brightness, extractors};
use ttsvar::{
    pipelines::Prompt,
    report::{Album, html::search::page},
    search::{Method, Plan, Search, Silent, Trace, run},
};

const SCALES: usize = 7;

/// Reads an image's place and greys.
type Score = fn(usize, &[u8]) -> f32;

fn searched(prompt: &str, plan: &Plan, score: Score) -> (Trace, String) {
    let (pipeline, scorer, extractors) = (Toy::new(SCALES), Judge(score), extractors());
    let mut search = Search::new(&pipeline, &scorer, &extractors);
    search.settings.insert("method".into(), "tts-var".into());
    search.settings.insert("n".into(), 1.into());
    search.settings.insert("cfg".into(), 2.5.into());
    let prompt = Prompt { text: prompt.to_owned(), negative: None };
    let mut album = Album::default();
    let mut trace = run(&search, &prompt, plan, 7, &mut album).unwrap().trace;
    trace.version = "0".to_owned();
    let page = page(&trace, &album).unwrap();
    (trace, page)
}

/// The page without what is looked at rather than read: styles, scripts, the bytes of pictures, times.
fn structure(page: &str) -> String {
    let mut text = page.to_owned();
    for (begin, end) in
        [("<style>", "</style>"), ("<script>", "</script>"), ("base64,", "\""), ("<h2>Time</h2>", "</div>")]
    {
        let mut at = 0;
        while let Some(found) = text[at..].find(begin) {
            let from = at + found + begin.len();
            let to = from + text[from..].find(end).unwrap();
            text.replace_range(from..to, "…");
            at = from;
        }
    }
    text
}

/// The part between two marks.
fn part<'a>(page: &'a str, begin: &str, end: &str) -> &'a str {
    let from = page.find(begin).unwrap_or_else(|| panic!("{begin}"));
    &page[from..from + page[from..].find(end).unwrap()]
}

#[test]
fn a_page_has_the_winner_the_tree_and_the_command() {
    let plan = Plan::tts_var(SCALES, 1, Default::default()).unwrap();
    let (_, page) = searched("a grey line", &plan, brightness);
    let page = structure(&page);
    assert_snapshot!(part(&page, "<header", "<section class=\"facts\">"), @"");
}

#[test]
fn every_candidate_stands_on_the_page_once_for_each_picture() {
    for method in Method::ALL {
        for n in [1, 3, 40] {
            let Ok(plan) = method.plan(SCALES, n) else { continue };
            let (trace, page) = searched("a grey line", &plan, brightness);
            let shown = page.matches("<li class=").count();
            let listed = page.matches("<tr><th>").count();
            assert!(shown <= trace.cost.decodes && shown + listed >= trace.cost.decodes, "{method} {n}");
            assert_eq!(page.matches("<li class=\"winner\"").count(), 1, "{method} {n}");
            let fallen =
                trace.stages.iter().map(|stage| (0..stage.ids.len()).filter(|row| !stage.kept.contains(row)).count());
            let crossed = page.matches("<li class=\"fallen\"").count();
            assert!(crossed == fallen.sum::<usize>() || page.contains("more without pictures"), "{method} {n}");
        }
    }
}

#[test]
fn thousands_of_rows_give_a_page_that_can_be_opened() {
    let (trace, page) = searched("a grey line", &Plan::tts_var(SCALES, 300, Default::default()).unwrap(), brightness);
    assert!(
        trace.cost.decodes > 5000 && page.contains("<summary>2144 more without pictures"),
        "{}",
        trace.cost.decodes
    );
    assert!(page.matches("<img").count() < 1100, "{}", page.matches("<img").count());
    assert!(page.len() < 8_000_000, "{} bytes", page.len());
}

#[test]
fn prompts_are_text_wherever_they_stand() {
    let hostile = "</title></style></pre><script>alert('1')</script><img src=x onerror=\"alert(2)\">&lt; {}";
    let (_, page) = searched(hostile, &Plan::best_of_n(SCALES, 2).unwrap(), brightness);
    let (_, harmless) = searched("a grey line", &Plan::best_of_n(SCALES, 2).unwrap(), brightness);
    for mark in ["<script", "</script", "<img", "</title", "</style", "</pre", "onerror=\"", "src=x"] {
        let expected = if mark == "src=x" { 4 } else { 0 }; // as text: title, alt, heading, command
        assert_eq!(page.matches(mark).count(), harmless.matches(mark).count() + expected, "{mark}");
    }
    assert!(page.contains("&lt;script&gt;alert('1')&lt;/script&gt;") && page.contains("&amp;lt; {}"));
}

#[test]
fn nothing_is_fetched() {
    let (_, page) = searched("a grey line", &Plan::tts_var(SCALES, 1, Default::default()).unwrap(), brightness);
    let page = structure(&page);
    for address in page.split(['"', '\'', '(']).filter(|text| text.contains("//") && !text.contains(' ')) {
        assert_eq!(address, "http://www.w3.org/2000/svg", "only the name of SVG looks like an address");
    }
    for mark in ["<link", "@import", "url(", "<iframe", "src=\"h", "fetch("] {
        assert!(!page.contains(mark), "{mark}");
    }
}

#[test]
fn the_page_says_why_the_winner_won() {
    let verdict = |plan: Plan, score: Score| {
        let (_, page) = searched("a grey line", &plan, score);
        let why = part(&page, "<p class=\"why\">", "</p>").to_owned();
        why.split_once("</b> ").map_or(why.clone(), |(_, words)| words.to_owned())
    };
    let n = |method: Method, n| method.plan(SCALES, n).unwrap();
    let verdicts = [
        verdict(n(Method::Raw, 1), brightness),
        verdict(n(Method::BestOfN, 3), brightness),
        verdict(n(Method::BestOfN, 3), |_, _| 1.0),
        verdict(n(Method::BestOfN, 3), |_, _| f32::NAN),
        verdict(n(Method::Importance, 3), brightness),
        verdict(n(Method::Beam, 3), brightness),
        verdict(n(Method::Auto, 3), brightness),
        verdict(n(Method::Auto, 3), |_, _| 2.0),
        verdict(n(Method::TtsVar, 1), brightness),
        verdict(n(Method::TtsVar, 2), brightness),
    ];
    assert_snapshot!(verdicts.join("\n"), @"");
}

#[test]
fn a_trace_without_pictures_still_gives_a_page() {
    let (pipeline, scorer, extractors) = (Toy::new(SCALES), Judge(brightness), extractors());
    let search = Search::new(&pipeline, &scorer, &extractors);
    let plan = Plan::tts_var(SCALES, 1, Default::default()).unwrap();
    let outcome = run(&search, &"a grey line".into(), &plan, 7, &mut Silent).unwrap();
    let page = page(&outcome.trace, &Album::default()).unwrap();
    assert!(!page.contains("<img") && page.contains("--plan plan.toml"));
}
