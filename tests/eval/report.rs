//! The page of a search: it agrees with the trace, is one file, and escapes prompts.

use std::collections::BTreeSet;

use insta::assert_snapshot;
use ttsvar::{
    report::{Album, html::search::page},
    search::{Method, Plan, Prompt, Search, Silent, Trace, run},
};

use crate::support::toy::{Judge, Toy, brightness, extractors};

const SCALES: usize = 7;

/// Reads an image's place and greys.
type Score = fn(usize, &[u8]) -> f32;

fn searched(prompt: &str, plan: &Plan, score: Score) -> (Trace, String) {
    let (pipeline, scorer, extractors) = (Toy::new(SCALES), Judge(score), extractors());
    let mut search = Search::new(&pipeline, &scorer, &extractors);
    search.settings.insert("method".into(), "tts-var".into());
    search.settings.insert("n".into(), 1.into());
    search.settings.insert("cfg".into(), 2.5.into());
    let prompt = Prompt {
        text: prompt.to_owned(),
        negative: None,
    };
    let mut album = Album::default();
    let mut trace = run(&search, &prompt, plan, 7, &mut album).unwrap().trace;
    trace.version = "0".to_owned();
    let page = page(&trace, &album).unwrap();
    (trace, page)
}

/// The page without what is looked at rather than read: styles, scripts, the bytes of pictures,
/// times.
fn structure(page: &str) -> String {
    let mut text = page.to_owned();
    for (begin, end) in [
        ("<style>", "</style>"),
        ("<script>", "</script>"),
        ("base64,", "\""),
        ("<h2>Time</h2>", "</div>"),
    ] {
        text = without(&text, begin, end);
    }
    text
}

/// A text with everything between two marks taken out, wherever they stand.
fn without(text: &str, begin: &str, end: &str) -> String {
    let mut parts = text.split(begin);
    let mut whole = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let (_, rest) = part.split_once(end).unwrap();
        whole.extend([begin, end, rest]);
    }
    whole
}

