//! What is printed without painting anything: help, plans, models.

use insta::{assert_snapshot, with_settings};
use serde_json::Value;
use ttsvar::search::Plan;

use crate::desk::Desk;

/// What a run that works prints.
fn shown(arguments: &[&str]) -> String {
    let out = Desk::new().works(arguments);
    out.trim_end().to_owned()
}

/// Costs depend on the weights.
const COSTS: [(&str, &str); 1] = [(r"\d+(\.\d+)? [kMGTP]?(FLOP|B)\b", "[cost]")];

#[test]
fn the_program_says_what_it_can_do() {
    assert_snapshot!(shown(&["--help"]), @r#"
    Test-time scaling of visual autoregressive image generation: search over the paths of a
    coarse-to-fine model and keep the best image

    Usage: ttsvar [OPTIONS] <COMMAND>

    Commands:
      generate     Search for the best image for a prompt and write it as a PNG
      score        Score images against a prompt, whether generated here or elsewhere
      models       List the known models, their files and where to get them
      plan         Show what a search would do and cost, scale by scale, without doing it
      bench        Measure how long a search takes and where the time goes, on a model of any size
      inspect      Show how an image was made, given the image or a trace
      convert      Convert a model's weights to 8 bits, for smaller files that load faster
      doctor       Check this machine and test whether the program works on it
      serve        Serve over HTTP: an OpenAI-compatible image API, jobs with event streams, and a web
                   page
      eval         Compare search methods on sets of prompts with evaluators
      collect      Write training pairs for a latent verifier: latents of unfinished samples and the
                   scores of their finished images
      completions  Print a shell completion script
      man          Print the manual page
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Global options:
      -q, --quiet              Print results and errors only
          --json               Print results as JSON, one object per line
          --threads <COUNT>    Number of threads; results do not depend on it [default: one per core]
          --dtype <TYPE>       Data type of weight matrices: f32, bf16 (half the memory) or q8 (just
                               over a quarter) [default: f32]
          --text-dtype <TYPE>  Data type of the text encoder's weight matrices [default: same as
                               --dtype]
          --device <DEVICE>    Device to run on: cpu or cuda [default: cpu]

    Try it: ttsvar generate "a red circle and a blue star" --tree tree.png
    "#);
}

