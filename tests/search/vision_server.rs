//! The scorer that asks a vision server, against a server in this process that behaves and misbehaves.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, atomic::Ordering},
    time::{Duration, Instant},
};

use serde_json::json;
use ttsvar::scorers::{
    OpenAi,
    openai::{ApiKey, VisionServer},
};
use ttsvar_search::{Image, Method, Scorer, Search, Silent, Warning, run};

use crate::support::{
    toy::{Toy, extractors},
    vision::{Server, likely, reply, serve},
};

const KEY: &str = "sk-very-secret";

fn settings(server: &Server) -> VisionServer {
    VisionServer {
        url: Some(server.address.clone()),
        model: Some("m".to_owned()),
        cache: Some("none".into()),
        key: Some(ApiKey::new(KEY)),
        delay: Some(Duration::from_millis(1)),
        ..VisionServer::default()
    }
}

fn scorer(server: &Server) -> OpenAi {
    OpenAi::new(settings(server)).unwrap()
}

/// Different images.
fn images(count: usize) -> Vec<Image> {
    let image = |i: usize| Image::new(2, 1, vec![i as u8, (i >> 8) as u8, 0, 9, 9, 9]);
    (0..count).map(image).collect()
}

fn error(server: &Server) -> String {
    let error = scorer(server).score("a cat", &images(3)).unwrap_err();
    let shown = format!("{error} {error:?}");
    assert!(!shown.contains(KEY), "{shown}");
    shown
}

#[test]
fn the_probability_of_yes_is_the_score() {
    let server = serve(|request| {
        assert_eq!(request.authorization, format!("Bearer {KEY}"));
        assert_eq!(
            request.question(),
            "Does this image show \"a cat\"? Answer yes or no."
        );
        assert!(request.image().starts_with("data:image/png;base64,iVBOR"));
        assert_eq!(request.body["model"], "m");
        assert_eq!(request.body["logprobs"], true);
        likely(0.25)
    });
    let scores = scorer(&server).score("a cat", &images(3)).unwrap();
    assert!(
        scores.iter().all(|score| (score - 0.25).abs() < 1e-6),
        "{scores:?}"
    );
}

#[test]
fn a_server_that_is_not_running_is_an_error_whose_hint_has_the_address() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/v1", listener.local_addr().unwrap());
    drop(listener);
    let server = VisionServer {
        url: Some(url.clone()),
        model: Some("m".to_owned()),
        cache: Some("none".into()),
        delay: Some(Duration::from_millis(1)),
        ..VisionServer::default()
    };
    let scorer = OpenAi::new(server).unwrap();
    let error = ttsvar::Error::from(scorer.score("a cat", &images(1)).unwrap_err());
    let message = error.to_string();
    assert!(
        message.starts_with("the vision server cannot be reached: ") && !message.contains(&url),
        "{message}"
    );
    assert!(error.hint().unwrap().contains(&url), "{error:?}");
}

#[test]
fn a_server_without_probabilities_is_understood_by_its_words() {
    let server = serve(|request| {
        let words = ["No.", "yes", "7/10", "85%"][request.number];
        let choice = json!({ "message": { "content": words } });
        reply(200, "", &json!({ "choices": [choice] }).to_string())
    });
    let one_at_a_time = VisionServer {
        parallel: Some(1),
        ..settings(&server)
    };
    let scorer = OpenAi::new(one_at_a_time).unwrap();
    assert_eq!(
        scorer.score("a cat", &images(4)).unwrap(),
        [0.0, 1.0, 0.7, 0.85]
    );
}

#[test]
fn two_hundred_candidates_survive_failures_and_no_pair_is_answered_twice() {
    const COUNT: usize = 200;
    let answered: Arc<Mutex<HashMap<String, usize>>> = Arc::default();
    let counts = answered.clone();
    let server = serve(move |request| {
        if request.number % 10 == 3 {
            return match request.number / 10 % 5 {
                0 => reply(429, "retry-after: 0.01\r\n", "busy"),
                1 => reply(500, "", "{\"error\":\"broken\"}"),
                2 => reply(200, "", "{\"choices\": nonsense"),
                3 => likely(0.5)[..80].to_vec(),
                _ => vec![],
            };
        }
        let pair = format!("{} {}", request.question(), request.image());
        *counts.lock().unwrap().entry(pair).or_default() += 1;
        likely(0.75)
    });
    let scorer = scorer(&server);
    // All images twice, and again afterwards.
    let all = [images(COUNT), images(COUNT)].concat();
    for _ in 0..2 {
        let scores = scorer.score("a cat", &all).unwrap();
        assert_eq!(scores.len(), 2 * COUNT);
        let lost = scores.iter().filter(|score| score.is_nan()).count();
        assert_eq!(lost, 0, "six attempts are enough at this rate of failures");
    }
    let answered = answered.lock().unwrap();
    assert_eq!(answered.len(), COUNT);
    assert!(answered.values().all(|count| *count == 1));
    let sent = server.requests.load(Ordering::SeqCst);
    println!("{sent} requests for {COUNT} images");
    assert!(sent > COUNT && sent < COUNT + COUNT / 5);
}

