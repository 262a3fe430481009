//! Evaluations: shared pools change nothing, workers change nothing, a run that was interrupted
//! anywhere resumes to the same results.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use ttsvar::{
    Result,
    eval::{
        Case, Contender, Evaluation, Log, ResultRecord, SampleTask, Setup, Suite, Summary, Verdict,
        log::SCHEMA,
        pending_samples,
        pool::{Pool, sharing},
    },
    search::{
        Drafts, Image, Method, Outcome, Plan, Prompt, Schedule, Search, Seconds, Silent, Trace,
        Verifier, run,
    },
};

use crate::support::toy::{Judge, MeanOfLatent, Toy, brightness, extractors, greys};

const SCALES: usize = 7;

/// Images are right if they are light enough; the limit depends on the prompt.
struct Light(Vec<Case>);

impl Light {
    fn new(cases: usize) -> Self {
        let task = |i: usize| if i.is_multiple_of(2) { "even" } else { "odd" };
        Self(
            (0..cases)
                .map(|i| Case {
                    task: task(i),
                    prompt: format!("light {i}"),
                })
                .collect(),
        )
    }
}

impl Suite for Light {
    fn name(&self) -> &str {
        "light"
    }

    fn tasks(&self) -> &[&'static str] {
        &["even", "odd"]
    }

    fn cases(&self) -> &[Case] {
        &self.0
    }

    fn evaluate(&self, case: usize, images: &[Image]) -> Result<Vec<Verdict>> {
        let enough = 90.0 + 12.0 * case as f32;
        let mean =
            |image: &Image| greys(image).into_iter().map(f32::from).sum::<f32>() / SCALES as f32;
        let verdict = |image| Verdict {
            score: f64::from(u8::from(mean(image) > enough)),
            reason: "mean".to_owned(),
            details: None,
        };
        Ok(images.iter().map(verdict).collect())
    }
}

fn contenders() -> Vec<Contender> {
    let methods = [
        Method::Raw,
        Method::Importance,
        Method::BestOfN,
        Method::TtsVar,
    ];
    Contender::grid(&methods, &[1, 2, 5], SCALES, Drafts::default()).unwrap()
}

fn setup(contenders: &[Contender]) -> Setup {
    Setup {
        schema: SCHEMA.to_owned(),
        version: "0".to_owned(),
        suite: serde_json::Map::new(),
        samples: 3,
        seed: 5,
        settings: serde_json::Map::new(),
        contenders: contenders.to_vec(),
        pictures: BTreeMap::new(),
        held_out: vec![],
    }
}

/// Runs the part of an evaluation that a log lacks; stops after `stop_after` images.
fn evaluate(log: &mut Log, contenders: &[Contender], workers: usize, stop_after: usize) -> Summary {
    let (suite, pipeline, judge, extractors) = (
        Light::new(8),
        Toy::new(SCALES),
        Judge(brightness),
        extractors(),
    );
    let search = Search::new(&pipeline, &judge, &extractors);
    let evaluation = Evaluation {
        negative: None,
        suite: &suite,
        search: &search,
        variants: &[],
        held_out: &[],
        contenders,
        samples: 3,
        seed: 5,
        workers,
    };
    let known = log.records().to_vec();
    let mut left = stop_after;
    let done = evaluation.run(&known, |image| {
        left = left.checked_sub(1).ok_or_else(ttsvar::Error::interrupted)?;
        log.add(image.record, &suite)
    });
    assert!(done.is_ok() || left == 0);
    Summary::new(&suite, 3, contenders, log.records())
}

/// A summary without the seconds, which differ from run to run.
fn timeless(mut summary: Summary) -> Summary {
    summary
        .methods
        .iter_mut()
        .for_each(|row| row.cost.seconds = 0.0);
    summary
}

fn fresh(folder: &Path, workers: usize) -> Summary {
    let all = contenders();
    evaluate(
        &mut Log::open(folder, &setup(&all), &Light::new(8), false).unwrap(),
        &all,
        workers,
        usize::MAX,
    )
}

