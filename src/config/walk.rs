//! One file at a time: TOML text in, typed entries with their line out, and every problem of the file at once.
//!
//! It exists because a merged configuration has lost the lines and carets that errors must show.
//! It may not read files, merge, or compare one key with another.

use toml::Spanned;
use toml::de::{DeArray, DeTable, DeValue};

use super::problem::{Problem, line_of};
use super::schema::{KEYS, Key, Shape};

/// A value of a known key, of the right shape.
#[derive(Clone)]
pub(super) enum Leaf {
    Text(String),
    Flag(bool),
    Count(i64),
    List(Vec<String>),
    Tables(Vec<Table>),
}

/// One table of an array of tables.
#[derive(Clone)]
pub(super) struct Table {
    pub(super) origin: String,
    pub(super) entries: Vec<Entry>,
}

/// A key that a source sets.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) path: String,
    pub(super) leaf: Leaf,
    /// `file:line`, `environment variable NAME` or `default`.
    pub(super) origin: String,
}

/// What a file sets.
///
/// `file` is its name for messages. Every problem is added to `problems`; what is right is returned all the same.
pub(super) fn walk(file: &str, text: &str, problems: &mut Vec<Problem>) -> Vec<Entry> {
    let (root, errors) = DeTable::parse_recoverable(text);
    for e in &errors {
        // The message of the parser speaks of the grammar; it never quotes the text.
        let span = e.span().unwrap_or(text.len()..text.len());
        problems.push(Problem::in_text(file, text, span, format!("not valid TOML: {}", e.message())));
    }
    if !errors.is_empty() {
        // What a broken file seems to say would only add problems that are none.
        return Vec::new();
    }
    let mut walker = Walker { file, text, problems, out: Vec::new() };
    walker.table(root.get_ref(), "", KEYS);
    walker.out
}

struct Walker<'a> {
    file: &'a str,
    text: &'a str,
    problems: &'a mut Vec<Problem>,
    out: Vec<Entry>,
}

impl Walker<'_> {
    fn problem(&mut self, span: std::ops::Range<usize>, text: String, hint: Option<String>) {
        let mut problem = Problem::in_text(self.file, self.text, span, text);
        problem.hint = hint;
        self.problems.push(problem);
    }

    fn origin(&self, span: &std::ops::Range<usize>) -> String {
        format!("{}:{}", self.file, line_of(self.text, span.start))
    }

    fn table(&mut self, table: &DeTable<'_>, prefix: &str, keys: &'static [Key]) {
        for (name, value) in table {
            let path =
                if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
            let section = format!("{path}.");
            if let Some(key) = keys.iter().find(|k| k.path == path) {
                if let Some(leaf) = self.leaf(key, value) {
                    let origin = self.origin(&name.span());
                    self.out.push(Entry { path, leaf, origin });
                }
            } else if keys.iter().any(|k| k.path.starts_with(&section)) {
                match value.get_ref() {
                    DeValue::Table(inner) => self.table(inner, &path, keys),
                    other => self.problem(
                        name.span(),
                        format!("{path} is a section, not {}", kind_of(other)),
                        Some(format!("write [{path}] on a line of its own, its keys below")),
                    ),
                }
            } else {
                let (text, hint) = unknown(&path, prefix, keys);
                self.problem(name.span(), text, hint);
            }
        }
    }

    fn leaf(&mut self, key: &'static Key, value: &Spanned<DeValue<'_>>) -> Option<Leaf> {
        let wrong = |expected: &str| Err(format!("expected {expected}, found {}", kind_of(value.get_ref())));
        let result = match (key.shape, value.get_ref()) {
            (Shape::Tables(inner), DeValue::Array(items)) => return self.tables(key, inner, items),
            (Shape::Tables(_), _) => wrong("a list of tables"),
            (Shape::Urls, DeValue::Array(items)) => list(key, items),
            (Shape::Urls, _) => wrong("a list of texts such as [\"https://10.0.0.1:2380\"]"),
            (Shape::Flag, DeValue::Boolean(b)) => Ok(Leaf::Flag(*b)),
            (Shape::Flag, _) => wrong("true or false"),
            (Shape::Count { .. }, DeValue::Integer(n)) => {
                count(key, i64::from_str_radix(n.as_str(), n.radix()).ok()).map(Leaf::Count)
            }
            (Shape::Count { .. }, _) => wrong("a whole number"),
            (Shape::Period, DeValue::Integer(_)) => {
                Err("a length of time needs a unit, as in \"90s\" or \"2m\"".into())
            }
            (_, DeValue::String(s)) => key.check_text(s).map(|()| Leaf::Text(s.to_string())),
            _ => wrong("a text in quotes"),
        };
        match result {
            Ok(leaf) => Some(leaf),
            Err(why) => {
                self.problem(value.span(), format!("{}: {why}", key.path), None);
                None
            }
        }
    }

    fn tables(&mut self, key: &'static Key, inner: &'static [Key], items: &DeArray<'_>) -> Option<Leaf> {
        let mut tables = Vec::new();
        for item in items {
            let DeValue::Table(table) = item.get_ref() else {
                self.problem(
                    item.span(),
                    format!("{}: expected a table, found {}", key.path, kind_of(item.get_ref())),
                    None,
                );
                continue;
            };
            let before = self.problems.len();
            let outer = std::mem::take(&mut self.out);
            self.table(table, "", inner);
            let mut entries = std::mem::replace(&mut self.out, outer);
            let clean = self.problems.len() == before;
            for k in inner.iter().filter(|k| k.default.is_none()) {
                if clean && !entries.iter().any(|e| e.path == k.path) {
                    self.problem(item.span(), format!("an entry of {} has no {}", key.path, k.path), None);
                }
            }
            let origin = self.origin(&item.span());
            entries.sort_by_key(|e| inner.iter().position(|k| k.path == e.path));
            tables.push(Table { origin, entries });
        }
        Some(Leaf::Tables(tables))
    }
}

