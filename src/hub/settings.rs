//! Trees of settings as text: YAML, as far as configuration files use it, and Python literals, which
//! some checkpoints have in their metadata.
//!
//! Of YAML there are block mappings and lists, lists and mappings in brackets, plain and quoted
//! values and comments. Anchors, tags and values over several lines are refused.

use serde_json::{Map, Number, Value};

/// The deepest nesting of lists and mappings.
const DEEPEST: usize = 64;

/// A line with something in it.
struct Line<'a> {
    number: usize,
    indent: usize,
    text: &'a str,
}

/// Reads a document.
///
/// # Errors
/// It is something else; the message has the line.
pub fn read(text: &str) -> Result<Value, String> {
    let start = text.trim_start();
    if start.starts_with(['{', '[', '(']) {
        return Flow::new(start).document();
    }
    let lines = lines(text)?;
    let Some(first) = lines.first() else {
        return Ok(Value::Null);
    };
    let is_value = lines.len() == 1 && !is_item(first.text) && split_key(first.text).is_none();
    if is_value {
        return scalar(first.text).map_err(|error| at(first, &error));
    }
    let mut block = Block {
        lines: &lines,
        next: 0,
    };
    let value = block.read(first.indent, 0)?;
    match lines.get(block.next) {
        None => Ok(value),
        Some(line) => Err(at(line, "unexpected indentation")),
    }
}

fn at(line: &Line, message: &str) -> String {
    format!("line {}: {message}", line.number)
}

/// The lines of a text without comments.
fn lines(text: &str) -> Result<Vec<Line<'_>>, String> {
    let mut all = vec![];
    for (i, line) in text.lines().enumerate() {
        let content = without_comment(line).trim_end();
        let text = content.trim_start_matches(' ');
        if text.is_empty() || (content == "---" && all.is_empty()) {
            continue;
        }
        let line = Line {
            number: i + 1,
            indent: content.len() - text.len(),
            text,
        };
        if text.starts_with('\t') {
            return Err(at(&line, "a tab in the indentation"));
        }
        all.push(line);
    }
    Ok(all)
}

/// A line up to a `#` that begins it or follows a space, outside of quotes.
fn without_comment(line: &str) -> &str {
    let mut quote = None;
    let mut before = ' ';
    for (i, c) in line.char_indices() {
        match (quote, c) {
            (None, '#') if before == ' ' => return &line[..i],
            (None, '"' | '\'') if " [{(,:".contains(before) => quote = Some(c),
            (Some(open), c) if open == c => quote = None,
            _ => {}
        }
        before = c;
    }
    line
}

fn is_item(text: &str) -> bool {
    text == "-" || text.starts_with("- ")
}

/// Key and value of a line `key: value`.
fn split_key(text: &str) -> Option<(&str, &str)> {
    if text.starts_with(['{', '[', '(']) {
        return None;
    }
    if let Some(quote @ ('"' | '\'')) = text.chars().next() {
        let end = text[1..].find(quote)? + 1;
        let rest = text[end + 1..].strip_prefix(':')?;
        return Some((&text[1..end], rest.trim()));
    }
    match text.split_once(": ") {
        Some((key, value)) => Some((key, value.trim())),
        None => Some((text.strip_suffix(':')?, "")),
    }
}

/// Nested blocks of lines.
struct Block<'a> {
    lines: &'a [Line<'a>],
    next: usize,
}

impl<'a> Block<'a> {
    fn line(&self) -> Option<&'a Line<'a>> {
        self.lines.get(self.next)
    }