#[test]
fn a_pool_finds_what_the_search_itself_finds() {
    let pipeline = Toy::new(SCALES);
    let scorer = Judge(brightness);
    let extractors = extractors();
    let search = Search {
        verifier: Some(&MeanOfLatent),
        ..Search::new(&pipeline, &scorer, &extractors)
    };
    let prompt = Prompt::from("light");
    let latent = Drafts {
        verifier: Verifier::Latent,
        scale: Some(1),
        above: Some(0.5),
        finish: None,
    };
    let mut plans = vec![];
    for n in [1, 2, 9] {
        plans.extend([
            Plan::best_of_n(SCALES, n).unwrap(),
            Plan::importance(SCALES, n).unwrap(),
            Plan::draft(SCALES, n, Drafts::default()).unwrap(),
            Plan::draft(SCALES, n, latent).unwrap(),
        ]);
        for enough in [0.5, 0.7, 2.0] {
            let plan = Plan::sequential(SCALES, n).unwrap();
            plans.push(plan.until(n, enough).unwrap());
            for drafts in [Drafts::default(), latent] {
                let plan = Plan::auto(SCALES, n, drafts).unwrap();
                plans.push(plan.until(n, enough).unwrap());
            }
        }
    }
    let plans: Vec<&Plan> = plans.iter().collect();
    assert_eq!(sharing(&search, &plans), plans);
    for seed in 0..20 {
        let pool = Pool::new(&search, &prompt, &plans, seed).unwrap();
        for plan in &plans {
            let shared = pool.run(plan).unwrap();
            let own = run(&search, &prompt, plan, seed, &mut Silent).unwrap();
            assert_eq!(timeless_trace(&shared), timeless_trace(&own));
            assert_eq!(shared.winner().image, own.winner().image);
        }
    }
}

/// A trace without the measured times.
fn timeless_trace(outcome: &Outcome) -> Trace {
    let mut trace = outcome.trace.clone();
    trace.cost.seconds = Seconds::default();
    trace
}

#[test]
fn plans_that_copy_candidates_share_nothing() {
    let pipeline = Toy::new(SCALES);
    let scorer = Judge(brightness);
    let extractors = extractors();
    let search = Search::new(&pipeline, &scorer, &extractors);
    let raw = Plan::raw(SCALES).unwrap();
    let beam = Plan::beam(SCALES, 4).unwrap();
    let tts_var = Plan::tts_var(SCALES, 1, Schedule::Released).unwrap();
    assert_eq!(sharing(&search, &[&beam, &raw, &tts_var]), [&raw]);
}

#[test]
fn the_number_of_workers_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let [one, four] =
        [1, 4].map(|workers| timeless(fresh(&folder.path().join(workers.to_string()), workers)));
    assert_eq!(one, four);
    assert!(
        one.methods
            .iter()
            .all(|row| row.images == 24 && row.missing == 0)
    );
}

#[test]
fn an_interrupted_evaluation_resumes_to_the_same_results() {
    let folder = tempfile::tempdir().unwrap();
    let whole = timeless(fresh(&folder.path().join("whole"), 2));
    let all = contenders();
    for (i, stop) in [0, 1, 7, 100].into_iter().enumerate() {
        let part = folder.path().join(i.to_string());
        evaluate(
            &mut Log::open(&part, &setup(&all), &Light::new(8), false).unwrap(),
            &all,
            2,
            stop,
        );
        let lines = part.join("records.jsonl");
        let mut bytes = fs::read(&lines).unwrap();
        bytes.truncate(bytes.len().saturating_sub(40)); // as if the last line had been half written
        fs::write(&lines, bytes).unwrap();
        let mut log = Log::open(&part, &setup(&all), &Light::new(8), true).unwrap();
        assert_eq!(log.records().len(), stop.saturating_sub(1));
        assert_eq!(
            timeless(evaluate(&mut log, &all, 2, usize::MAX)),
            whole,
            "stopped after {stop}"
        );
        let kept: Vec<ResultRecord> = fs::read_to_string(&lines)
            .unwrap()
            .lines()
            .map(|l| serde_json::from_str(l).unwrap())
            .collect();
        assert_eq!(kept.len(), 24 * all.len());
    }
}

