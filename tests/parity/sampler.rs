//! Infinity's sampler against recordings of the original program.

use ttsvar::pipelines::truncate;

use crate::support::{assert_values_close, json, tensors, values};

fn sampler(name: &'static str) {
    let (config, golden) = (
        json(name, "config.json"),
        tensors(name, "sampler.safetensors"),
    );
    for case in config["sampler_cases"].as_array().unwrap() {
        let label = case["name"].as_str().unwrap();
        let logits = &golden[&format!("logits_{}", label.split('_').next().unwrap())];
        let (top_k, top_p) = (
            case["top_k"].as_u64().unwrap() as usize,
            case["top_p"].as_f64().unwrap() as f32,
        );
        let size = *logits.dims().last().unwrap();
        let (logits, expected) = (values(logits), values(&golden[&format!("probs_{label}")]));
        let (mut found, mut wanted) = (Vec::new(), Vec::new());
        for (row, expected) in logits.chunks(size).zip(expected.chunks(size)) {
            if !on_the_boundary(row, top_k, top_p) {
                found.extend(truncate(row, top_k, top_p));
                wanted.extend(expected);
            }
        }
        assert!(
            found.len() * 2 > logits.len(),
            "{label}: too few rows are off the boundary"
        );
        assert_values_close(label, &found, &wanted, 1e-6, 1e-5);
    }
}

/// Whether a sum of likelihoods lies within rounding of the limit, where either outcome is right.
fn on_the_boundary(row: &[f32], top_k: usize, top_p: f32) -> bool {
    let mut p = truncate(row, top_k, 0.0);
    p.sort_by(f32::total_cmp);
    let mut sum = 0.0;
    top_p > 0.0
        && p.iter().any(|p| {
            sum += p;
            *p > 0.0 && (sum - (1.0 - top_p)).abs() < 1e-6
        })
}

#[test]
fn parity_infinity_tiny_sampler() {
    sampler("infinity-tiny");
}

#[test]
fn parity_infinity_8b_like_tiny_sampler() {
    sampler("infinity-8b-like-tiny");
}
