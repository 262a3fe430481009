//! Explains why the winner won, from the trace.

use ttsvar_search::{StageRecord, Trace};

use super::super::super::{
    clusters::letters,
    generations::{Generation, Member},
};

/// The reason for the winner.
pub(super) fn verdict(trace: &Trace) -> String {
    let Some(place) = trace.finals.iter().position(|last| last.id == trace.winner) else {
        return String::new();
    };
    let began = trace
        .candidates
        .iter()
        .filter(|candidate| candidate.parent.is_none())
        .count();
    if let Some(enough) = trace.plan.enough().filter(|_| trace.plan.rounds() > 1) {
        return in_rounds(trace, place, began, enough);
    }
    if let Some(choice) = trace
        .stages
        .iter()
        .find(|choice| choice.scale + 1 == trace.scales.len())
    {
        return after_the_last(trace, choice);
    }
    match trace.finals.len() {
        1 if began == 1 => "The only candidate: this plan compares nothing.".to_owned(),
        1 => format!("The only one of {began} candidates left after selection."),
        _ => format!("{}.", among_finals(trace, place, began)),
    }
}

/// Compares the winner's final score with the others, of `began` candidates at the start.
fn among_finals(trace: &Trace, place: usize, began: usize) -> String {
    let count = trace.finals.len();
    let best = trace.finals[place].score;
    let others = trace
        .finals
        .iter()
        .enumerate()
        .filter(|(i, _)| *i != place)
        .map(|(_, last)| last.score);
    let next = others.filter(|score| score.is_finite()).reduce(f32::max);
    let all = if began > count {
        format!("{count} finished candidates, out of {began}")
    } else {
        format!("{count} candidates")
    };
    match next {
        _ if best.is_nan() => format!("None of {all} has a score; the first one is returned"),
        Some(next) if next == best => {
            format!(
                "The highest score of {all}; of several with this score, the first one is returned"
            )
        }
        Some(next) if best - next < 0.0005 => {
            format!("The highest score of {all}; runner-up: less than 0.001 lower")
        }
        Some(next) => format!(
            "The highest score of {all}; runner-up: {next:.3} ({:.3} lower)",
            best - next
        ),
        None => format!("The only valid score of {all}"),
    }
}

/// The reason in a plan with rounds, which stops at a good enough score.
fn in_rounds(trace: &Trace, place: usize, began: usize, enough: f32) -> String {
    let most = trace.plan.rounds() * trace.plan.start();
    if trace.finals[place].score >= enough && trace.plan.suspends() {
        return format!(
            "The first image to finish with a score of {enough} or more, \
             after {began} of up to {most} candidates."
        );
    }
    if trace.finals[place].score >= enough {
        let number = place + 1;
        return format!(
            "Number {number} of up to {most} samples; \
             the search stops at a score of {enough} or more."
        );
    }
    format!(
        "{}; no score reached {enough}, at which the search would have stopped.",
        among_finals(trace, place, began)
    )
}

/// The reason if a stage after the last scale selects among finished images.
fn after_the_last(trace: &Trace, choice: &StageRecord) -> String {
    let count = choice.ids.len();
    let row = trace
        .lineage(trace.winner)
        .find_map(|member| choice.ids.iter().position(|id| *id == member.id));
    let chance = row
        .and_then(|row| choice.weights.get(row))
        .map(|weight| format!(" with probability {}", percent(*weight)));
    let rank = row
        .and_then(|row| rank(&choice.scores, row))
        .map(|rank| format!("; its score is the {} of {count}", ordinal(rank)));
    let how = if chance.is_some() { "Drawn" } else { "Chosen" };
    format!(
        "{how} from {count} finished candidates{}{}.",
        chance.unwrap_or_default(),
        rank.unwrap_or_default()
    )
}

/// The outcome of the winner or its ancestor after a scale.
pub(super) fn step(trace: &Trace, generation: &Generation, member: &Member) -> String {
    let last = generation.scale + 1 == trace.scales.len();
    let choice = generation
        .choices
        .iter()
        .rfind(|choice| choice.ids.contains(&member.id));
    let Some(choice) = choice else {
        let scores: Vec<f32> = trace.finals.iter().map(|last| last.score).collect();
        let row = trace.finals.iter().position(|last| last.id == member.id);
        return if last {
            scored(&scores, row, member)
        } else {
            "decoded".to_owned()
        };
    };
    let row = choice.ids.iter().position(|id| *id == member.id);
    let times = if member.children > 1 {
        format!(", {} times", member.children)
    } else {
        String::new()
    };
    match member.cluster {
        _ if !choice.weights.is_empty() => {
            let weight = member.weight.map(percent).unwrap_or_default();
            format!(
                "{}, weight {weight}, drawn{times}",
                scored(&choice.scores, row, member)
            )
        }
        _ if choice.resumes => {
            format!(
                "{}, suspended, then resumed",
                scored(&choice.scores, row, member)
            )
        }
        _ if !choice.scores.is_empty() => {
            format!("{}, kept{times}", scored(&choice.scores, row, member))
        }
        Some(cluster) => {
            let alike = choice
                .clusters
                .iter()
                .filter(|other| **other == Some(cluster))
                .count();
            let letter = letters(cluster);
            if alike == 1 {
                format!("alone in cluster {letter}")
            } else {
                format!("represents the {alike} of cluster {letter}")
            }
        }
        None if choice.clusters.is_empty() => "kept at random".to_owned(),
        None => "has no features, fills a free row".to_owned(),
    }
}

/// `score 0.512, 2nd of 8`
fn scored(scores: &[f32], row: Option<usize>, member: &Member) -> String {
    let Some(score) = member.score else {
        return "no score".to_owned();
    };
    let rank = row
        .and_then(|row| rank(scores, row))
        .filter(|_| scores.len() > 1);
    let rank = rank.map(|rank| format!(", {} of {}", ordinal(rank), scores.len()));
    format!("score {score:.3}{}", rank.unwrap_or_default())
}

/// The rank, 1 for the highest score; `None` for NaN.
fn rank(scores: &[f32], row: usize) -> Option<usize> {
    let score = *scores.get(row).filter(|score| !score.is_nan())?;
    Some(1 + scores.iter().filter(|other| **other > score).count())
}

/// 1st, 2nd, 3rd, 4th, … 11th, … 21st
fn ordinal(number: usize) -> String {
    let end = match (number % 10, number % 100) {
        (_, 11..=13) => "th",
        (1, _) => "st",
        (2, _) => "nd",
        (3, _) => "rd",
        _ => "th",
    };
    format!("{number}{end}")
}

/// A share in percent.
pub(super) fn percent(share: f64) -> String {
    match 100.0 * share {
        0.0 => "0 %".to_owned(),
        share if share < 0.5 => "< 1 %".to_owned(),
        share => format!("{share:.0} %"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinals_and_shares_are_readable() {
        let ordinals = [1, 2, 3, 4, 11, 12, 13, 21, 102, 111].map(ordinal);
        assert_eq!(
            ordinals,
            [
                "1st", "2nd", "3rd", "4th", "11th", "12th", "13th", "21st", "102nd", "111th"
            ]
        );
        assert_eq!(
            [0.0, 0.004, 0.012, 0.5, 1.0].map(percent),
            ["0 %", "< 1 %", "1 %", "50 %", "100 %"]
        );
    }

    #[test]
    fn ranks_count_higher_scores() {
        let scores = [0.5, f32::NAN, 0.7, 0.5];
        assert_eq!(
            [0, 1, 2, 3].map(|row| rank(&scores, row)),
            [Some(2), None, Some(1), Some(2)]
        );
    }
}
