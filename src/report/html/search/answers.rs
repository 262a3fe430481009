//! The answers to questions about each candidate, as tables.

use maud::{Markup, html};
use ttsvar_search::{AnsweredQuestion, Answers, Question, Trace};

/// One table for each scorer that was asked questions.
pub(super) fn tables(trace: &Trace) -> Markup {
    let mut scorers: Vec<&str> = vec![];
    for answers in &trace.answers {
        if !scorers.contains(&answers.scorer.as_str()) {
            scorers.push(&answers.scorer);
        }
    }
    html! {
        p { small { "probability of the right answer; in bold where another one is more likely" } }
        @for scorer in scorers {
            (table(trace, scorer))
        }
    }
}

/// The questions of a scorer, numbered, and a row for each image that it was asked about, finished
/// ones first.
fn table(trace: &Trace, scorer: &str) -> Markup {
    let of_scorer = trace.answers.iter().filter(|one| one.scorer == scorer);
    let mut scorings: Vec<&Answers> = of_scorer.collect();
    scorings.sort_by_key(|one| std::cmp::Reverse(one.scale));
    let questions = scorings.first().map_or(&[][..], |one| &one.questions);
    html! {
        p { (scorer) }
        ol {
            @for Question { question, answer } in questions {
                li { (question) " " i { (answer) } }
            }
        }
        div.wide {
            table.answers {
                tr {
                    th { "candidate" }
                    th { "scale" }
                    @for number in 1..=questions.len() {
                        th { (number) }
                    }
                }
                @for scoring in scorings {
                    @for candidate in &scoring.candidates {
                        (row(trace, scoring, candidate.id))
                    }
                }
            }
        }
    }
}

/// The answers about one image.
fn row(trace: &Trace, scoring: &Answers, id: usize) -> Markup {
    let finished = scoring.scale + 1 == trace.scales.len();
    let won = finished && trace.lineage(trace.winner).any(|member| member.id == id);
    html! {
        tr {
            th { (id) @if won { " (winner)" } }
            td { (scoring.scale) }
            @for answered in scoring.of_candidate(id) {
                td title=(answered.question.question) { (probability(&answered)) }
            }
        }
    }
}

/// What is wrong with the image of a candidate after a scale, according to the answers.
pub(super) fn wrong(trace: &Trace, scale: usize, id: usize) -> Vec<String> {
    let scorings = trace.answers.iter().filter(|one| one.scale == scale);
    let answers = scorings.flat_map(|one| one.of_candidate(id));
    let wrong = answers.filter(AnsweredQuestion::is_wrong);
    wrong.map(|answered| answered.to_string()).collect()
}

fn probability(answered: &AnsweredQuestion) -> Markup {
    let number = format!("{:.2}", answered.probability);
    html! {
        @if answered.is_wrong() {
            b { (number) }
        } @else {
            (number)
        }
    }
}