/// The value of a variable of the environment, for a key that is no list.
pub(super) fn from_text(key: &'static Key, text: &str) -> Result<Leaf, String> {
    match key.shape {
        Shape::Flag => match text {
            "true" => Ok(Leaf::Flag(true)),
            "false" => Ok(Leaf::Flag(false)),
            _ => Err(format!("expected true or false, found {text:?}")),
        },
        Shape::Count { .. } => count(key, text.parse().ok()).map(Leaf::Count),
        Shape::Tables(_) | Shape::Urls => Err("a list can be set in a file only".into()),
        _ => key.check_text(text).map(|()| Leaf::Text(text.to_owned())),
    }
}

fn count(key: &Key, n: Option<i64>) -> Result<i64, String> {
    let Shape::Count { min, max } = key.shape else { return Err("it is no number".into()) };
    n.filter(|n| (min..=max).contains(n)).ok_or_else(|| format!("expected a whole number from {min} to {max}"))
}

fn list(key: &Key, items: &DeArray<'_>) -> Result<Leaf, String> {
    let mut texts = Vec::new();
    for item in items {
        let DeValue::String(s) = item.get_ref() else {
            return Err(format!("expected texts in the list, found {}", kind_of(item.get_ref())));
        };
        key.check_text(s)?;
        texts.push(s.to_string());
    }
    if texts.is_empty() { Err("the list is empty".into()) } else { Ok(Leaf::List(texts)) }
}

fn kind_of(value: &DeValue<'_>) -> &'static str {
    match value {
        DeValue::String(_) => "a text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a table",
    }
}

/// Message and hint for a key that does not exist.
fn unknown(path: &str, prefix: &str, keys: &[Key]) -> (String, Option<String>) {
    let name = path.rsplit('.').next().unwrap_or(path);
    let text = match prefix {
        "" => format!("unknown key {name:?}"),
        _ => format!("unknown key {name:?} in [{prefix}]"),
    };
    let hint = nearest(path, prefix, keys).map(|near| format!("did you mean {near:?}?"));
    (text, hint)
}

/// The valid key that `path` most likely stands for: a neighbour of nearly the same name, or one of exactly that
/// name elsewhere.
pub(super) fn nearest(path: &str, prefix: &str, keys: &[Key]) -> Option<String> {
    const LEAST_LIKENESS: f64 = 0.6;
    let name = path.rsplit('.').next().unwrap_or(path);
    let elsewhere = || keys.iter().find(|k| k.path.rsplit('.').next() == Some(name)).map(|k| k.path.to_owned());
    keys.iter()
        .filter_map(|k| match prefix {
            "" => Some(k.path),
            _ => k.path.strip_prefix(prefix)?.strip_prefix('.'),
        })
        .filter_map(|rest| rest.split('.').next())
        .map(|near| (strsim::normalized_damerau_levenshtein(name, near), near))
        .filter(|(likeness, _)| *likeness >= LEAST_LIKENESS)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, near)| near.to_owned())
        .or_else(elsewhere)
}
