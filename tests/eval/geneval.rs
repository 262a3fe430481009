//! GenEval as a suite: images are evaluated by the rules, in batches of bounded size.

use std::sync::{Arc, Mutex};

use ttsvar::{
    Result,
    detectors::{ColourNamer, Detector, Object},
    eval::{
        Suite,
        external::{self, ExternalImage},
        geneval::{GenEval, Metadata, names::object},
    },
    search::Image,
};

/// Detects one object per image: a dog in dark ones, a cat in light ones; records batch sizes.
#[derive(Clone, Default)]
struct Stub(Arc<Mutex<Vec<usize>>>);

impl Detector for Stub {
    fn detect(&self, images: &[Image]) -> Result<Vec<Vec<Object>>> {
        self.0.lock().unwrap().push(images.len());
        let seen = |image: &Image| {
            let class = object(if image.pixels()[0] < 128 {
                "dog"
            } else {
                "cat"
            })
            .unwrap();
            vec![Object {
                class,
                score: 0.9,
                bounds: [0.0, 0.0, 4.0, 4.0],
                mask: None,
            }]
        };
        Ok(images.iter().map(seen).collect())
    }
}

/// Everything is red that has red in it.
impl ColourNamer for Stub {
    fn colours(&self, class: &str, crops: &[Image]) -> Result<Vec<usize>> {
        assert_eq!(class, "dog");
        Ok(crops
            .iter()
            .map(|crop| usize::from(crop.pixels()[0] == 0))
            .collect())
    }
}

fn suite(stub: &Stub) -> GenEval {
    let prompts = [
        r#"{"tag": "single_object", "include": [{"class": "dog", "count": 1}], "prompt": "a photo of a dog"}"#,
        r#"{"tag": "colors", "include": [{"class": "dog", "count": 1, "color": "red"}], "prompt": "a photo of a red dog"}"#,
    ];
    let prompts = prompts.map(|line| Metadata::read(line).unwrap()).to_vec();
    GenEval::new(prompts, Box::new(stub.clone()), Box::new(stub.clone()))
}

fn grey(value: u8) -> Image {
    Image::new(4, 4, vec![value; 48])
}

#[test]
fn an_image_is_evaluated_by_detector_and_namer() {
    let suite = suite(&Stub::default());
    let reasons = |case: usize| {
        let verdicts = suite.evaluate(case, &[0, 100, 200].map(grey)).unwrap();
        verdicts
            .into_iter()
            .map(|verdict| (verdict.score, verdict.reason))
            .collect::<Vec<_>>()
    };
    let no_dog = (0.0, "expected dog>=1, found 0".to_owned());
    assert_eq!(
        reasons(0),
        [(1.0, String::new()), (1.0, String::new()), no_dog.clone()]
    );
    let orange = (
        0.0,
        "expected red dog>=1, found 0 red; and 1 orange".to_owned(),
    );
    assert_eq!(reasons(1), [orange, (1.0, String::new()), no_dog]);
    let details = suite
        .evaluate(0, &[grey(0)])
        .unwrap()
        .remove(0)
        .details
        .unwrap();
    assert_eq!(
        details,
        serde_json::json!({"dog": [[0.0, 0.0, 4.0, 4.0, f64::from(0.9f32)]]})
    );
}

#[test]
fn a_hundred_images_are_evaluated_in_batches() {
    let folder = tempfile::tempdir().unwrap();
    let stub = Stub::default();
    let suite = suite(&stub);
    let shown: Vec<ExternalImage> = (0..100)
        .map(|i| ExternalImage {
            case: i % 2,
            sample: i / 2,
            path: folder.path().join(format!("{i}.png")),
        })
        .collect();
    for (i, one) in shown.iter().enumerate() {
        if i == 13 {
            std::fs::write(&one.path, "no picture").unwrap();
        } else {
            ttsvar::image::save(&grey(i as u8 + 50), &one.path).unwrap();
        }
    }
    let contender = external::contender("made").unwrap();
    let (mut records, mut lost) = (vec![], vec![]);
    let keep = |record| {
        records.push(record);
        Ok(())
    };
    external::evaluate(&suite, &contender, &shown, &[], keep, |path, _| {
        lost.push(path.to_owned())
    })
    .unwrap();
    assert_eq!((records.len(), lost), (99, vec![shown[13].path.clone()]));
    let batches = std::mem::take(&mut *stub.0.lock().unwrap());
    assert_eq!(
        (batches.iter().sum::<usize>(), batches.iter().max()),
        (99, Some(&8))
    );
    for record in &records {
        let dog = record.case + 2 * record.sample + 50 < 128;
        assert_eq!(record.correct, f64::from(u8::from(dog)), "{record:?}");
    }
    // Known images are not evaluated again.
    let open = |_| -> Result<()> { panic!("nothing is open") };
    external::evaluate(&suite, &contender, &shown[..13], &records, open, |_, _| ()).unwrap();
    assert!(stub.0.lock().unwrap().is_empty());
}
