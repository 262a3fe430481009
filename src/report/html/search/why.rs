//! Why the winner won, in words that the trace bears out.

use ttsvar_search::{StageRecord, Trace};

use super::super::super::{
    clusters::letters,
    generations::{Generation, Member},
};

/// What set the winner apart in the end.
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
        1 => format!("The one of {began} candidates that the choices on the way left."),
        _ => format!("{}.", among_finals(trace, place, began)),
    }
}

/// How the winner's final score stands to the others, of `began` candidates at the start.
fn among_finals(trace: &Trace, place: usize, began: usize) -> String {
    let (count, best) = (trace.finals.len(), trace.finals[place].score);
    let others = trace
        .finals
        .iter()
        .enumerate()
        .filter(|(i, _)| *i != place)
        .map(|(_, last)| last.score);
    let next = others.filter(|score| score.is_finite()).reduce(f32::max);
    let all = if began > count {
        format!("the {count} candidates that finished, of {began} that began")
    } else {
        format!("{count} candidates")
    };
    match next {
        _ if best.is_nan() => format!("None of {all} has a score; the first one counts"),
        Some(next) if next == best => {
            format!("The highest score of {all}; others reach it too, and the first one counts")
        }
        Some(next) if best - next < 0.0005 => {
            format!("The highest score of {all}; the next best is less than 0.001 behind")
        }
        Some(next) => format!(
            "The highest score of {all}; the next best has {next:.3}, {:.3} less",
            best - next
        ),
        None => format!("The only score of {all} that is a number"),
    }
}

/// Round after round, until one is good enough.
fn in_rounds(trace: &Trace, place: usize, began: usize, enough: f32) -> String {
    let most = trace.plan.rounds() * trace.plan.start();
    if trace.finals[place].score >= enough {
        let number = place + 1;
        return format!(
            "Number {number} of at most {most} samples; the search stops where one scores {enough} or more."
        );
    }
    format!(
        "{}; none reached {enough}, where the search would have stopped.",
        among_finals(trace, place, began)
    )
}

/// A stage after the last scale chooses among finished images.
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
        .map(|rank| format!("; its score is number {rank} of {count}"));
    let how = if chance.is_some() { "Drawn" } else { "Chosen" };
    format!(
        "{how} from {count} finished candidates{}{}.",
        chance.unwrap_or_default(),
        rank.unwrap_or_default()
    )
}

/// What happened to the winner, or to an ancestor of it, after a scale.
pub(super) fn step(trace: &Trace, generation: &Generation, member: &Member) -> String {
    let last = generation.scale + 1 == trace.scales.len();
    let choice = generation
        .choices
        .iter()
        .find(|choice| choice.ids.contains(&member.id));
    let Some(choice) = choice else {
        let scores: Vec<f32> = trace.finals.iter().map(|last| last.score).collect();
        let row = trace.finals.iter().position(|last| last.id == member.id);
        return if last {
            scored(&scores, row, member)
        } else {
            "seen".to_owned()
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
                format!("stands for the {alike} of cluster {letter}")
            }
        }
        None if choice.clusters.is_empty() => "kept by chance".to_owned(),
        None => "without features, fills up".to_owned(),
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

/// 1 for the highest score; none for what is no number.
fn rank(scores: &[f32], row: usize) -> Option<usize> {
    let own = *scores.get(row).filter(|score| !score.is_nan())?;
    Some(1 + scores.iter().filter(|score| **score > own).count())
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

/// A share of one as people read it.
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
    fn numbers_are_said_as_people_say_them() {
        let said = [1, 2, 3, 4, 11, 12, 13, 21, 102, 111].map(ordinal);
        assert_eq!(
            said,
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
    fn ranks_count_who_is_better() {
        let scores = [0.5, f32::NAN, 0.7, 0.5];
        assert_eq!(
            [0, 1, 2, 3].map(|row| rank(&scores, row)),
            [Some(2), None, Some(1), Some(2)]
        );
    }
}
