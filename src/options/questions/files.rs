//! Files with questions: JSON lines as this program and GenEval 2 have them, and the table of
//! DPG-Bench.

use std::collections::HashMap;

use super::{ListedQuestion, PromptQuestions, YES};
use crate::{Error, Result};

pub(super) const HINT: &str = "expected JSON lines with `prompt` and `questions` (or `vqa_list`, \
    as GenEval 2 has it), or DPG-Bench's dpg_bench.csv";

/// The lists of a file.
pub(super) fn lists(text: &str) -> Result<Vec<PromptQuestions>> {
    let lists = match text.trim_start().starts_with('{') {
        true => json_lists(text),
        false => dpg_lists(text),
    };
    lists.map_err(|error| error.with_hint(HINT))
}

fn json_lists(text: &str) -> Result<Vec<PromptQuestions>> {
    let mut lists = vec![];
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let list = serde_json::from_str(line)
            .map_err(|error| Error::input(format!("line {}: {error}", number + 1)))?;
        lists.push(list);
    }
    Ok(lists)
}

/// The columns of DPG-Bench's table that are read.
const COLUMNS: [&str; 4] = [
    "text",
    "proposition_id",
    "dependency",
    "question_natural_language",
];

/// DPG-Bench: one row per question.
fn dpg_lists(text: &str) -> Result<Vec<PromptQuestions>> {
    let mut rows = csv_rows(text)?.into_iter();
    let heads = rows.next().unwrap_or_default();
    let mut places = [0; COLUMNS.len()];
    for (place, name) in places.iter_mut().zip(COLUMNS) {
        let found = heads.iter().position(|head| head.trim() == name);
        *place = found.ok_or_else(|| Error::input(format!("no column `{name}`")))?;
    }
    let mut table = DpgTable::default();
    for (number, row) in rows.enumerate() {
        let cells = places.map(|place| row.get(place).map(|cell| cell.trim()));
        let added = table.add(cells);
        added.map_err(|what| Error::input(format!("row {}: {what}", number + 2)))?;
    }
    Ok(table.lists)
}

/// The lists of DPG-Bench, in the order of their prompts.
#[derive(Default)]
struct DpgTable {
    lists: Vec<PromptQuestions>,
    /// The place of each prompt in the lists, with the ids of its questions.
    prompts: HashMap<String, (usize, Vec<usize>)>,
}

impl DpgTable {
    /// Adds a row of the four columns.
    fn add(&mut self, cells: [Option<&str>; COLUMNS.len()]) -> Result<(), &'static str> {
        let [prompt, id, dependency, question] = cells;
        let prompt = prompt.ok_or("it ends early")?;
        let question = question.filter(|question| !question.is_empty());
        let question = question.ok_or("it has no question")?;
        let number = |text: &str| text.trim().parse::<usize>().ok();
        let id = id.and_then(number);
        let id = id.ok_or("`proposition_id` is not a number")?;
        let (place, ids) = self.prompts.entry(prompt.to_owned()).or_insert_with(|| {
            self.lists.push(PromptQuestions {
                prompt: prompt.to_owned(),
                questions: vec![],
            });
            (self.lists.len() - 1, vec![])
        });
        let parents = dependency.unwrap_or_default().split(',').filter_map(number);
        let parents = parents.filter_map(|parent| ids.iter().position(|id| *id == parent));
        let listed = ListedQuestion {
            parents: parents.collect(),
            ..ListedQuestion::new(question, YES)
        };
        ids.push(id);
        self.lists[*place].questions.push(listed);
        Ok(())
    }
}

/// The rows of a table with commas and quotation marks (RFC 4180).
fn csv_rows(text: &str) -> Result<Vec<Vec<String>>> {
    let mut rows = vec![];
    let mut row = vec![];
    let mut cell = String::new();
    let mut quoted = false;
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => {
                chars.next();
                cell.push('"');
            }
            '"' => quoted = !quoted,
            ',' if !quoted => row.push(std::mem::take(&mut cell)),
            '\r' if !quoted => {}
            '\n' if !quoted => {
                row.push(std::mem::take(&mut cell));
                rows.push(std::mem::take(&mut row));
            }
            c => cell.push(c),
        }
    }
    if quoted {
        return Err(Error::input("a quotation mark is never closed"));
    }
    if !cell.is_empty() || !row.is_empty() {
        row.push(cell);
        rows.push(row);
    }
    rows.retain(|row| row.iter().any(|cell| !cell.trim().is_empty()));
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(list: &PromptQuestions) -> Vec<String> {
        let text = |listed: &ListedQuestion| format!("{} {}", listed.question, listed.answer);
        list.questions.iter().map(text).collect()
    }

    #[test]
    fn lists_of_json_lines_and_of_geneval_2_are_read() {
        let lists = lists(concat!(
            r#"{"prompt": "a", "questions": ["Is it a?", {"question": "b?", "answer": "No"}]}"#,
            "\n\n",
            r#"{"prompt": "four cows", "atom_count": 2, "skills": ["count", "object"],"#,
            r#" "vqa_list": [["How many cows are in the image?", "four"], ["Cows?", "Yes"]]}"#,
        ));
        let lists = lists.unwrap();
        assert_eq!(texts(&lists[0]), ["Is it a? Yes", "b? No"]);
        assert_eq!(
            texts(&lists[1]),
            ["How many cows are in the image? four", "Cows? Yes"]
        );
    }

    #[test]
    fn damaged_lines_are_named() {
        for damaged in ["{", "{}", r#"{"prompt": "a", "questions": [1]}"#] {
            let error = json_lists(damaged).unwrap_err().to_string();
            assert!(error.starts_with("line 1"), "{error}");
        }
    }

    const DPG: &str = "item_id,text,keywords,proposition_id,dependency,category_broad,\
        category_detailed,tuple,question_natural_language\r\n\
        0,\"A \"\"red\"\" cat,\na dog\",k,1,0,entity,whole,entity - whole (cat),Is there a cat?\r\n\
        0,\"A \"\"red\"\" cat,\na dog\",,2,\"1, 7\",attribute,color,x,Is the cat red?\r\n\
        1,b,,1,0,entity,whole,x,Is there b?\n";

    #[test]
    fn the_table_of_dpg_bench_is_read_with_its_dependencies() {
        let lists = dpg_lists(DPG).unwrap();
        assert_eq!(lists[0].prompt, "A \"red\" cat,\na dog");
        assert_eq!(
            texts(&lists[0]),
            ["Is there a cat? Yes", "Is the cat red? Yes"]
        );
        assert_eq!(lists[0].questions[1].parents, [0]);
        assert_eq!(texts(&lists[1]), ["Is there b? Yes"]);
        for damaged in [
            "a,b\n1,2\n",
            "\"",
            &DPG.replace(",1,0,entity", ",x,0,entity"),
        ] {
            assert!(dpg_lists(damaged).is_err(), "{damaged}");
        }
    }
}