    /// The list or the mapping that begins at the next line.
    fn read(&mut self, indent: usize, depth: usize) -> Result<Value, String> {
        let Some(line) = self.line() else {
            return Ok(Value::Null);
        };
        if depth > DEEPEST {
            return Err(at(line, "nested too deeply"));
        }
        match is_item(line.text) {
            true => self.list(indent, depth),
            false => {
                let mut map = Map::new();
                self.entries(indent, depth, &mut map)?;
                Ok(Value::Object(map))
            }
        }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Result<Value, String> {
        let mut items = vec![];
        while let Some(line) = self.line() {
            if line.indent != indent || !is_item(line.text) {
                break;
            }
            self.next += 1;
            let rest = line.text[1..].trim_start();
            let inner = indent + (line.text.len() - rest.len());
            items.push(match split_key(rest) {
                Some((key, value)) => {
                    let mut map = Map::new();
                    self.entry(line, inner, depth + 1, (key, value), &mut map)?;
                    self.entries(inner, depth + 1, &mut map)?;
                    Value::Object(map)
                }
                None => self.value(line, indent, depth, rest)?,
            });
        }
        Ok(Value::Array(items))
    }

    fn entries(
        &mut self,
        indent: usize,
        depth: usize,
        map: &mut Map<String, Value>,
    ) -> Result<(), String> {
        while let Some(line) = self.line() {
            if line.indent != indent || is_item(line.text) {
                break;
            }
            let entry = split_key(line.text).ok_or_else(|| at(line, "expected `name: value`"))?;
            self.next += 1;
            self.entry(line, indent, depth, entry, map)?;
        }
        Ok(())
    }

    fn entry(
        &mut self,
        line: &'a Line<'a>,
        indent: usize,
        depth: usize,
        (key, value): (&str, &str),
        map: &mut Map<String, Value>,
    ) -> Result<(), String> {
        let value = self.value(line, indent, depth, value)?;
        match map.insert(key.trim().to_owned(), value) {
            None => Ok(()),
            Some(_) => Err(at(line, &format!("duplicate key `{}`", key.escape_debug()))),
        }
    }

    /// A value that stands on a line, or in the lines below if it is empty there.
    fn value(
        &mut self,
        line: &'a Line<'a>,
        indent: usize,
        depth: usize,
        text: &str,
    ) -> Result<Value, String> {
        if !text.is_empty() {
            return scalar(text).map_err(|error| at(line, &error));
        }
        let is_inside = |next: &&Line| {
            next.indent > indent
                || (next.indent == indent && is_item(next.text) && !is_item(line.text))
        };
        match self.line().filter(is_inside) {
            Some(next) => self.read(next.indent, depth + 1),
            None => Ok(Value::Null),
        }
    }
}

/// A value on one line.
fn scalar(text: &str) -> Result<Value, String> {
    if text.starts_with(['{', '[', '(', '"', '\'']) {
        return Flow::new(text).document();
    }
    if text.starts_with(['&', '*', '!', '|', '>', '%', '@', '`']) {
        return Err("anchors, tags and texts over several lines are not supported".to_owned());
    }
    if is_item(text) {
        return Err("a list that begins on the line of its name is not supported".to_owned());
    }
    if text.contains(": ") || text.ends_with(':') {
        return Err("a second `:` in a value; put the value between quotes".to_owned());
    }
    Ok(plain(text))
}

/// A value without quotes.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "None" => return Value::Null,
        "true" | "True" => return Value::Bool(true),
        "false" | "False" => return Value::Bool(false),
        _ => {}
    }
    let begins = text.trim_start_matches(['-', '+', '.']);
    if begins.starts_with(|c: char| c.is_ascii_digit()) {
        if let Ok(number) = text.parse::<i64>() {
            return Value::Number(number.into());
        }
        let number = text.parse().ok().and_then(Number::from_f64);
        if let Some(number) = number {
            return Value::Number(number);
        }
    }
    Value::String(text.to_owned())
}

/// Values with brackets and quotes.
struct Flow<'a> {
    text: &'a str,
    next: usize,
}

impl<'a> Flow<'a> {
    fn new(text: &'a str) -> Self {
        Self { text, next: 0 }
    }

    fn document(mut self) -> Result<Value, String> {
        let value = self.value(0)?;
        match self.peek() {
            None => Ok(value),
            Some(found) => Err(format!(
                "unexpected `{}` after the value",
                found.escape_debug()
            )),
        }
    }

    /// The next character that is not a space.
    fn peek(&mut self) -> Option<char> {
        let rest = &self.text[self.next..];
        self.next += rest.len() - rest.trim_start().len();
        self.text[self.next..].chars().next()
    }

    fn skip(&mut self, c: char) {
        self.next += c.len_utf8();
    }

    fn value(&mut self, depth: usize) -> Result<Value, String> {
        if depth > DEEPEST {
            return Err("nested too deeply".to_owned());
        }
        match self.peek() {
            None => Err("the value ends too early".to_owned()),
            Some('{') => self.mapping(depth),
            Some('[') => self.list(depth, '[', ']'),
            Some('(') => self.list(depth, '(', ')'),
            Some(quote @ ('"' | '\'')) => self.quoted(quote).map(Value::String),
            Some(_) => Ok(plain(self.word())),
        }
    }

