//! A contest of pictures whose judges are networks: painted here by several methods, or made
//! elsewhere, folder by folder.

use std::{
    collections::HashMap,
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};
use ttsvar_search::Method;

use super::{
    super::{
        arguments::{Contest, Global},
        findings::Findings,
        interrupt::undisturbed,
        progress::bar,
        talk::Talk,
    },
    hall::{self, Asked, Hall},
};
use crate::{
    Error, Result,
    eval::{
        Contender, Judged, Log, ResultRecord, Setup, Suite, Summary,
        shown::{self, Shown},
    },
    file::{self, slug},
    image,
    report::html::verdicts,
    request::Session,
    system::DEMO,
};

/// What is judged, and how that is recorded.
pub(super) struct Subject<'a> {
    pub title: &'a str,
    pub suite: &'a dyn Suite,
    /// The suite with its files, as they are recorded.
    pub described: Map<String, Value>,
    pub samples: usize,
    /// Verdicts are scores, not right or wrong.
    pub graded: bool,
    /// What a reader of the results should know, a line each.
    pub notes: Vec<String>,
    /// Where results go.
    pub out: &'a Path,
    pub resume: bool,
}

/// Where painted pictures are kept.
pub(super) trait Keeper {
    /// The file of a picture, seen from the folder of its method.
    fn place(&self, record: &ResultRecord) -> PathBuf;

    /// Writes what belongs beside the picture at `path`.
    fn beside(&self, path: &Path, record: &ResultRecord) -> Result<()>;
}

/// A folder of pictures under the name that it has in tables.
pub(super) struct Side {
    pub contender: Contender,
    pub folder: PathBuf,
    pub shown: Vec<Shown>,
}

/// What came out, with the files of the pictures.
pub(super) struct Judgings {
    pub findings: Findings,
    log: Log,
    /// The contenders with the names of their results.
    pub names: Vec<(String, Contender)>,
    files: HashMap<(String, usize, usize, usize), PathBuf>,
}

impl Judgings {
    /// The records of a contender, sorted by prompt and try, with the files of their pictures.
    pub(super) fn of(&self, who: &Contender) -> Vec<(&Path, &ResultRecord)> {
        let own = self
            .log
            .records()
            .iter()
            .filter(|record| who.is(&record.method, record.n));
        let mut own: Vec<_> = own
            .filter_map(|record| Some((self.files.get(&key(record))?.as_path(), record)))
            .collect();
        own.sort_by_key(|(_, record)| (record.case, record.sample));
        own
    }

    /// All records with their pictures, seen from `home`.
    fn seen_from(&self, home: &Path) -> Result<Vec<(PathBuf, &ResultRecord)>> {
        let home = absolute(home)?;
        let way = |path: &Path| absolute(path).map(|path| verdicts::way(&home, &path));
        let all = self
            .log
            .records()
            .iter()
            .filter_map(|record| Some((self.files.get(&key(record))?, record)));
        all.map(|(path, record)| Ok((way(path)?, record))).collect()
    }
}

/// What tells a picture from all others.
fn key(record: &ResultRecord) -> (String, usize, usize, usize) {
    (record.method.clone(), record.n, record.case, record.sample)
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().map_err(Error::io(path))
}

/// Writes a file below the folder of results, and the folders on the way.
///
/// # Errors
/// They cannot be written.
pub(super) fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::create_dir_all(folder).map_err(Error::io(folder))?;
    file::replace(path, text.as_bytes()).map_err(Error::io(path))
}