#[test]
fn generate_explains_every_flag() {
    assert_snapshot!(shown(&["generate", "--help"]), @r#"
    Search for the best image for a prompt and write it as a PNG

    Usage: ttsvar generate [OPTIONS] [PROMPT]

    Arguments:
      [PROMPT]  Description of the image; `-` reads one prompt per line from standard input

    Options:
      -p, --prompt <PROMPT>  The prompt, given as an option
          --prompts <FILE>   Read one prompt per line from this file or pipe; `-` reads standard input
          --classes <FILE>   Read one class per line from this file or pipe, for class-conditional
                             models; `-` reads standard input
          --from <IMAGE>     Repeat the search that made this image; other flags override its settings
          --image <FILE>     Regenerate part of this image: the part that --mask marks
          --mask <FILE>      Mask of the part to regenerate: its white pixels, or its transparent pixels
                             if it has any
          --negative <TEXT>  What the image should not contain
          --class <CLASS>    Class of the image, in place of a prompt, for class-conditional models such
                             as var-d30: its number, its name or the first words of its name
      -h, --help             Print help

    Search:
          --method <METHOD>        Search method: raw, best-of-n, importance, beam, lookahead, draft,
                                   sequential, auto or tts-var [default: auto with the scorer
                                   image-reward or demo-reward, draft with any other or a mix]
          --n <N>                  Width of the search; what N counts depends on the method [default:
                                   the method's, such as 16 for auto]
          --schedule <NAME>        Schedule that tts-var follows: released (as in its code) or paper
                                   [default: released]
          --plan <FILE>            Plan file, as printed by `ttsvar plan --toml`
          --features <KIND>        Features to cluster on: pca (DINOv2 patches, projected onto the first
                                   principal component of each image), pca-raw (the same with the sign
                                   that the decomposition returns), pca-all (one component for all
                                   images), pool (the mean of the patches) or latent (the latent itself,
                                   without a decode or a network) [default: pca]
          --potential <KIND>       Potential that resampling derives from the scores of a candidate:
                                   value (the latest), diff (the latest minus the previous one), max
                                   (the best so far) or sum (of all so far) [default: value]
          --lambda <NUMBER>        How strongly resampling favours high scores: weights are exp(lambda *
                                   potential); 0 draws uniformly [default: the model's, usually 10]
          --draw <KIND>            How resampling draws: multinomial (each draw is independent) or
                                   systematic (each candidate is drawn its expected number of times,
                                   rounded up or down) [default: multinomial]
          --enough <SCORE>         Score at which methods auto and sequential stop [default: the
                                   model's, usually 1]
          --above <SCORE>          Score from which method auto finishes a candidate immediately
                                   [default: the model's]
          --finish <N>             Number of candidates that draft finishes, and auto unless an image
                                   scores --enough [default: 2 for auto, a quarter of N for draft]
          --verifier <KIND>        What is scored before the last scale: image or latent [default: the
                                   model's]
          --budget <AMOUNT>        Budget of the search, such as 60s, 2PFLOP or 3images: it starts new
                                   candidates as long as they fit into the budget, and Ctrl-C returns
                                   the best image so far
          --preview <full|PIXELS>  Size of the images that are scored before the last scale: full, or
                                   pixels along the shorter side [default: full]

    Image:
          --sampling <NAME>            Published sampling settings: tts-var, infinity-eval,
                                       infinity-demo or soto; the options below override them
          --cfg <NUMBER,...>           Guidance strength, or one value per scale, such as 3,3,1; 1 turns
                                       guidance off (for VAR, HART and Switti: 0) [default: the model's]
          --cfg-layer <N>              Apply guidance to the output of the N-th block from the end
                                       instead of to the logits
          --tau <NUMBER,...>           Temperature, above 0, or one value per scale, such as 1,1,0.5
                                       [default: the model's]
          --top-p <NUMBER,...>         Keep the most likely values up to this cumulative probability,
                                       from 0 to 1, or one value per scale; 0 keeps all [default: the
                                       model's]
          --top-k <N>                  Keep the N most likely values; 0 keeps all [default: the model's]
          --steer <auto|off|FILE>      Steer the concepts in the prompt to regions of the image: auto
                                       (from the relations in the prompt), a TOML or JSON file with
                                       boxes, or off [default: off]
          --more-smooth[=<BOOL>]       Blend codes instead of sampling them, for smoother images (VAR,
                                       HART and Switti only)
          --token-statistics[=<BOOL>]  Record the entropy and log-likelihood of the sampled tokens in
                                       the trace
          --decoder-steps <N>          Steps in which FlexTok's decoder turns noise into an image
                                       [default: the model's, usually 25]
          --preview-steps <N>          Number of decoder steps for images scored before the last scale
                                       [default: same as --decoder-steps]
          --decoder-cfg <NUMBER>       Guidance strength of FlexTok's decoder; 1 turns it off [default:
                                       the model's, usually 7.5]
          --as-released[=<BOOL>]       Sample tokens as the released FlexAR code does: copies of a
                                       candidate differ only in the last token of a scale, and class
                                       guidance is relative to class 0
          --aspect <W:H>               Aspect ratio, width to height, from 1:3 to 3:1 [default: 1:1]
          --pixels <SIZE>              Image size in pixels: 0.06M (256 x 256 at an aspect of 1:1),
                                       0.25M (512 x 512), 0.60M (768 x 768) or 1M (1024 x 1024)
                                       [default: the model's]
          --seed <NUMBER>              Random seed; lists of prompts count up from it; -1 picks a random
                                       one [default: random]

    Model:
          --model <NAME|DIR>       demo, a released model (see `ttsvar models`), or a folder with a
                                   bundle.toml [default: demo]
          --weights <DIR>          The folder with the downloaded files of released models
          --scorer <SCORERS>       Scorer: image-reward, hps, pick, clip, clip-100, clip-2.5, aesthetic,
                                   vqa, vqa-xxl, relation, openai or the demo's demo-reward, or a mix
                                   such as image-reward=1,hps=2 [default: the model's]
          --state-dict <NAME>      State dict to read from checkpoints with several that fit, such as a
                                   model and its moving average [default: the model]
          --held-out <SCORERS>     Also report the scores of these scorers, such as hps,clip, which the
                                   search does not use
          --memory <SIZE>          Memory limit, such as 12G: runs fewer candidates at once and loads
                                   networks only while needed
          --questions <auto|FILE>  Questions for vqa and openai to answer in place of the prompt; the
                                   score is the mean of the answers; auto derives the questions from the
                                   prompt, a file lists them for each prompt
          --question-mean <MEAN>   Mean of the answers: arithmetic or geometric [default: arithmetic]

    Vision server for --scorer openai (API key: OPENAI_API_KEY):
          --openai-url <URL>          Address, such as http://localhost:8000/v1 [default:
                                      TTSVAR_OPENAI_URL]
          --openai-model <NAME>       Name of the model [default: TTSVAR_OPENAI_MODEL]
          --openai-template <TEXT>    Question with {} for the prompt [default: TTSVAR_OPENAI_TEMPLATE,
                                      or Does this image show "{}"? Answer yes or no.]
          --openai-parallel <NUMBER>  Maximum number of concurrent requests [default:
                                      TTSVAR_OPENAI_PARALLEL, or 8]
          --openai-timeout <SECONDS>  Seconds to wait for an answer [default: TTSVAR_OPENAI_TIMEOUT, or
                                      60]
          --openai-cache <DIR>        Folder in which to cache answers, so that nothing is asked twice;
                                      `none` caches in memory only [default: TTSVAR_OPENAI_CACHE, or
                                      ttsvar/answers in the user's cache]

    Output:
      -o, --out <FILE|DIR>     Where to write the image: a .png file, which is overwritten, or a folder,
                               where an unused name is chosen; `-` is standard output, here and below
                               [default: the current folder]
          --best <K>           Write the K best images of the search instead of one, numbered best
                               first: NAME-1.png, NAME-2.png and so on
          --trace <FILE|DIR>   Write the record of the search: a .json file or a folder
          --tree <FILE|DIR>    Write the search as a tree of images: a .png file or a folder
          --report <FILE|DIR>  Write a page with the whole search: a .html file or a folder

    Global options:
      -q, --quiet              Print results and errors only
          --json               Print results as JSON, one object per line
          --threads <COUNT>    Number of threads; results do not depend on it [default: one per core]
          --dtype <TYPE>       Data type of weight matrices: f32, bf16 (half the memory) or q8 (just
                               over a quarter) [default: f32]
          --text-dtype <TYPE>  Data type of the text encoder's weight matrices [default: same as
                               --dtype]
          --device <DEVICE>    Device to run on: cpu or cuda [default: cpu]
    "#);
}

#[test]
fn without_arguments_the_help_is_shown_as_an_error() {
    let said = Desk::new().run(&[]);
    assert_eq!((said.code, said.out.as_str()), (Some(2), ""));
    assert_eq!(said.err.trim_end(), shown(&["--help"]));
}

#[test]
fn the_version_is_that_of_the_package() {
    assert_eq!(
        shown(&["--version"]),
        format!("ttsvar {}", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn the_plan_of_the_demo_is_shown_with_its_cost() {
    with_settings!({ filters => COSTS }, {
        assert_snapshot!(shown(&["plan", "tts-var", "--n", "1"]), @"
        tts-var, N = 1

        scale  grid  rows  decodes  selects                    continue
            0  1×1      8        -  -                                 8
            1  2×2      8        -  -                                 8
            2  3×3      8        8  cluster pca                       6
            3  4×4      6        6  cluster pca                       4
            4  5×5      4        4  resample value, lambda 10         2
            5  6×6      2        2  resample value, lambda 10         1
            6  8×8      1        1  the best                          1

        21 decodes, 7 scorings
        [cost]: generator [cost], scorer [cost], features [cost]
        at most [cost] of memory
        ");
        assert_snapshot!(shown(&["plan", "best-of-n", "--n", "4"]), @"
        best-of-n, N = 4

        scale  grid  rows  decodes  selects   continue
            0  1×1      4        -  -                4
            1  2×2      4        -  -                4
            2  3×3      4        -  -                4
            3  4×4      4        -  -                4
            4  5×5      4        -  -                4
            5  6×6      4        -  -                4
            6  8×8      4        4  the best         1

        4 decodes, 4 scorings
        [cost]: generator [cost], scorer [cost]
        at most [cost] of memory
        ");
    });
}

#[test]
fn the_plan_of_thirteen_scales_is_the_released_one() {
    assert_snapshot!(shown(&["plan", "tts-var", "--scales", "13"]), @"
    tts-var, N = 1

    scale  grid  rows  decodes  selects                    continue
        0  -        8        -  -                                 8
        1  -        8        -  -                                 8
        2  -        8        8  cluster pca                       6
        3  -        6        -  -                                 6
        4  -        6        -  -                                 6
        5  -        6        6  cluster pca                       4
        6  -        4        4  resample value, lambda 10         2
        7  -        2        -  -                                 2
        8  -        2        -  -                                 2
        9  -        2        2  resample value, lambda 10         1
       10  -        1        -  -                                 1
       11  -        1        -  -                                 1
       12  -        1        1  the best                          1

    21 decodes, 7 scorings
    ");
    assert_snapshot!(shown(&["plan", "tts-var", "--scales", "13", "--toml", "--lambda", "3", "--features", "pool"]), @r#"
    # tts-var, N = 1
    start = 8

    [[stage]]
    scale = 2
    width = 6
    select = { cluster = "pool" }

    [[stage]]
    scale = 5
    width = 4
    select = { cluster = "pool" }

    [[stage]]
    scale = 6
    width = 2
    select = { resample = "value", lambda = 3 }

    [[stage]]
    scale = 9
    width = 1
    select = { resample = "value", lambda = 3 }
    "#);
}

/// A plan without the lines of its cost, which depend on the machine.
fn without_cost(plan: &str) -> &str {
    plan.split_inclusive("scorings\n").next().unwrap()
}

#[test]
fn the_plan_of_a_released_model_is_known_without_its_files() {
    let desk = Desk::new();
    let asked = [
        "plan",
        "tts-var",
        "--model",
        "infinity-2b",
        "--aspect",
        "2:1",
    ];
    let said = desk.run(&asked);
    assert_eq!(said.code, Some(0));
    assert_eq!(
        said.err,
        "note: an estimate from the published size of the model; the time is based on the speed of \
         the demo on this machine, as measured by `ttsvar doctor`\n"
    );
    let cost: Vec<&str> = said.out.lines().rev().take(3).collect();
    assert!(cost[0].starts_with("about ") && cost[0].contains(" on this machine, at "));
    assert!(
        cost[1].starts_with("at most ") && cost[2].contains("TFLOP: generator "),
        "{cost:?}"
    );
    assert_snapshot!(without_cost(&said.out).trim_end(), @"
    tts-var, N = 1

    scale  grid   rows  decodes  selects                    continue
        0  1×1       8        -  -                                 8
        1  2×2       8        -  -                                 8
        2  2×4       8        8  cluster pca                       6
        3  3×6       6        -  -                                 6
        4  5×10      6        -  -                                 6
        5  8×16      6        6  cluster pca                       4
        6  11×22     4        4  resample value, lambda 10         2
        7  15×30     2        -  -                                 2
        8  19×38     2        -  -                                 2
        9  23×46     2        2  resample value, lambda 10         1
       10  30×60     1        -  -                                 1
       11  37×74     1        -  -                                 1
       12  45×90     1        1  the best                          1

    21 decodes, 7 scorings
    ");
    let quiet = desk.run(&[&asked[..], &["--quiet"]].concat());
    assert_eq!(quiet.err, "");
    assert_eq!(without_cost(&quiet.out), without_cost(&said.out));
}

#[test]
fn a_plan_in_rounds_says_what_ends_them_and_what_all_of_them_take() {
    let plan = shown(&["plan", "auto", "--n", "4"]);
    let ends = "\nat most 4 rounds, until a score of 1; a round that runs to the end takes:\n";
    assert!(plan.contains(ends), "{plan}");
    let last = plan.lines().last().unwrap();
    assert!(last.starts_with("all 4 rounds take at most "), "{plan}");

    for (method, ends) in [
        (
            "auto",
            "\nrounds within a budget of 60s, until a score of 1; a round that runs to the end takes:\n",
        ),
        (
            "beam",
            "\nrounds within a budget of 60s; a round that runs to the end takes:\n",
        ),
    ] {
        let plan = shown(&["plan", method, "--budget", "60s"]);
        assert!(plan.contains(ends), "{plan}");
        assert!(!plan.contains("rounds take"), "{plan}");
    }
}

#[test]
fn a_plan_in_json_says_what_the_table_says() {
    let plan: Value =
        serde_json::from_str(&shown(&["plan", "beam", "--n", "2", "--json"])).unwrap();
    assert_eq!(
        (&plan["method"], &plan["n"]),
        (&Value::from("beam"), &Value::from(2))
    );
    let scales = plan["scales"].as_array().unwrap();
    let decodes: u64 = scales
        .iter()
        .map(|scale| scale["decodes"].as_u64().unwrap())
        .sum();
    assert_eq!(plan["decodes"], decodes);
    assert!(
        scales.iter().all(|scale| scale["grid"].is_array()
            && scale["rows"].as_u64() >= scale["continue"].as_u64())
    );
    let flops = &plan["flops"];
    let [generator, scorer, features, total] =
        ["generator", "scorer", "features", "total"].map(|part| flops[part].as_f64().unwrap());
    assert!(generator > 0.0 && scorer > 0.0 && features == 0.0 && total == generator + scorer);
    assert!(plan["peak_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn a_printed_plan_is_read_back() {
    let desk = Desk::new();
    let printed = desk.works(&[
        "plan",
        "tts-var",
        "--n",
        "1",
        "--toml",
        "--draw",
        "systematic",
    ]);
    desk.write("mine.toml", &printed);
    let again = desk.works(&["plan", "mine.toml", "--toml"]);
    assert_eq!(
        Plan::from_toml(&printed).unwrap(),
        Plan::from_toml(&again).unwrap()
    );
    desk.works(&[
        "generate",
        "a red circle",
        "--seed",
        "1",
        "--plan",
        "mine.toml",
        "--out",
        "own.png",
        "-q",
    ]);
    desk.works(&[
        "generate",
        "a red circle",
        "--method",
        "tts-var",
        "--seed",
        "1",
        "--draw",
        "systematic",
        "--out",
        "named.png",
        "-q",
    ]);
    assert_eq!(desk.png("own.png").image, desk.png("named.png").image);
    assert_eq!(
        desk.png("own.png").text("ttsvar:plan"),
        desk.png("named.png").text("ttsvar:plan")
    );
}

#[test]
fn models_are_listed_with_their_files_and_sources() {
    let all = shown(&["models"]);
    let names: Vec<&str> = all
        .lines()
        .filter(|line| !line.starts_with([' ', '`']))
        .filter_map(|line| Some(line.split_once(": ")?.0))
        .collect();
    assert_eq!(
        names[..4],
        ["demo", "infinity-2b", "infinity-8b", "infinity-8b-512"]
    );
    assert!(
        ["infinity-vae", "flan-t5-xl", "geneval-prompts"]
            .iter()
            .all(|name| names.contains(name)),
        "{names:?}"
    );
    assert!(
        all.contains("\n  infinity_2b_reg.pth\n")
            && all.contains("Hugging Face FoundationVision/Infinity")
    );

    let desk = Desk::new();
    std::fs::create_dir(desk.path("downloads")).unwrap();
    desk.write("downloads/ImageReward.pt", vec![0; 2000]);
    let found = desk.works(&["models", "--weights", "downloads"]);
    let state = |file: &str| {
        found
            .lines()
            .find(|line| line.contains(file))
            .unwrap()
            .split_whitespace()
            .nth(1)
    };
    assert_eq!(state("ImageReward.pt"), Some("present"));
    assert_eq!(state("infinity_2b_reg.pth"), Some("missing"));
    assert!(!found.contains("only some files"), "{found}");
    desk.write("downloads/infinity_2b_reg.pth", "");
    let found_more = desk.works(&["models", "--weights", "downloads"]);
    assert!(
        found_more.contains("\n  only some files of infinity-2b are present\n"),
        "{found_more}"
    );
    std::fs::remove_file(desk.path("downloads/infinity_2b_reg.pth")).unwrap();

    for line in desk
        .works(&["models", "--json", "--weights", "downloads"])
        .lines()
    {
        let model: Value = serde_json::from_str(line).unwrap();
        for file in model["files"].as_array().unwrap() {
            let there = file["name"] == "ImageReward.pt" || model["name"] == "demo";
            assert_eq!(file["present"], there, "{line}");
        }
    }
}