    fn list(&mut self, depth: usize, open: char, close: char) -> Result<Value, String> {
        self.skip(open);
        let mut items = vec![];
        while !self.ends(close)? {
            items.push(self.value(depth + 1)?);
            self.separator(close)?;
        }
        Ok(Value::Array(items))
    }

    fn mapping(&mut self, depth: usize) -> Result<Value, String> {
        self.skip('{');
        let mut map = Map::new();
        while !self.ends('}')? {
            let key = match self.peek() {
                Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
                _ => self.word().to_owned(),
            };
            match self.peek() {
                Some(':') => self.skip(':'),
                _ => return Err(format!("no `:` after `{}`", key.escape_debug())),
            }
            let value = self.value(depth + 1)?;
            if map.insert(key.clone(), value).is_some() {
                return Err(format!("duplicate key `{}`", key.escape_debug()));
            }
            self.separator('}')?;
        }
        Ok(Value::Object(map))
    }

    /// Returns whether the list ends here, and skips its end.
    fn ends(&mut self, close: char) -> Result<bool, String> {
        match self.peek() {
            None => Err(format!("no `{close}`")),
            Some(c) if c == close => {
                self.skip(c);
                Ok(true)
            }
            Some(_) => Ok(false),
        }
    }

    fn separator(&mut self, close: char) -> Result<(), String> {
        match self.peek() {
            Some(',') => {
                self.skip(',');
                Ok(())
            }
            Some(c) if c == close => Ok(()),
            _ => Err(format!("expected `,` or `{close}`")),
        }
    }

    fn word(&mut self) -> &'a str {
        let rest = &self.text[self.next..];
        let end = rest
            .find([',', ':', ']', '}', ')', '\n'])
            .unwrap_or(rest.len());
        self.next += end;
        rest[..end].trim_end()
    }

    fn quoted(&mut self, quote: char) -> Result<String, String> {
        self.skip(quote);
        let mut value = String::new();
        let mut escaped = false;
        for (i, c) in self.text[self.next..].char_indices() {
            match c {
                _ if escaped => {
                    value.push(match c {
                        'n' => '\n',
                        't' => '\t',
                        other => other,
                    });
                    escaped = false;
                }
                '\\' => escaped = true,
                c if c == quote => {
                    self.next += i + c.len_utf8();
                    return Ok(value);
                }
                c => value.push(c),
            }
        }
        Err(format!("no closing {quote}"))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn yaml_of_a_configuration_file() {
        let text = "# a comment\nmodel:\n  _target_: a.b.C # which\n  sizes:\n  - 10\n  - 1\n  \
                    eps: 1.0e-05\n  none: null\n  names: [x, 'y z', {k: -1}]\n  list:\n    - a: 1\n      \
                    b: true\n    - plain\nempty:\ntext: \"a: # b\"\n";
        let expected = json!({
            "model": {
                "_target_": "a.b.C",
                "sizes": [10, 1],
                "eps": 1e-5,
                "none": null,
                "names": ["x", "y z", {"k": -1}],
                "list": [{"a": 1, "b": true}, "plain"],
            },
            "empty": null,
            "text": "a: # b",
        });
        assert_eq!(read(text).unwrap(), expected);
    }

    #[test]
    fn python_literals() {
        let text =
            "{'_target_': 'a.B', 'path': None, 'on': True, 'sizes': (2, 2), 'x': [],\n 'y': 0.5}";
        let expected = json!({
            "_target_": "a.B", "path": null, "on": true, "sizes": [2, 2], "x": [], "y": 0.5,
        });
        assert_eq!(read(text).unwrap(), expected);
        assert_eq!(read("a.b.C").unwrap(), json!("a.b.C"));
        let with_colons = "a: http://b:1/c\nd: 'e: f'\ng: -1";
        let expected = json!({"a": "http://b:1/c", "d": "e: f", "g": -1});
        assert_eq!(read(with_colons).unwrap(), expected);
    }

    #[test]
    fn what_is_not_supported_is_refused() {
        let deep = "[".repeat(100_000);
        for text in [
            "a: &x 1",
            "a: |\n  b",
            "a: 1\na: 2",
            "a: [1",
            "a: 1\n  b: 2",
            "{'a': 'b",
            "a\nb",
            "{a}",
            "\ta: 1",
            "a: \"b",
            &deep,
            "[1] 2",
            "a: !t b",
            "- - 1",
            "- -",
            "a: - 1",
            "a: b: c",
            "- a: b: c",
            "a: b:",
        ] {
            assert!(read(text).is_err(), "{text:.20}");
        }
    }
}
