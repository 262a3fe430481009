//! The stages of a search: scoring, features, and the choice of the rows that continue.

use crate::{
    AnsweredScores, Answers, Error, Latent, Result,
    diverse::diverse,
    event::Event,
    features::{Features, Matrix},
    mixer::Part,
    plan::{Select, Stage},
    potential::Potential,
    resample,
    search::check_count,
    state::{SearchState, timed},
    top,
    trace::{Scored, StageRecord},
    verifier::Verifier,
    warning::Warning,
};

impl SearchState<'_> {
    /// Lets a stage choose the rows that continue.
    pub(super) fn choose(&mut self, stage: &Stage) -> Result<()> {
        let Stage {
            scale,
            width,
            select,
            verifier,
            ..
        } = *stage;
        let mut record = StageRecord::new(stage, self.batch.alive.clone());
        self.warned.clear();
        // An earlier stage may have left fewer rows than the plan has here; only `top` repeats rows.
        let most = width.min(self.batch.alive.len());
        record.kept = match select {
            Select::Cluster { features } => self.cluster(scale, most, features, &mut record)?,
            Select::Resample {
                potential,
                lambda,
                draw,
            } => {
                record.scores = self.score(scale, verifier)?;
                record.weights = self.weigh(scale, potential, lambda)?;
                resample::draw(&record.weights, most, draw, &mut self.stream(scale))
            }
            Select::Top { k } => {
                record.scores = self.score(scale, verifier)?;
                top::top(&record.scores, k, width)
            }
            Select::Above { score } => {
                record.scores = self.score(scale, verifier)?;
                top::above(&record.scores, score, most)
            }
            Select::Drop => {
                resample::without(self.batch.alive.len(), most, &mut self.stream(scale))
            }
        };
        record.warnings = std::mem::take(&mut self.warned);
        self.advance(record, stage)
    }

    /// One row from each cluster of features.
    fn cluster(
        &mut self,
        scale: usize,
        width: usize,
        kind: Features,
        record: &mut StageRecord,
    ) -> Result<Vec<usize>> {
        let features = self.extract(kind)?;
        let mut stream = self.stream(scale);
        let found = timed(&mut self.trace.cost.seconds.selection, || {
            Ok(diverse(&features, width, &mut stream))
        })?;
        self.warn_rows(&found.lost, |ids| Warning::LostFeatures { scale, ids })?;
        if found.distinct < width {
            self.warn(Warning::FewDistinct {
                scale,
                distinct: found.distinct,
                clusters: width,
            })?;
        }
        record.clusters = found.clusters;
        Ok(found.rows)
    }

    /// The features of the rows after this scale.
    fn extract(&mut self, kind: Features) -> Result<Matrix> {
        if kind == Features::Latent {
            return Ok(Matrix::from(self.latents()?));
        }
        let extractor = &self.search.extractors[&kind];
        let images = self.images.len();
        let cost = &mut self.trace.cost;
        let features = timed(&mut cost.seconds.features, || {
            extractor.extract(&self.images)
        })?;
        check_count("feature extractor", "rows", features.rows(), images)?;
        cost.extractions += images;
        cost.flops.features += extractor.flops(images);
        Ok(features)
    }

    /// The latents of all rows.
    fn latents(&mut self) -> Result<Vec<Latent>> {
        let rows: Vec<usize> = (0..self.batch.alive.len()).collect();
        let latents = self.rollout()?.latents(&rows)?;
        check_count("generator", "latents", latents.len(), rows.len())?;
        let shape = |latent: &Latent| latent.map.shape();
        match latents
            .iter()
            .all(|latent| shape(latent) == shape(&latents[0]))
        {
            true => Ok(latents),
            false => Err(Error::internal(
                "the generator returned latents of different shapes",
            )),
        }
    }

    /// Scores all rows after this scale and adds the scores to the histories.
    pub(super) fn score(&mut self, scale: usize, verifier: Verifier) -> Result<Vec<f32>> {
        let scores = match verifier {
            Verifier::Image => self.score_images(scale)?,
            Verifier::Latent => self.score_latents(scale)?,
        };
        for (&id, &score) in self.batch.alive.iter().zip(&scores) {
            let history = &mut self.trace.candidates[id].history;
            history.push(Scored { scale, score });
        }
        self.listener.on(&Event::Scored {
            scale,
            verifier,
            ids: &self.batch.alive,
            scores: &scores,
        })?;
        self.warn_scores(scale, &scores)?;
        Ok(scores)
    }

    /// Scores the images of this scale with all scorers.
    fn score_images(&mut self, scale: usize) -> Result<Vec<f32>> {
        let images = self.images.len();
        let cost = &mut self.trace.cost;
        let parts = timed(&mut cost.seconds.scorer, || {
            self.search
                .scores_with_answers(&self.prompt.text, &self.images)
        })?;
        cost.scorings += parts.len() * images;
        cost.flops.scorer += self.search.scoring_flops(images);
        let numbers: Vec<Vec<f32>> = parts.iter().map(|part| part.scores.clone()).collect();
        let scores = self.mixer.mix(scale, &numbers);
        self.record_parts(scale, parts);
        self.scores = Some(scores.clone());
        Ok(scores)
    }

    /// Records the answers of each scorer, and its scores if there are several.
    fn record_parts(&mut self, scale: usize, parts: Vec<AnsweredScores>) {
        let mixed = parts.len() > 1;
        let ids = &self.batch.alive;
        for (weighted, part) in self.search.scorers.iter().zip(parts) {
            if mixed {
                self.trace.parts.push(Part {
                    scorer: weighted.name.to_owned(),
                    scale,
                    ids: ids.clone(),
                    scores: part.scores.clone(),
                });
            }
            let answers = Answers::new(weighted.name, scale, ids, part);
            self.trace.answers.extend(answers);
        }
    }

    /// Predicts the final scores from the latents of this scale.
    fn score_latents(&mut self, scale: usize) -> Result<Vec<f32>> {
        let latents = self.latents()?;
        let verifier = self.search.latent_verifier()?;
        let prompt = &self.prompt.text;
        let cost = &mut self.trace.cost;
        let scores = timed(&mut cost.seconds.verifier, || {
            verifier.predict(prompt, scale, &latents)
        })?;
        check_count("latent verifier", "scores", scores.len(), latents.len())?;
        cost.verifications += latents.len();
        cost.flops.verifier += verifier.flops(latents.len());
        Ok(scores)
    }

    /// Warns of scores that are not finite.
    fn warn_scores(&mut self, scale: usize, scores: &[f32]) -> Result<()> {
        let mut lost = vec![];
        let mut infinite = vec![];
        for (row, &score) in scores.iter().enumerate() {
            if score == f32::INFINITY {
                infinite.push(row);
            } else if !score.is_finite() {
                lost.push(row);
            }
        }
        self.warn_rows(&lost, |ids| Warning::LostScores { scale, ids })?;
        self.warn_rows(&infinite, |ids| Warning::InfiniteScores { scale, ids })
    }

    /// The probability of each row in a draw.
    fn weigh(&mut self, scale: usize, potential: Potential, lambda: f64) -> Result<Vec<f64>> {
        let mut potentials = Vec::with_capacity(self.batch.alive.len());
        for &id in &self.batch.alive {
            let history = &self.trace.candidates[id].history;
            let scores: Vec<f32> = history.iter().map(|scored| scored.score).collect();
            potentials.push(potential.apply(&scores));
        }
        let weights = resample::weights(&potentials, lambda);
        self.warn_rows(&weights.infinite, |ids| Warning::InfiniteScores {
            scale,
            ids,
        })?;
        if weights.none {
            self.warn(Warning::AllWeightsZero { scale })?;
        }
        Ok(weights.probabilities)
    }
}
