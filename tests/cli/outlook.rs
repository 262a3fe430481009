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
      generate     Search for the best image of a prompt and write it as a PNG
      score        Score images, generated here or elsewhere, for a prompt
      models       List the known models, their files and where those are published
      plan         Show what a search would do and cost, scale by scale, without doing it
      bench        Measure how long a search takes and where the time goes, on a model of any size
      inspect      Print how an image was made, from the image or from a trace
      convert      Write a model's files again with weights of 8 bits, which are smaller and load faster
      doctor       Check this machine and test whether the program works on it
      serve        Serve over HTTP: an OpenAI-compatible image API, jobs with event streams, and a web
                   page
      eval         Compare search methods on sets of prompts with evaluators
      collect      Write training pairs for a latent verifier: latents of unfinished samples and the
                   scores of their finished images
      completions  Print a script with which a shell completes commands and flags
      man          Print the manual page
      help         Print this message or the help of the given subcommand(s)

    Options:
      -h, --help     Print help
      -V, --version  Print version

    Everywhere:
      -q, --quiet              Print results and errors only
          --json               Print results as JSON, one object per line
          --threads <COUNT>    Number of threads; results do not depend on it [default: one per core]
          --dtype <TYPE>       Data type of matrices: f32, bf16 with half the memory, or q8 with little
                               more than a quarter [default: f32]
          --text-dtype <TYPE>  Data type of the text encoder's matrices [default: that of --dtype]
          --device <DEVICE>    Device that computes: cpu or cuda [default: cpu]

    Try it: ttsvar generate "a red circle and a blue star" --tree tree.png
    "#);
}

