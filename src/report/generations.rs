//! Generations of candidates: the decoded candidates of each scale, each with its outcome. The tree
//! and the page of a search show the same generations.

use std::collections::{BTreeMap, BTreeSet};

use ttsvar_search::{Stage, StageRecord, Trace};

/// Maximum number of candidates of a generation that are shown with images.
pub(super) const SHOWN: usize = 256;

/// The decoded candidates of one scale.
#[derive(Clone, Debug)]
pub(super) struct Generation<'a> {
    pub scale: usize,
    /// The selections after this scale, one per round of the plan.
    pub choices: Vec<&'a StageRecord>,
    /// The candidates, ordered so that children of neighbours are neighbours.
    pub members: Vec<Member>,
}

/// A candidate of a generation.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Member {
    pub id: usize,
    /// The candidate of the previous generation that it is or descends from.
    pub from: Option<usize>,
    /// Whether it ends here: a stage dropped or suspended it, and it was not resumed.
    pub fallen: bool,
    /// Whether a stage suspended it.
    pub suspended: bool,
    /// Whether it is the winner or an ancestor of it.
    pub ancestor: bool,
    /// Its score after this scale.
    pub score: Option<f32>,
    /// The probability of being drawn, if candidates are drawn.
    pub weight: Option<f64>,
    /// Its cluster.
    pub cluster: Option<usize>,
    /// Number of its children.
    pub children: usize,
}

impl Member {
    /// Whether it is neither discarded nor on the way to the winner.
    pub fn is_plain(&self) -> bool {
        !self.fallen && !self.ancestor
    }
}

impl Generation<'_> {
    /// Number of candidates that continue.
    pub fn continuing(&self) -> usize {
        self.choices.iter().map(|choice| choice.kept.len()).sum()
    }

    /// Removes and returns the candidates beyond [`SHOWN`], dropped ones first.
    pub fn hide(&mut self) -> Vec<Member> {
        let mut order: Vec<usize> = (0..self.members.len()).collect();
        order.sort_by_key(|&i| (!self.members[i].ancestor, self.members[i].fallen));
        let shown: BTreeSet<usize> = order.into_iter().take(SHOWN).collect();
        let mut place = 0..;
        let hidden = |_: &mut Member| place.next().is_some_and(|i| !shown.contains(&i));
        self.members.extract_if(.., hidden).collect()
    }

    /// Description of this generation, one line each: `3 × 3 tokens`, `cluster pca`, `16 → 12`.
    pub fn words(&self, trace: &Trace) -> Vec<String> {
        let mut words = vec![];
        let rows = self.members.len();
        words.extend(
            trace
                .scales
                .get(self.scale)
                .map(|[height, width]| format!("{height} × {width} tokens")),
        );
        match self.choices.first() {
            Some(choice) => {
                words.extend(choice.select.split(", ").map(str::to_owned));
                words.push(format!("{rows} → {}", self.continuing()));
            }
            None if self.scale + 1 == trace.scales.len() => words.push(format!("{rows} finished")),
            None => {}
        }
        words
    }
}

/// Position of each candidate in the selection after its scale.
type Places<'a> = BTreeMap<(usize, usize), (&'a StageRecord, usize)>;

/// The generations, coarse to fine; `decoded` lists the candidates with images, scale by scale.
pub(super) fn generations<'a>(
    trace: &'a Trace,
    decoded: &[(usize, Vec<usize>)],
) -> Vec<Generation<'a>> {
    let line: BTreeSet<usize> = trace
        .lineage(trace.winner)
        .map(|candidate| candidate.id)
        .collect();
    let mut places = Places::new();
    for choice in &trace.stages {
        places.extend(
            choice
                .ids
                .iter()
                .enumerate()
                .map(|(row, &id)| ((choice.scale, id), (choice, row))),
        );
    }
    let mut above: BTreeMap<usize, usize> = BTreeMap::new();
    let mut found = Vec::with_capacity(decoded.len());
    for (scale, ids) in decoded {
        let mut members: Vec<Member> = ids
            .iter()
            .map(|&id| member(trace, &places, &line, *scale, id, &above))
            .collect();
        // Members of a cluster are neighbours, as far as their parents allow
        members.sort_by_key(|member| {
            let parent = member.from.map(|id| above[&id]);
            (parent, member.cluster.is_none(), member.cluster)
        });
        above = members
            .iter()
            .enumerate()
            .map(|(place, member)| (member.id, place))
            .collect();
        let choices = trace
            .stages
            .iter()
            .filter(|choice| choice.scale == *scale)
            .collect();
        found.push(Generation {
            scale: *scale,
            choices,
            members,
        });
    }
    found
}

fn member(
    trace: &Trace,
    places: &Places,
    line: &BTreeSet<usize>,
    scale: usize,
    id: usize,
    above: &BTreeMap<usize, usize>,
) -> Member {
    let place = places.get(&(scale, id));
    let children = place.map_or(0, |(choice, row)| {
        choice.kept.iter().filter(|kept| *kept == row).count()
    });
    let history = trace
        .candidates
        .get(id)
        .map_or(&[][..], |candidate| &candidate.history);
    Member {
        id,
        from: ancestor(trace, id, above),
        fallen: place.is_some() && children == 0,
        suspended: place.is_some_and(|(choice, _)| choice.resumes)
            || (children == 0 && trace.plan.stage(scale).is_some_and(Stage::suspends)),
        ancestor: line.contains(&id),
        score: history
            .iter()
            .find(|scored| scored.scale == scale)
            .map(|scored| scored.score),
        weight: place.and_then(|(choice, row)| choice.weights.get(*row).copied()),
        cluster: place.and_then(|(choice, row)| choice.clusters.get(*row).copied().flatten()),
        children,
    }
}

/// The candidate among `above` that `id` is or descends from.
pub(super) fn ancestor<T>(trace: &Trace, id: usize, above: &BTreeMap<usize, T>) -> Option<usize> {
    trace
        .lineage(id)
        .map(|candidate| candidate.id)
        .find(|id| above.contains_key(id))
}