impl Subject<'_> {
    fn asked<'a>(&'a self, contenders: &'a [Contender], seed: u64) -> Asked<'a> {
        let Self {
            title,
            suite,
            described,
            samples,
            graded,
            notes,
            out,
            resume,
        } = self;
        Asked {
            title,
            suite: *suite,
            described: described.clone(),
            contenders,
            samples: *samples,
            seed,
            consistency: 0,
            folder: out,
            resume: *resume,
            graded: *graded,
            notes,
        }
    }

    /// Paints and judges.
    ///
    /// # Errors
    /// Whatever painting and judging fail with.
    pub(super) fn paint(
        &self,
        typed: &Contest,
        keeper: &dyn Keeper,
        global: &Global,
        talk: &Talk,
    ) -> Result<Judgings> {
        let methods = typed
            .methods
            .iter()
            .map(|name| name.parse())
            .collect::<Result<Vec<Method>, ttsvar_search::Error>>()?;
        let options = &typed.image.0;
        options.check()?;
        let system = global.system(&typed.system).open()?;
        let session = Session::new(&system, options)?;
        let contenders = Contender::grid(&methods, &typed.n, session.pipeline().scales().len())?;
        // Small searches side by side; a large model and the judges take all threads themselves.
        let workers = match system.model() {
            DEMO => hall::workers(global),
            _ => 1,
        };
        let hall = Hall {
            session: &session,
            workers,
            talk,
        };
        let place = |record: &ResultRecord| {
            let folder = self
                .out
                .join("images")
                .join(name_of(&record.method, record.n));
            folder.join(keeper.place(record))
        };
        let keep = |judged: &Judged| {
            let path = place(&judged.record);
            let folder = path.parent().unwrap_or(self.out);
            fs::create_dir_all(folder).map_err(Error::io(folder))?;
            keeper.beside(&path, &judged.record)?;
            image::save(&judged.image, &path)
        };
        let asked = self.asked(&contenders, options.seed.unwrap_or(0));
        let (findings, log) = hall.run(
            &asked,
            |judged| if typed.keep { keep(judged) } else { Ok(()) },
        )?;
        let all = log
            .records()
            .iter()
            .map(|record| (key(record), place(record)));
        let files: HashMap<_, _> = all
            .filter(|(_, path)| !typed.keep || path.exists())
            .collect();
        let lost = log.records().len() - files.len();
        if lost > 0 {
            talk.note(&format!(
                "{lost} pictures were judged without --keep and are not there to be shown"
            ));
        }
        let names = contenders
            .iter()
            .map(|one| (name_of(&one.method, one.n), one.clone()))
            .collect();
        let judgings = Judgings {
            findings,
            log,
            names,
            files,
        };
        if typed.keep {
            hall::write_page(
                &asked,
                judgings.findings.summary(),
                &judgings.seen_from(self.out)?,
            )?;
        }
        Ok(judgings)
    }

    /// Judges pictures that were made elsewhere.
    ///
    /// # Errors
    /// Whatever judging fails with. Files that are no pictures are said, counted as missing, and no
    /// error.
    pub(super) fn compare(&self, sides: &[Side], talk: &Talk) -> Result<Judgings> {
        let contenders: Vec<Contender> = sides.iter().map(|side| side.contender.clone()).collect();
        let asked = self.asked(&contenders, 0);
        let folder = |side: &Side| Ok((side.contender.method.clone(), absolute(&side.folder)?));
        let pictures = sides.iter().map(folder).collect::<Result<_>>()?;
        let setup = Setup {
            pictures,
            ..asked.setup(Map::new())
        };
        let mut log = Log::open(self.out, &setup, self.resume)?;
        let bar = bar(
            talk,
            sides.iter().map(|side| side.shown.len()).sum(),
            "pictures judged",
        );
        let mut files = HashMap::new();
        for Side {
            contender, shown, ..
        } in sides
        {
            let (method, n) = (&contender.method, contender.n);
            files.extend(
                shown
                    .iter()
                    .map(|one| ((method.clone(), n, one.case, one.sample), one.path.clone())),
            );
            let known = log.records().to_vec();
            let keep = |record| {
                bar.inc(1);
                undisturbed(|| log.add(record))
            };
            let lost = |_: &Path, error: &Error| {
                bar.suspend(|| talk.warn(&format!("{error} (counted as missing)"), None))
            };
            shown::judge(self.suite, contender, shown, &known, keep, lost)?;
        }
        bar.finish_and_clear();
        let summary = Summary::new(self.suite, self.samples, &contenders, log.records());
        let findings = asked.findings(summary, vec![]);
        findings.write(self.out)?;
        let names = contenders
            .into_iter()
            .map(|one| (slug(&one.method), one))
            .collect();
        let judgings = Judgings {
            findings,
            log,
            names,
            files,
        };
        let asked = self.asked(&[], 0);
        hall::write_page(
            &asked,
            judgings.findings.summary(),
            &judgings.seen_from(self.out)?,
        )?;
        Ok(judgings)
    }
}

/// `tts-var-4`
fn name_of(method: &str, n: usize) -> String {
    format!("{}-{n}", slug(method))
}

/// The contenders for folders of pictures, each under the folder's own name.
///
/// # Errors
/// Two folders have the same name, or names of which the same files would come.
pub(super) fn contenders(folders: &[PathBuf]) -> Result<Vec<Contender>> {
    let mut all: Vec<Contender> = vec![];
    for path in folders {
        let last = path.components().next_back();
        let name = last.map_or_else(String::new, |name| {
            name.as_os_str().to_string_lossy().into_owned()
        });
        if let Some(other) = all
            .iter()
            .find(|other| slug(&other.method).eq_ignore_ascii_case(&slug(&name)))
        {
            let message = if other.method == name {
                format!("a second folder called `{name}`")
            } else {
                format!(
                    "its results would be files of the same name as those of `{}`",
                    other.method
                )
            };
            return Err(Error::file(path, message)
                .with_hint("tables tell folders apart by their names; rename one"));
        }
        all.push(shown::contender(&name)?);
    }
    Ok(all)
}