#[test]
fn generate_explains_every_flag() {
    assert_snapshot!(shown(&["generate", "--help"]), @r#"
    Search for the best image of a prompt and write it as a PNG

    Usage: ttsvar generate [OPTIONS] [PROMPT]

    Arguments:
      [PROMPT]  Description of the image; `-` reads one prompt per line from standard input

    Options:
      -p, --prompt <PROMPT>  The same as an option
          --prompts <FILE>   Read one prompt per line from this file or pipe; `-` reads standard input
          --classes <FILE>   Read one class per line from this file or pipe, for models of classes; `-`
                             reads standard input
          --from <IMAGE>     Repeat the search that made this image; other flags override its settings
          --image <FILE>     Generate a part of this image again, the inside of --mask
          --mask <FILE>      The part of --image to generate: white, or transparent if the file has
                             transparent pixels
          --negative <TEXT>  What the image should not contain
          --class <CLASS>    Class of the image, for models of classes such as var-d30, in place of a
                             prompt: its number, its name or the beginning of one
      -h, --help             Print help

    Search:
          --method <METHOD>        Search method: raw, best-of-n, importance, beam, lookahead, draft,
                                   sequential, auto or tts-var [default: auto, or draft for scorers
                                   whose scale it does not know]
          --n <N>                  Width of the search; what N counts depends on the method [default:
                                   the method's, such as 16 for auto]
          --schedule <READING>     Reading of the paper's schedule by tts-var: released or paper
                                   [default: released]
          --plan <FILE>            A plan file, as `ttsvar plan --toml` prints it
          --features <KIND>        Features to cluster on: pca, pca-raw, pca-all, pool or latent
          --potential <KIND>       Potential that resampling derives from scores: value, diff, max or
                                   sum
          --lambda <NUMBER>        Greediness of resampling: weights are exp(lambda * potential); 0
                                   draws evenly
          --draw <KIND>            How resampling draws: multinomial or systematic
          --enough <SCORE>         Score at which methods auto and sequential stop [default: the
                                   model's, usually 1]
          --above <SCORE>          Score above which method auto finishes a candidate at once [default:
                                   the model's]
          --finish <N>             Candidates that methods auto and draft finish at least [default: 2; a
                                   quarter of N]
          --verifier <KIND>        What is scored before the last scale: image or latent [default: the
                                   model's]
          --budget <AMOUNT>        What the search may spend, such as 60s, 2PFLOP or 3images: it goes on
                                   with new candidates while they fit, and Ctrl-C returns the best image
                                   so far
          --preview <full|PIXELS>  Size of the images that are scored before the last scale: full, or
                                   pixels along the shorter side [default: full]

    Image:
          --sampling <NAME>            Published settings of sampling: tts-var, infinity-eval,
                                       infinity-demo or soto; the following options win over it
          --cfg <NUMBER,...>           Guidance strength, or a list over the scales such as 3,3,1; 1
                                       turns guidance off, 0 that of VAR, HART and Switti [default: the
                                       model's]
          --cfg-layer <N>              Apply guidance to the output of the N-th block from the end
                                       instead of to the logits
          --tau <NUMBER,...>           Temperature, above 0, or a list over the scales such as 1,1,0.5
                                       [default: the model's]
          --top-p <NUMBER,...>         Keep the most likely values up to this total probability, 0 to 1,
                                       or a list over the scales; 0 keeps all [default: the model's]
          --top-k <N>                  Keep the N most likely values; 0 keeps all [default: the model's]
          --steer <auto|off|FILE>      Steer the concepts of the prompt to places: auto for the
                                       relations in the prompt, a TOML or JSON file with boxes, or off
                                       [default: off]
          --more-smooth[=<BOOL>]       Mix codes instead of drawing them, for smoother images of VAR,
                                       HART and Switti
          --token-statistics[=<BOOL>]  Record entropy and log-likelihood of the drawn tokens in the
                                       trace
          --decoder-steps <N>          Steps in which FlexTok's decoder turns noise into an image
                                       [default: the model's, usually 25]
          --preview-steps <N>          The same for the images that are scored before the last scale
                                       [default: those of --decoder-steps]
          --decoder-cfg <NUMBER>       Guidance strength of FlexTok's decoder; 1 turns it off [default:
                                       the model's, usually 7.5]
          --as-released[=<BOOL>]       Draw tokens as the released program of FlexAR does: copies of a
                                       candidate differ in the last token of a scale alone, and guidance
                                       of classes compares with class 0
          --aspect <W:H>               Width to height, from 1:3 to 3:1 [default: 1:1]
          --pixels <SIZE>              Image size in pixels, such as 0.06M, 0.25M, 0.60M or 1M [default:
                                       the model's]
          --seed <NUMBER>              Random seed; prompt lists count up from it; -1 draws a new one
                                       [default: a new one each time]

    Model:
          --model <NAME|DIR>       demo, a released model (see `ttsvar models`), or a folder with a
                                   bundle.toml [default: demo]
          --weights <DIR>          The folder with the downloaded files of released models
          --scorer <SCORERS>       Scorer: image-reward, hps, pick, clip, clip-100, clip-2.5, aesthetic,
                                   vqa, vqa-xxl, relation, openai or the demo's demo-reward, or a mix
                                   such as image-reward=1,hps=2 [default: the model's]
          --state-dict <NAME>      The state dict to read in checkpoints that hold several which fit,
                                   such as a model and its moving average [default: the model]
          --held-out <SCORERS>     Report the scores of these scorers too, which the search does not
                                   use: hps,clip
          --memory <SIZE>          Memory limit, such as 12G: fewer rows run at once, and networks are
                                   loaded only while needed
          --questions <auto|FILE>  Questions that vqa and openai answer instead of reading prompts;
                                   their mean is the score: auto takes prompts apart, a file has a list
                                   for each prompt
          --question-mean <MEAN>   Mean of the answers: arithmetic or geometric [default: arithmetic]

    Vision server for --scorer openai (key: OPENAI_API_KEY):
          --openai-url <URL>          Address, such as http://localhost:8000/v1 [default:
                                      TTSVAR_OPENAI_URL]
          --openai-model <NAME>       Name of the model [default: TTSVAR_OPENAI_MODEL]
          --openai-template <TEXT>    Question with {} for the prompt [default: TTSVAR_OPENAI_TEMPLATE,
                                      or Does this image show "{}"? Answer yes or no.]
          --openai-parallel <NUMBER>  Requests at once [default: TTSVAR_OPENAI_PARALLEL, or 8]
          --openai-timeout <SECONDS>  Seconds to wait for an answer [default: TTSVAR_OPENAI_TIMEOUT, or
                                      60]
          --openai-cache <DIR>        Folder for answers, which are never asked for twice; `none` keeps
                                      them in memory [default: TTSVAR_OPENAI_CACHE, or ttsvar/answers in
                                      the user's cache]

    Output:
      -o, --out <FILE|DIR>     Write the image: to a .png file, which is replaced, or to a folder, under
                               a free name; `-` is standard output, here and below [default: this
                               folder]
          --best <K>           Write the K best images of the search instead of one, numbered from the
                               best: NAME-1.png, NAME-2.png and so on
          --trace <FILE|DIR>   Write the record of the search: a .json file or a folder
          --tree <FILE|DIR>    Write the search as a tree of images: a .png file or a folder
          --report <FILE|DIR>  Write a page with the whole search: a .html file or a folder

    Everywhere:
      -q, --quiet              Print results and errors only
          --json               Print results as JSON, one object per line
          --threads <COUNT>    Number of threads; results do not depend on it [default: one per core]
          --dtype <TYPE>       Data type of matrices: f32, bf16 with half the memory, or q8 with little
                               more than a quarter [default: f32]
          --text-dtype <TYPE>  Data type of the text encoder's matrices [default: that of --dtype]
          --device <DEVICE>    Device that computes: cpu or cuda [default: cpu]
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
        assert_snapshot!(shown(&["plan", "tts-var", "--n", "1"]), @r"
        tts-var, N = 1

        scale  grid  rows  decodes  selects                    go on
            0  1×1      8        -  -                              8
            1  2×2      8        -  -                              8
            2  3×3      8        8  cluster pca                    6
            3  4×4      6        6  cluster pca                    4
            4  5×5      4        4  resample value, lambda 10      2
            5  6×6      2        2  resample value, lambda 10      1
            6  8×8      1        1  the best                       1

        21 decodes, 7 scorings
        [cost]: generator [cost], scorer [cost], features [cost]
        at most [cost] of memory
        ");
        assert_snapshot!(shown(&["plan", "best-of-n", "--n", "4"]), @r"
        best-of-n, N = 4

        scale  grid  rows  decodes  selects   go on
            0  1×1      4        -  -             4
            1  2×2      4        -  -             4
            2  3×3      4        -  -             4
            3  4×4      4        -  -             4
            4  5×5      4        -  -             4
            5  6×6      4        -  -             4
            6  8×8      4        4  the best      1

        4 decodes, 4 scorings
        [cost]: generator [cost], scorer [cost], features [cost]
        at most [cost] of memory
        ");
    });
}

#[test]
fn the_plan_of_thirteen_scales_is_the_released_one() {
    assert_snapshot!(shown(&["plan", "tts-var", "--scales", "13"]), @r"
    tts-var, N = 1

    scale  grid  rows  decodes  selects                    go on
        0  -        8        -  -                              8
        1  -        8        -  -                              8
        2  -        8        8  cluster pca                    6
        3  -        6        -  -                              6
        4  -        6        -  -                              6
        5  -        6        6  cluster pca                    4
        6  -        4        4  resample value, lambda 10      2
        7  -        2        -  -                              2
        8  -        2        -  -                              2
        9  -        2        2  resample value, lambda 10      1
       10  -        1        -  -                              1
       11  -        1        -  -                              1
       12  -        1        1  the best                       1

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
        "note: an estimate from the published sizes of the model; the time is from the speed of \
         the demo on this machine, as `ttsvar doctor` measures it\n"
    );
    let cost: Vec<&str> = said.out.lines().rev().take(3).collect();
    assert!(cost[0].starts_with("about ") && cost[0].contains(" on this machine, at "));
    assert!(
        cost[1].starts_with("at most ") && cost[2].contains("TFLOP: generator "),
        "{cost:?}"
    );
    assert_snapshot!(without_cost(&said.out).trim_end(), @r"
    tts-var, N = 1

    scale  grid   rows  decodes  selects                    go on
        0  1×1       8        -  -                              8
        1  2×2       8        -  -                              8
        2  2×4       8        8  cluster pca                    6
        3  3×6       6        -  -                              6
        4  5×10      6        -  -                              6
        5  8×16      6        6  cluster pca                    4
        6  11×22     4        4  resample value, lambda 10      2
        7  15×30     2        -  -                              2
        8  19×38     2        -  -                              2
        9  23×46     2        2  resample value, lambda 10      1
       10  30×60     1        -  -                              1
       11  37×74     1        -  -                              1
       12  45×90     1        1  the best                       1

    21 decodes, 7 scorings
    ");
    let quiet = desk.run(&[&asked[..], &["--quiet"]].concat());
    assert_eq!(quiet.err, "");
    assert_eq!(without_cost(&quiet.out), without_cost(&said.out));
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
        scales
            .iter()
            .all(|scale| scale["grid"].is_array()
                && scale["rows"].as_u64() >= scale["go_on"].as_u64())
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