/// Images as their descriptions, one line per element.
fn narrow(text: &str) -> String {
    let mut text =
        without(text, " tabindex=\"0\" title=\"", "\"").replace(" tabindex=\"0\" title=\"\"", "");
    for element in [
        "<header",
        "<figure",
        "<div",
        "<section",
        "<h1",
        "<h2",
        "<h3",
        "<p",
        "<pre",
        "<ol",
        "<li",
        "</ol",
        "</section",
        "<svg",
    ] {
        for end in [" ", ">"] {
            let start = format!("{element}{end}");
            text = text.replace(&start, &format!("\n{start}"));
        }
    }
    text.replace(
        "<img src=\"data:image/png;base64,\" width=\"7\" height=\"1\" alt=",
        "\n  ",
    )
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
    let page = narrow(&structure(&page));
    assert_snapshot!(part(&page, "<header", "<section class=\"facts\">"), @r##"
    <header class="hero">
    <figure class="winner">
      "the winner: a grey line"></figure>
    <div class="story">
    <p class="kind">tts-var, N = 1 · seed 7</p>
    <h1>a grey line</h1>
    <p class="why"><b class="score">0.523</b> The only one of 8 candidates left after selection.</p>
    <ol class="path" aria-label="the path of the winner">
    <li>
      ""><b>scale 2</b> <span>represents the 2 of cluster B</span></li>
    <li>
      ""><b>scale 3</b> <span>represents the 2 of cluster A</span></li>
    <li>
      ""><b>scale 4</b> <span>score 0.458, 1st of 4, weight 46 %, drawn</span></li>
    <li>
      ""><b>scale 5</b> <span>score 0.468, 1st of 2, weight 70 %, drawn</span></li>
    <li>
      ""><b>scale 6</b> <span>score 0.523</span></li>
    </ol></div></header>
    <section class="repeat">
    <h2>Command to repeat it</h2>
    <pre id="command" tabindex="0">ttsvar generate --method tts-var --n 1 --features pca --potential value --lambda 10 --draw multinomial --cfg 2.5 --seed 7 -- 'a grey line'</pre>
    </section>
    <section class="tree">
    <h2>All candidates</h2>
    <p class="legend"><span class="gold">orange frame</span>: the winner and its ancestors · thin frame: other candidates · faded, ×: discarded · letter: cluster · number: score · bar and %: weight in the draw</p>
    <div class="grown">
    <svg class="branches" aria-hidden="true"></svg>
    <section class="generation">
    <div class="what">
    <h3>scale 2</h3>
    <p><span>3 × 3 tokens</span> <span>cluster pca</span> <span>8 → 6</span></p></div>
    <ol class="members" style="--n: 8; --letters: 3">
    <li class="on" id="s2c5">
    <div class="image">
      "candidate 5 after scale 2, cluster A, continues"></div>
    <p><b>5</b> <span><i class="cluster" style="--colour: rgb(0 114 178)">A</i> </span></p></li>
    <li class="ancestor" id="s2c2">
    <div class="image">
      "candidate 2 after scale 2, cluster B, continues"></div>
    <p><b>2</b> <span><i class="cluster" style="--colour: rgb(200 120 0)">B</i> </span></p></li>
    <li class="fallen" id="s2c4">
    <div class="image">
      "candidate 4 after scale 2, cluster B, discarded"></div>
    <p><b>4</b> <span><i class="cluster" style="--colour: rgb(200 120 0)">B</i> </span></p></li>
    <li class="on" id="s2c0">
    <div class="image">
      "candidate 0 after scale 2, cluster C, continues"></div>
    <p><b>0</b> <span><i class="cluster" style="--colour: rgb(0 130 96)">C</i> </span></p></li>
    <li class="fallen" id="s2c3">
    <div class="image">
      "candidate 3 after scale 2, cluster C, discarded"></div>
    <p><b>3</b> <span><i class="cluster" style="--colour: rgb(0 130 96)">C</i> </span></p></li>
    <li class="on" id="s2c7">
    <div class="image">
      "candidate 7 after scale 2, cluster D, continues"></div>
    <p><b>7</b> <span><i class="cluster" style="--colour: rgb(190 84 148)">D</i> </span></p></li>
    <li class="on" id="s2c6">
    <div class="image">
      "candidate 6 after scale 2, cluster E, continues"></div>
    <p><b>6</b> <span><i class="cluster" style="--colour: rgb(64 140 190)">E</i> </span></p></li>
    <li class="on" id="s2c1">
    <div class="image">
      "candidate 1 after scale 2, cluster F, continues"></div>
    <p><b>1</b> <span><i class="cluster" style="--colour: rgb(176 74 0)">F</i> </span></p></li>
    </ol>
    </section>
    <section class="generation">
    <div class="what">
    <h3>scale 3</h3>
    <p><span>4 × 4 tokens</span> <span>cluster pca</span> <span>6 → 4</span></p></div>
    <ol class="members" style="--n: 6; --letters: 9">
    <li class="on" id="s3c8" data-from="s2c5">
    <div class="image">
      "candidate 8 after scale 3, child of 5, cluster D, continues"></div>
    <p><b>8 from 5</b> <span><i class="cluster" style="--colour: rgb(190 84 148)">D</i> </span></p></li>
    <li class="ancestor" id="s3c9" data-from="s2c2">
    <div class="image">
      "candidate 9 after scale 3, child of 2, cluster A, continues"></div>
    <p><b>9 from 2</b> <span><i class="cluster" style="--colour: rgb(0 114 178)">A</i> </span></p></li>
    <li class="on" id="s3c10" data-from="s2c0">
    <div class="image">
      "candidate 10 after scale 3, child of 0, cluster C, continues"></div>
    <p><b>10 from 0</b> <span><i class="cluster" style="--colour: rgb(0 130 96)">C</i> </span></p></li>
    <li class="on" id="s3c11" data-from="s2c7">
    <div class="image">
      "candidate 11 after scale 3, child of 7, cluster B, continues"></div>
    <p><b>11 from 7</b> <span><i class="cluster" style="--colour: rgb(200 120 0)">B</i> </span></p></li>
    <li class="fallen" id="s3c12" data-from="s2c6">
    <div class="image">
      "candidate 12 after scale 3, child of 6, cluster B, discarded"></div>
    <p><b>12 from 6</b> <span><i class="cluster" style="--colour: rgb(200 120 0)">B</i> </span></p></li>
    <li class="fallen" id="s3c13" data-from="s2c1">
    <div class="image">
      "candidate 13 after scale 3, child of 1, cluster A, discarded"></div>
    <p><b>13 from 1</b> <span><i class="cluster" style="--colour: rgb(0 114 178)">A</i> </span></p></li>
    </ol>
    </section>
    <section class="generation">
    <div class="what">
    <h3>scale 4</h3>
    <p><span>5 × 5 tokens</span> <span>resample value</span> <span>lambda 10</span> <span>4 → 2</span></p></div>
    <ol class="members" style="--n: 4; --letters: 10">
    <li class="fallen" id="s4c17" data-from="s3c8">
    <div class="image">
      "candidate 17 after scale 4, child of 8, score 0.277, weight 7 %, discarded"></div>
    <p><b>17 from 8</b> <span>0.277</span><span class="weight" style="--share: 7.5%">7 %</span></p></li>
    <li class="ancestor" id="s4c14" data-from="s3c9">
    <div class="image">
      "candidate 14 after scale 4, child of 9, score 0.458, weight 46 %, continues"></div>
    <p><b>14 from 9</b> <span>0.458</span><span class="weight" style="--share: 45.8%">46 %</span></p></li>
    <li class="on" id="s4c16" data-from="s3c10">
    <div class="image">
      "candidate 16 after scale 4, child of 10, score 0.309, weight 10 %, continues"></div>
    <p><b>16 from 10</b> <span>0.309</span><span class="weight" style="--share: 10.3%">10 %</span></p></li>
    <li class="fallen" id="s4c15" data-from="s3c11">
    <div class="image">
      "candidate 15 after scale 4, child of 11, score 0.435, weight 36 %, discarded"></div>
    <p><b>15 from 11</b> <span>0.435</span><span class="weight" style="--share: 36.4%">36 %</span></p></li>
    </ol>
    </section>
    <section class="generation">
    <div class="what">
    <h3>scale 5</h3>
    <p><span>6 × 6 tokens</span> <span>resample value</span> <span>lambda 10</span> <span>2 → 1</span></p></div>
    <ol class="members" style="--n: 2; --letters: 10">
    <li class="ancestor" id="s5c18" data-from="s4c14">
    <div class="image">
      "candidate 18 after scale 5, child of 14, score 0.468, weight 70 %, continues"></div>
    <p><b>18 from 14</b> <span>0.468</span><span class="weight" style="--share: 70.3%">70 %</span></p></li>
    <li class="fallen" id="s5c19" data-from="s4c16">
    <div class="image">
      "candidate 19 after scale 5, child of 16, score 0.382, weight 30 %, discarded"></div>
    <p><b>19 from 16</b> <span>0.382</span><span class="weight" style="--share: 29.7%">30 %</span></p></li>
    </ol>
    </section>
    <section class="generation last">
    <div class="what">
    <h3>scale 6</h3>
    <p><span>7 × 7 tokens</span> <span>1 finished</span></p></div>
    <ol class="members" style="--n: 1; --letters: 10">
    <li class="winner" id="s6c20" data-from="s5c18">
    <div class="image">
      "candidate 20 after scale 6, child of 18, score 0.523, the winner"></div>
    <p><b>20 from 18</b> <span>0.523</span></p></li>
    </ol>
    </section></div>
    </section>
    "##);
}

#[test]
fn every_candidate_stands_on_the_page_once_for_each_picture() {
    for method in Method::ALL {
        for n in [1, 3, 40] {
            let Ok(plan) = method.plan(SCALES, n) else {
                continue;
            };
            let (trace, page) = searched("a grey line", &plan, brightness);
            let shown = page.matches("<li class=").count();
            let listed = page.matches("<tr><th>").count();
            assert!(
                shown <= trace.cost.decodes && shown + listed >= trace.cost.decodes,
                "{method} {n}"
            );
            assert_eq!(
                page.matches("<li class=\"winner\"").count(),
                1,
                "{method} {n}"
            );
            let ended = trace.stages.iter().flat_map(|stage| &stage.ids);
            let ended: BTreeSet<usize> = ended.copied().collect();
            let continued: BTreeSet<usize> = trace
                .candidates
                .iter()
                .filter_map(|candidate| candidate.parent)
                .collect();
            let fallen = ended.difference(&continued).count();
            let crossed = page.matches("<li class=\"fallen\"").count();
            assert!(
                crossed == fallen || page.contains("more without images"),
                "{method} {n}"
            );
        }
    }
}

#[test]
fn thousands_of_rows_give_a_page_that_can_be_opened() {
    let (trace, page) = searched(
        "a grey line",
        &Plan::tts_var(SCALES, 300, Default::default()).unwrap(),
        brightness,
    );
    assert!(
        trace.cost.decodes > 5000 && page.contains("<summary>2144 more without images"),
        "{}",
        trace.cost.decodes
    );
    assert!(
        page.matches("<img").count() < 5 * 256 + 10,
        "{}",
        page.matches("<img").count()
    );
    assert!(page.len() < 8_000_000, "{} bytes", page.len());
}

#[test]
fn prompts_are_text_wherever_they_stand() {
    let hostile =
        "</title></style></pre><script>alert('1')</script><img src=x onerror=\"alert(2)\">&lt; {}";
    let (_, page) = searched(hostile, &Plan::best_of_n(SCALES, 2).unwrap(), brightness);
    let (_, harmless) = searched(
        "a grey line",
        &Plan::best_of_n(SCALES, 2).unwrap(),
        brightness,
    );
    for mark in [
        "<script",
        "</script",
        "<img",
        "</title",
        "</style",
        "</pre",
        "onerror=\"",
        "src=x",
    ] {
        let expected = if mark == "src=x" { 4 } else { 0 }; // as text: title, alt, heading, command
        assert_eq!(
            page.matches(mark).count(),
            harmless.matches(mark).count() + expected,
            "{mark}"
        );
    }
    assert!(
        page.contains("&lt;script&gt;alert('1')&lt;/script&gt;") && page.contains("&amp;lt; {}")
    );
}

#[test]
fn nothing_is_fetched() {
    let (_, page) = searched(
        "a grey line",
        &Plan::tts_var(SCALES, 1, Default::default()).unwrap(),
        brightness,
    );
    let page = structure(&page);
    for address in page
        .split(['"', '\'', '('])
        .filter(|text| text.contains("//") && !text.contains(' '))
    {
        assert_eq!(
            address, "http://www.w3.org/2000/svg",
            "only the name of SVG looks like an address"
        );
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
        why.split_once("</b> ")
            .map_or(why.clone(), |(_, words)| words.to_owned())
    };
    let n = |method: Method, n| method.plan(SCALES, n).unwrap();
    let verdicts = [
        verdict(n(Method::Raw, 1), brightness),
        verdict(n(Method::BestOfN, 3), brightness),
        verdict(n(Method::BestOfN, 3), |_, _| 1.0),
        verdict(n(Method::BestOfN, 3), |_, _| f32::NAN),
        verdict(n(Method::Importance, 3), brightness),
        verdict(n(Method::Beam, 3), brightness),
        verdict(n(Method::Sequential, 3), brightness),
        verdict(n(Method::Sequential, 3), |_, _| 2.0),
        verdict(n(Method::Auto, 3), brightness),
        verdict(n(Method::Auto, 3), |_, _| 2.0),
        verdict(n(Method::TtsVar, 1), brightness),
        verdict(n(Method::TtsVar, 2), brightness),
    ];
    assert_snapshot!(verdicts.join("\n"), @"
    The only candidate: this plan compares nothing.
    The highest score of 3 candidates; runner-up: 0.523 (0.108 lower).
    The highest score of 3 candidates; of several with this score, the first one is returned.
    None of 3 candidates has a score; the first one is returned.
    Drawn from 3 finished candidates with probability 24 %; its score is the 2nd of 3.
    The highest score of 3 candidates; runner-up: 0.631 (0.057 lower).
    The highest score of 3 candidates; runner-up: 0.523 (0.108 lower); no score reached 1, at which the search would have stopped.
    Number 1 of up to 3 samples; the search stops at a score of 1 or more.
    The highest score of 2 finished candidates, out of 3; runner-up: 0.523 (0.108 lower); no score reached 1, at which the search would have stopped.
    The first image to finish with a score of 1 or more, after 1 of up to 3 candidates.
    The only one of 8 candidates left after selection.
    The highest score of 2 finished candidates, out of 16; runner-up: 0.646 (0.024 lower).
    ");
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