#[test]
fn methods_may_be_added_but_nothing_else_may_change() {
    let folder = tempfile::tempdir().unwrap();
    let all = contenders();
    Log::open(folder.path(), &setup(&all[..2]), &Light::new(8), false).unwrap();
    assert!(
        Log::open(folder.path(), &setup(&all), &Light::new(8), false)
            .unwrap_err()
            .hint()
            .unwrap()
            .contains("--resume")
    );
    Log::open(folder.path(), &setup(&all), &Light::new(8), true).unwrap();
    let refused = |change: &dyn Fn(&mut Setup)| {
        let mut other = setup(&all);
        change(&mut other);
        Log::open(folder.path(), &other, &Light::new(8), true)
            .unwrap_err()
            .to_string()
    };
    assert!(refused(&|other| other.seed = 6).contains("a different seed"));
    assert!(refused(&|other| other.samples = 6).contains("a different number of samples"));
    assert!(
        refused(&|other| other.contenders[1].plan = Plan::raw(SCALES).unwrap())
            .contains("a different plan")
    );
    // Contenders that are left out for a while are not forgotten: their records stay.
    Log::open(folder.path(), &setup(&all[..1]), &Light::new(8), true).unwrap();
    assert!(
        refused(&|other| other.contenders[1].plan = Plan::raw(SCALES).unwrap())
            .contains("a different plan")
    );
    let at = |path: &str| BTreeMap::from([("made".to_owned(), PathBuf::from(path))]);
    Log::open(
        folder.path(),
        &Setup {
            pictures: at("/a/made"),
            ..setup(&all)
        },
        &Light::new(8),
        true,
    )
    .unwrap();
    assert!(refused(&|other| other.pictures = at("/b/made")).contains("a different image folder"));
}

#[test]
fn searching_more_helps_where_the_scorer_knows_the_truth() {
    let folder = tempfile::tempdir().unwrap();
    let summary = fresh(folder.path(), 2);
    let of = |method: &str, n: usize| {
        summary
            .methods
            .iter()
            .find(|row| row.method == method && row.n == n)
            .unwrap()
    };
    assert!(of("best-of-n", 5).overall > of("raw", 1).overall);
    assert_eq!(of("best-of-n", 1).overall, of("raw", 1).overall);
    let row = of("tts-var", 2);
    assert!(row.interval.0 <= row.overall && row.overall <= row.interval.1);
    let gain = row.gain.as_ref().unwrap();
    assert!(
        (gain.mean - (row.overall - of("raw", 1).overall)).abs() < 1e-12
            && gain.over == "raw, N = 1"
    );
    assert_eq!(of("best-of-n", 5).at_equal_cost, None);
}

/// The records of a sample, generated and evaluated on its own.
fn records_of(task: &SampleTask, contenders: &[Contender]) -> Result<Vec<ResultRecord>> {
    let (suite, pipeline, judge, extractors) = (
        Light::new(8),
        Toy::new(SCALES),
        Judge(brightness),
        extractors(),
    );
    let search = Search::new(&pipeline, &judge, &extractors);
    let evaluation = Evaluation {
        negative: None,
        suite: &suite,
        search: &search,
        variants: &[],
        held_out: &[],
        contenders,
        samples: 3,
        seed: 5,
        workers: 1,
    };
    evaluation
        .run_sample(task)?
        .map(|image| Ok(image?.record))
        .collect()
}

#[test]
fn samples_in_any_order_are_the_evaluation() {
    let folder = tempfile::tempdir().unwrap();
    let (all, suite) = (contenders(), Light::new(8));
    let whole = timeless(fresh(folder.path(), 2));
    let open = pending_samples(8, 3, &all, &[]);
    assert_eq!(open.len(), 24);
    assert_eq!(
        open[8],
        SampleTask {
            case: 0,
            sample: 1,
            contenders: (0..all.len()).collect()
        }
    );
    let records: Vec<ResultRecord> = open
        .iter()
        .rev()
        .flat_map(|task| records_of(task, &all).unwrap())
        .collect();
    assert_eq!(timeless(Summary::new(&suite, 3, &all, &records)), whole);
    let left = pending_samples(8, 3, &all, &records[1..]);
    assert_eq!(
        left,
        [SampleTask {
            case: 7,
            sample: 2,
            contenders: vec![0]
        }]
    );
    let [case, contender] = [
        SampleTask {
            case: 8,
            ..left[0].clone()
        },
        SampleTask {
            contenders: vec![99],
            ..left[0].clone()
        },
    ];
    assert!(records_of(&case, &all).is_err() && records_of(&contender, &all).is_err());
}

/// Opens a folder whose records were changed by hand; returns the error, or how many records and
/// notes there are.
fn reopened(lines: &[String]) -> Result<(usize, Vec<String>)> {
    let folder = tempfile::tempdir().unwrap();
    let all = contenders();
    drop(Log::open(folder.path(), &setup(&all), &Light::new(8), false).unwrap());
    fs::write(folder.path().join("records.jsonl"), lines.concat()).unwrap();
    let log = Log::open(folder.path(), &setup(&all), &Light::new(8), true)?;
    Ok((log.records().len(), log.notes().to_vec()))
}

