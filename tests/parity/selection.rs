//! Parity of features, clusters and weights with the released program's choices (`selection`, and
//! the clusterings of `dinov2-tiny`).

use candle_core::Tensor;
use serde_json::Value;
use ttsvar::{
    features::{PatchReduction, Patches, reduce},
    search::{
        Matrix, Potential,
        kmeans::{Clustering, kmeans, lloyd, starts},
        resample,
        rng::Stream,
    },
};

use crate::{
    mt19937::Mt19937,
    support::{assert_values_close, json, tensors, values},
};

/// Limit for scores, centres and inertia, relative (README of the fixture).
const LIMIT: f32 = 1e-4;

fn matrix(tensor: &Tensor) -> Matrix {
    let (rows, cols) = tensor.dims2().unwrap();
    Matrix::new(rows, cols, values(tensor))
}

fn indices(value: &Value) -> Vec<usize> {
    value
        .as_array()
        .unwrap()
        .iter()
        .map(|v| v.as_u64().unwrap() as usize)
        .collect()
}

fn number(value: &Value) -> f64 {
    match value.as_str() {
        Some("nan") => f64::NAN,
        Some("inf") => f64::INFINITY,
        Some("-inf") => f64::NEG_INFINITY,
        Some(other) => panic!("`{other}` is no number"),
        None => value.as_f64().unwrap(),
    }
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn largest(row: &[f32]) -> f32 {
    row.iter().fold(0f32, |best, value| best.max(value.abs()))
}

/// Rows against recorded rows, relative to the largest magnitude of the row.
#[track_caller]
fn assert_rows_close(what: &str, found: &Matrix, expected: &Matrix) {
    assert_eq!(
        (found.rows(), found.cols()),
        (expected.rows(), expected.cols()),
        "{what}: shape"
    );
    let scaled = |m: &Matrix| -> Vec<f32> {
        let row = |i| {
            m.row(i)
                .iter()
                .map(move |value| value / largest(expected.row(i)))
        };
        (0..m.rows()).flat_map(row).collect()
    };
    assert_values_close(what, &scaled(found), &scaled(expected), LIMIT, 0.0);
}

/// `found` with the sign of each row, or of all rows together, that brings it to `expected`.
fn with_signs_of(found: &Matrix, expected: &Matrix, per_row: bool) -> Matrix {
    let dot = |i| {
        found
            .row(i)
            .iter()
            .zip(expected.row(i))
            .map(|(a, b)| a * b)
            .sum::<f32>()
    };
    let all: f32 = (0..found.rows()).map(dot).sum();
    let sign = |i| if per_row { dot(i) } else { all }.signum();
    let rows =
        (0..found.rows()).flat_map(|i| found.row(i).iter().map(move |value| value * sign(i)));
    Matrix::new(found.rows(), found.cols(), rows.collect())
}

/// Lloyd from the recorded start against the recorded result.
#[track_caller]
fn assert_clusters(
    what: &str,
    x: &Matrix,
    record: &Value,
    acceptable: &Value,
    centers: Option<&Matrix>,
) {
    let found = lloyd(x, &indices(&record["init_indices"]));
    assert_eq!(found.labels, indices(&record["labels"]), "{what}: labels");
    let inertia = record["inertia"].as_f64().unwrap();
    assert_values_close(
        &format!("{what} inertia"),
        &[found.inertia as f32],
        &[inertia as f32],
        0.0,
        LIMIT,
    );
    assert_picks(what, &found, x, acceptable);
    if let Some(centers) = centers {
        let rows = found
            .centers
            .iter()
            .flatten()
            .map(|&value| value as f32)
            .collect();
        assert_rows_close(
            &format!("{what} centres"),
            &Matrix::new(found.centers.len(), x.cols(), rows),
            centers,
        );
    }
}

#[track_caller]
fn assert_picks(what: &str, found: &Clustering, x: &Matrix, acceptable: &Value) {
    let acceptable = acceptable.as_array().unwrap();
    let picks = found.nearest(x);
    assert_eq!(picks.len(), acceptable.len(), "{what}: number of clusters");
    for (cluster, (pick, acceptable)) in picks.iter().zip(acceptable).enumerate() {
        let pick = pick.unwrap_or_else(|| panic!("{what}: cluster {cluster} is empty"));
        assert!(
            indices(acceptable).contains(&pick),
            "{what}: cluster {cluster} picks {pick}, not one of {acceptable}"
        );
    }
}

/// Our own starts must do at least as well as the recorded one.
#[track_caller]
fn assert_own_starts(what: &str, x: &Matrix, k: usize, recorded: f64) {
    let ours = kmeans(x, k, &mut Stream::select(0, 0, 0)).inertia;
    println!("{what}: inertia {ours:.6}, recorded {recorded:.6}");
    assert!(
        ours <= recorded * (1.0 + f64::from(LIMIT)),
        "{what}: inertia {ours}, recorded {recorded}"
    );
}

fn kinds() -> [(PatchReduction, &'static str); 3] {
    [
        (PatchReduction::PcaRaw, "pca"),
        (PatchReduction::PcaAll, "pca_all"),
        (PatchReduction::Pool, "pool"),
    ]
}

#[test]
fn parity_selection_features_and_their_clusters() {
    let tensors = tensors("selection", "scores.safetensors");
    for record in json("selection", "scores.json").as_array().unwrap() {
        let case = record["case"].as_str().unwrap();
        let features = &tensors[&format!("{case}.features")];
        let (images, patches, dim) = features.dims3().unwrap();
        let patches = Patches::new(images, patches, dim, values(features));
        for (kind, name) in kinds() {
            let what = format!("{case} {name}");
            let expected = matrix(&tensors[&format!("{case}.{name}.scores")]);
            let found = match kind {
                PatchReduction::Pool => reduce(kind, &patches),
                _ => with_signs_of(
                    &reduce(kind, &patches),
                    &expected,
                    kind == PatchReduction::PcaRaw,
                ),
            };
            assert_rows_close(&what, &found, &expected);
            let centers = matrix(&tensors[&format!("{case}.{name}.centers")]);
            let record = &record[name];
            for x in [&expected, &found] {
                assert_clusters(
                    &what,
                    x,
                    record,
                    &record["acceptable_ids_per_cluster"],
                    Some(&centers),
                );
            }
        }
    }
}

#[test]
fn parity_selection_canonical_sign() {
    let tensors = tensors("selection", "scores.safetensors");
    for record in json("selection", "scores.json").as_array().unwrap() {
        let (case, k) = (
            record["case"].as_str().unwrap(),
            record["k"].as_u64().unwrap() as usize,
        );
        let features = &tensors[&format!("{case}.features")];
        let (images, patches, dim) = features.dims3().unwrap();
        let found = reduce(
            PatchReduction::Pca,
            &Patches::new(images, patches, dim, values(features)),
        );
        let expected = matrix(&tensors[&format!("{case}.pca.scores_sign_canonical")]);
        assert_rows_close(&format!("{case} canonical sign"), &found, &expected);

        let record = &record["pca_sign_canonical"];
        let start = numpy_starts(&found, k);
        let clusters = lloyd(&found, &start);
        assert_eq!(
            clusters.labels,
            indices(&record["labels"]),
            "{case}: labels"
        );
        let inertia = record["inertia"].as_f64().unwrap();
        assert_values_close(
            "inertia",
            &[clusters.inertia as f32],
            &[inertia as f32],
            0.0,
            LIMIT,
        );
        assert_own_starts(case, &found, k, inertia);
    }
}

/// The starts that scikit-learn draws with `random_state=0`.
fn numpy_starts(x: &Matrix, k: usize) -> Vec<usize> {
    let mut generator = Mt19937::new(0);
    starts(x, k, &mut || generator.double())
}

#[test]
fn parity_selection_kmeans() {
    let tensors = tensors("selection", "kmeans.safetensors");
    let record = json("selection", "kmeans.json");
    let mut generator = Mt19937::new(0);
    let doubles = numbers(&record["mt19937_seed0_first_doubles"]);
    for (i, expected) in doubles.into_iter().enumerate() {
        assert!(
            (generator.double() - expected).abs() < 1e-15,
            "number {i} of the generator"
        );
    }
    for record in record["cases"].as_array().unwrap() {
        let (case, k) = (
            record["case"].as_str().unwrap(),
            record["k"].as_u64().unwrap() as usize,
        );
        let x = matrix(&tensors[&format!("{case}.x")]);
        let centers = matrix(&tensors[&format!("{case}.centers")]);
        assert_clusters(
            case,
            &x,
            record,
            &record["acceptable_ids_per_cluster"],
            Some(&centers),
        );
        if record["init_reproduced_by_float64_port"].as_bool().unwrap() {
            assert_eq!(
                numpy_starts(&x, k),
                indices(&record["init_indices"]),
                "{case}: greedy k-means++"
            );
        }
        assert_own_starts(case, &x, k, record["inertia"].as_f64().unwrap());
    }
}

#[test]
fn parity_dinov2_tiny_extract() {
    let tensors = tensors("dinov2-tiny", "golden_extract.safetensors");
    let record = json("dinov2-tiny", "golden.json");
    for (name, record) in record["results"].as_object().unwrap() {
        let (kind, _) = name.split_once(".k").unwrap();
        let x = matrix(&tensors[&format!("{kind}.scores")]);
        let centers = matrix(&tensors[&format!("{name}.centers")]);
        assert_clusters(
            name,
            &x,
            record,
            &record["acceptable_selected"],
            Some(&centers),
        );
        assert_own_starts(
            name,
            &x,
            centers.rows(),
            record["inertia"].as_f64().unwrap(),
        );
    }
}

/// A history as the reference keeps it: one column for each earlier scale, then the score now.
fn histories(record: &Value) -> Vec<Vec<f32>> {
    let past = record["cur_idx"].as_u64().unwrap() as usize;
    let scores = numbers(&record["score"]);
    let rows = record["scores_record"]
        .as_array()
        .unwrap()
        .iter()
        .zip(scores);
    rows.map(|(row, now)| {
        numbers(row)[..past]
            .iter()
            .chain([&now])
            .map(|&score| score as f32)
            .collect()
    })
    .collect()
}

#[test]
fn parity_selection_rates() {
    let mut seen = vec![];
    for record in json("selection", "rates.json")["cases"].as_array().unwrap() {
        let (name, kind) = (
            record["name"].as_str().unwrap(),
            record["cal_type"].as_str().unwrap(),
        );
        let Ok(potential) = kind.parse::<Potential>() else {
            println!("{name}: potential {kind} is not offered");
            continue;
        };
        seen.push(potential);
        let lambda = number(&record["lambda"]);
        let potentials: Vec<f64> = histories(record)
            .iter()
            .map(|history| potential.apply(history))
            .collect();
        let found = resample::weights(&potentials, lambda).probabilities;
        let rates = numbers(&record["rate"]);
        let sane = rates.iter().all(|rate| rate.is_finite()) && rates.iter().sum::<f64>() > 0.0;
        if sane {
            let expected: Vec<f32> = numbers(&record["probabilities"])
                .iter()
                .map(|&p| p as f32)
                .collect();
            let found: Vec<f32> = found.iter().map(|&p| p as f32).collect();
            let limit = if potential == Potential::Sum {
                1e-3
            } else {
                LIMIT
            };
            assert_values_close(name, &found, &expected, f32::MIN_POSITIVE, limit);
        } else {
            println!(
                "{name}: the reference loses the weights ({rates:?}), here they are {found:?}"
            );
            assert_ours(name, &potentials, lambda, &found);
        }
    }
    for potential in [
        Potential::Value,
        Potential::Diff,
        Potential::Max,
        Potential::Sum,
    ] {
        assert!(seen.contains(&potential), "no case of {potential}");
    }
}

/// Where the reference overflows, underflows or meets NaN: exact weights of the finite potentials,
/// none for NaN and minus infinity, all for infinity, even ones where nothing else is left.
fn assert_ours(name: &str, potentials: &[f64], lambda: f64, found: &[f64]) {
    let top = potentials.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let weight = |p: f64| match p {
        _ if top == f64::NEG_INFINITY => 1.0,
        _ if top == f64::INFINITY => f64::from(u8::from(p == top)),
        _ if p.is_nan() => 0.0,
        _ => (lambda * (p - top)).exp(),
    };
    let total: f64 = potentials.iter().map(|&p| weight(p)).sum();
    for (&p, &found) in potentials.iter().zip(found) {
        assert!(
            (found - weight(p) / total).abs() <= 1e-12,
            "{name}: potential {p} weighs {found}"
        );
    }
}