#[test]
fn a_search_among_two_hundred_candidates_reports_those_without_a_score() {
    const COUNT: usize = 200;
    let lost: Arc<Mutex<Vec<String>>> = Arc::default();
    let never = lost.clone();
    let server = serve(move |request| {
        let image = request.image().to_owned();
        let mut never = never.lock().unwrap();
        if never.contains(&image) || (request.number % 10 == 3 && never.len() < 7) {
            never.push(image);
            return reply(500, "", "broken");
        }
        likely(0.5)
    });
    let scorer = scorer(&server);
    let (pipeline, extractors) = (Toy::new(3), extractors());
    let search = Search::new(&pipeline, &scorer, &extractors);
    let plan = Method::BestOfN.plan(3, COUNT).unwrap();
    let outcome = run(&search, &"a cat".into(), &plan, 1, &mut Silent).unwrap();
    let finals = outcome.trace.finals.iter();
    let without: Vec<usize> = finals
        .filter(|last| last.score.is_nan())
        .map(|last| last.id)
        .collect();
    assert!(!without.is_empty() && without.len() < COUNT / 10);
    let reported = outcome
        .trace
        .warnings
        .iter()
        .find_map(|warning| match warning {
            Warning::LostScores { ids, .. } => Some(ids.clone()),
            _ => None,
        });
    assert_eq!(reported, Some(without));
    assert_eq!(outcome.winner().score, 0.5);
}

#[test]
fn an_image_that_is_never_answered_has_no_score_and_the_others_do() {
    let bad = images(4).pop().unwrap();
    let png = ttsvar::image::Png::new(bad).encode().unwrap();
    let bad = base64_of(&png);
    let server = serve(move |request| match request.image().ends_with(&bad) {
        true => reply(503, "", "never"),
        false => likely(0.5),
    });
    let scores = scorer(&server).score("a cat", &images(4)).unwrap();
    assert_eq!(scores[..3], [0.5; 3]);
    assert!(scores[3].is_nan(), "{scores:?}");
}

fn base64_of(bytes: &[u8]) -> String {
    use base64::Engine;
    base64::engine::general_purpose::STANDARD.encode(bytes)
}

#[test]
fn a_server_that_never_answers_is_an_error() {
    let dead = serve(|_| reply(500, "", &format!("the key was {KEY}")));
    let message = error(&dead);
    assert!(
        message.contains("500") && message.contains("(the key)"),
        "{message}"
    );
    assert_eq!(
        dead.requests.load(Ordering::SeqCst),
        3 * 6,
        "six attempts each"
    );
    let cut = format!("{}{KEY}", "x".repeat(195));
    let message = error(&serve(move |_| reply(500, "", &cut)));
    assert!(!message.contains(&KEY[..4]), "{message}");
    let silent = serve(|_| reply(200, "", "<html>hello</html>"));
    assert!(error(&silent).contains("gave an unexpected answer"));
    let truncated = serve(|_| likely(0.5)[..60].to_vec());
    error(&truncated);
}

#[test]
fn a_refused_key_ends_the_work_at_once() {
    let server = serve(|_| reply(401, "", &format!("Incorrect API key provided: {KEY}")));
    let one_at_a_time = VisionServer {
        parallel: Some(1),
        ..settings(&server)
    };
    let refused = OpenAi::new(one_at_a_time).unwrap();
    let error = refused.score("a cat", &images(50)).unwrap_err();
    assert!(!format!("{error} {error:?}").contains(KEY));
    assert_eq!(server.requests.load(Ordering::SeqCst), 1);
}

#[test]
fn redirects_do_not_carry_the_key_away() {
    let elsewhere = serve(|_| likely(0.5));
    let to = format!("location: {}/chat/completions\r\n", elsewhere.address);
    let server = serve(move |_| reply(307, &to, ""));
    error(&server);
    assert_eq!(elsewhere.requests.load(Ordering::SeqCst), 0);
}

#[test]
fn a_slow_server_is_given_up_after_the_time_limit() {
    let server = serve(|request| {
        if request.number == 0 {
            std::thread::sleep(Duration::from_secs(3));
        }
        likely(0.5)
    });
    let impatient = VisionServer {
        timeout: Some(1),
        ..settings(&server)
    };
    let start = Instant::now();
    let scorer = OpenAi::new(impatient).unwrap();
    assert_eq!(scorer.score("a cat", &images(1)).unwrap(), [0.5]);
    assert!(start.elapsed() < Duration::from_millis(2900));
}

#[test]
fn retry_after_is_honoured() {
    let server = serve(|request| match request.number {
        0 => reply(429, "retry-after: 1\r\n", "busy"),
        _ => likely(0.5),
    });
    let start = Instant::now();
    assert_eq!(scorer(&server).score("a cat", &images(1)).unwrap(), [0.5]);
    assert!(start.elapsed() >= Duration::from_millis(950));
}

#[test]
fn answers_in_a_folder_are_not_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = serve(|_| likely(0.5));
    let keeping = || VisionServer {
        cache: Some(folder.path().to_owned()),
        ..settings(&server)
    };
    let ask = |settings: VisionServer, prompt: &str| {
        let scorer = OpenAi::new(settings).unwrap();
        assert_eq!(scorer.score(prompt, &images(2)).unwrap(), [0.5; 2]);
        server.requests.load(Ordering::SeqCst)
    };
    assert_eq!(ask(keeping(), "a cat"), 2);
    assert_eq!(ask(keeping(), "a cat"), 2);
    assert_eq!(ask(keeping(), "a dog"), 4);
    let other_model = VisionServer {
        model: Some("n".to_owned()),
        ..keeping()
    };
    assert_eq!(ask(other_model, "a cat"), 6);
    let other_template = VisionServer {
        template: Some("Is {} here?".to_owned()),
        ..keeping()
    };
    assert_eq!(ask(other_template, "a cat"), 8);
}