#[test]
fn every_line_of_the_records_is_checked() {
    let task = &pending_samples(8, 3, &contenders(), &[])[9];
    let records = records_of(task, &contenders()).unwrap();
    let line = |record: &ResultRecord| serde_json::to_string(record).unwrap() + "\n";
    let good: Vec<String> = records.iter().map(line).collect();
    assert_eq!(reopened(&good).unwrap(), (records.len(), vec![]));

    let refused = |what: &str, change: &dyn Fn(&mut ResultRecord)| {
        let mut wrong = records[1].clone();
        change(&mut wrong);
        let lines = [good[0].clone(), line(&wrong)];
        let error = reopened(&lines).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("line 2: ") && text.contains(what), "{text}");
        assert_eq!(
            error.hint().as_deref(),
            Some("remove that line, then resume")
        );
    };
    refused("`case` is 999999", &|record| record.case = 999_999);
    refused("is the prompt `light 1`", &|record| {
        record.prompt = "dark".to_owned()
    });
    refused("of the task", &|record| record.task = "even".to_owned());
    refused("`case`", &|record| record.case = 8);
    refused("is the prompt `light 2`", &|record| record.case = 2);
    refused("`sample` is 3", &|record| record.sample = 3);
    refused("`seed` is 1", &|record| record.seed = 1);
    refused("`best`, N = 1", &|record| record.method = "best".to_owned());
    refused("N = 77", &|record| record.n = 77);
    for correct in [5.0, -0.1, -1e308, 1.0000001] {
        refused("`correct` is", &|record| record.correct = correct);
    }
    refused("cost `flops` is -1", &|record| record.cost.flops = -1.0);
    for text in ["{}", "[]", "nothing", "{\"case\": 1}", "\u{0}"] {
        let error = reopened(&[good[0].clone(), format!("{text}\n")]).unwrap_err();
        assert!(error.to_string().contains("line 2"), "{error}");
    }
    let huge = good[1].replacen("\"correct\":", "\"correct\":1e999,\"x\":", 1);
    assert!(reopened(&[huge]).is_err(), "beyond all numbers");
}

#[test]
fn repeated_lines_count_once_and_contradictory_ones_are_refused() {
    let task = &pending_samples(8, 3, &contenders(), &[])[9];
    let records = records_of(task, &contenders()).unwrap();
    let line = |record: &ResultRecord| serde_json::to_string(record).unwrap() + "\n";
    let mut lines: Vec<String> = records.iter().map(line).collect();
    let mut again = records[2].clone();
    again.cost.seconds += 1.0; // another process took longer
    lines.push(line(&again));
    lines.push(lines[0].clone());
    let (count, notes) = reopened(&lines).unwrap();
    assert_eq!(count, records.len());
    let first = records.len() + 1;
    assert!(
        notes.len() == 1
            && notes[0].ends_with(&format!(
                "2 lines repeat an earlier one and count once; the first is line {first}"
            )),
        "{notes:?}"
    );
    again.correct = 1.0 - again.correct;
    lines.insert(records.len(), line(&again));
    let error = reopened(&lines).unwrap_err().to_string();
    assert!(
        error.contains(&format!("line {first}: another result than line 3")),
        "{error}"
    );
}

#[test]
fn a_folder_is_locked_while_an_evaluation_runs() {
    let folder = tempfile::tempdir().unwrap();
    let all = contenders();
    let open = |resume| Log::open(folder.path(), &setup(&all), &Light::new(8), resume);
    let log = open(false).unwrap();
    for resume in [false, true] {
        let error = open(resume).unwrap_err();
        let expected = format!(
            "process {} is evaluating in this folder",
            std::process::id()
        );
        assert!(error.to_string().contains(&expected), "{error}");
        assert!(error.hint().is_some());
    }
    drop(log);
    // Nothing was evaluated: the same evaluation may start again.
    drop(open(false).unwrap());
}

#[test]
fn results_that_are_no_scores_are_not_recorded() {
    let folder = tempfile::tempdir().unwrap();
    let all = contenders();
    let suite = Light::new(8);
    let mut log = Log::open(folder.path(), &setup(&all), &suite, false).unwrap();
    let task = &pending_samples(8, 3, &all, &[])[0];
    let record = records_of(task, &all).unwrap().remove(0);
    for correct in [f64::NAN, f64::INFINITY, 2.0] {
        let wrong = ResultRecord {
            correct,
            ..record.clone()
        };
        let error = log.add(wrong, &suite).unwrap_err().to_string();
        assert!(error.contains("`correct` is"), "{error}");
    }
    log.add(record, &suite).unwrap();
    assert_eq!(
        fs::read_to_string(folder.path().join("records.jsonl"))
            .unwrap()
            .lines()
            .count(),
        1
    );
}
