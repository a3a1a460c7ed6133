//! Puts the layers over each other: defaults, the main file, `conf.d` by name, the environment; later ones win.
//!
//! It exists to hold the rules of merging in one place. Tables merge key by key and `cluster.members` is replaced as
//! a whole. A `[[schedule]]` of a later file replaces the one of the same name, where it stands; others are added.
//! The environment sets single values, as `LIFEBOAT_STORE__S3__BUCKET` for `store.s3.bucket`, never lists.
//! It may not read files or judge values.

use std::collections::HashMap;

use config::{Config, ConfigError, Map, Source as Layered, Value, ValueKind};

use super::problem::Problem;
use super::schema::{KEYS, Key, Shape};
use super::walk::{Entry, Leaf, Table, from_text, nearest, walk};

const PREFIX: &str = "LIFEBOAT_";

/// Variables with our prefix that are no keys: they name the configuration itself, or are read by other parts.
const OTHER_VARIABLES: [&str; 1] = ["LIFEBOAT_CONFIG"];

/// Merges what each file sets, in order, with the defaults below and the environment above.
pub(super) fn merge(
    files: Vec<Vec<Entry>>,
    environment: Vec<Entry>,
    problems: &mut Vec<Problem>,
) -> Result<Value, ConfigError> {
    let mut builder = Config::builder().add_source(Layer(defaults(problems)));
    let mut schedules: Vec<Table> = Vec::new();
    for mut entries in files {
        for entry in &mut entries {
            if let (Leaf::Tables(tables), "schedule") = (&mut entry.leaf, entry.path.as_str()) {
                add_schedules(&mut schedules, tables, problems);
                tables.clone_from(&schedules);
            }
        }
        builder = builder.add_source(Layer(entries));
    }
    Ok(builder.add_source(Layer(environment)).build()?.cache)
}

fn add_schedules(all: &mut Vec<Table>, more: &[Table], problems: &mut Vec<Problem>) {
    let mut of_this_file: HashMap<String, &str> = HashMap::new();
    for table in more {
        let name = schedule_name(table);
        if let Some(first) = of_this_file.insert(name.clone(), &table.origin) {
            problems.push(
                Problem::new(&table.origin, format!("a second [[schedule]] named {name:?}; the first is at {first}"))
                    .hint("give each schedule a name of its own"),
            );
        }
        match all.iter_mut().find(|t| schedule_name(t) == name) {
            Some(old) => old.clone_from(table),
            None => all.push(table.clone()),
        }
    }
}

fn schedule_name(table: &Table) -> String {
    let named = table.entries.iter().find(|e| e.path == "name");
    match named.map(|e| &e.leaf) {
        Some(Leaf::Text(name)) => name.clone(),
        _ => "etcd-snapshot".to_owned(),
    }
}

/// Entries of the variables that start with `LIFEBOAT_`.
pub(super) fn environment(env: &[(String, String)], problems: &mut Vec<Problem>) -> Vec<Entry> {
    let mut entries = Vec::new();
    for (name, value) in env {
        let Some(rest) = name.strip_prefix(PREFIX).filter(|_| !OTHER_VARIABLES.contains(&name.as_str())) else {
            continue;
        };
        let path = rest.to_ascii_lowercase().replace("__", ".");
        let origin = format!("environment variable {name}");
        let Some(key) = KEYS.iter().find(|k| k.path == path) else {
            let mut problem = Problem::new(&origin, format!("there is no key {path:?}"));
            let section = path.rsplit_once('.').map_or("", |(section, _)| section);
            // A single underscore where two belong is the usual slip.
            let flat = |p: &str| p.replace(['.', '_'], "");
            let near = KEYS.iter().find(|k| flat(k.path) == flat(&path)).map(|k| k.path.to_owned()).or_else(|| {
                nearest(&path, section, KEYS).map(|near| match near.contains('.') || section.is_empty() {
                    true => near,
                    false => format!("{section}.{near}"),
                })
            });
            problem.hint =
                near.map(|near| format!("did you mean {PREFIX}{}?", near.replace('.', "__").to_ascii_uppercase()));
            problems.push(problem);
            continue;
        };
        match from_text(key, value) {
            Ok(leaf) => entries.push(Entry { path, leaf, origin }),
            Err(why) => problems.push(Problem::new(&origin, format!("{path}: {why}"))),
        }
    }
    entries
}

/// The defaults, parsed and checked as a file would be.
pub(super) fn defaults(problems: &mut Vec<Problem>) -> Vec<Entry> {
    let text: String = default_lines(KEYS);
    let mut entries = walk("default", &text, problems);
    entries.iter_mut().for_each(|e| e.origin = "default".to_owned());
    entries
}

fn default_lines(keys: &[Key]) -> String {
    keys.iter().filter_map(|k| k.default.map(|d| format!("{} = {d}\n", k.path))).collect()
}

/// One layer, as the `config` crate wants it.
#[derive(Clone)]
struct Layer(Vec<Entry>);

// Its content may be secret.
impl std::fmt::Debug for Layer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Layer({} keys)", self.0.len())
    }
}

impl Layered for Layer {
    fn clone_into_box(&self) -> Box<dyn Layered + Send + Sync> {
        Box::new(self.clone())
    }

    fn collect(&self) -> Result<Map<String, Value>, ConfigError> {
        Ok(self.0.iter().map(|e| (e.path.clone(), value(e))).collect())
    }
}

fn value(entry: &Entry) -> Value {
    let origin = Some(&entry.origin);
    let kind = match &entry.leaf {
        Leaf::Text(s) => ValueKind::String(s.clone()),
        Leaf::Flag(b) => ValueKind::Boolean(*b),
        Leaf::Count(n) => ValueKind::I64(*n),
        Leaf::List(texts) => {
            ValueKind::Array(texts.iter().map(|s| Value::new(origin, ValueKind::String(s.clone()))).collect())
        }
        Leaf::Tables(tables) => ValueKind::Array(tables.iter().map(|t| table_value(&entry.path, t)).collect()),
    };
    Value::new(origin, kind)
}

/// A table of an array, with what it leaves out filled in.
fn table_value(path: &str, table: &Table) -> Value {
    let inner = KEYS.iter().find(|k| k.path == path).map(|k| k.shape);
    let mut map = Map::new();
    if let Some(Shape::Tables(keys)) = inner {
        let mut fields = Vec::new();
        for key in keys {
            let default = key.default.and_then(|d| d.strip_prefix('"')?.strip_suffix('"'));
            if let Some(leaf) = default.and_then(|d| from_text(key, d).ok()) {
                fields.push(Entry { path: key.path.to_owned(), leaf, origin: "default".to_owned() });
            }
        }
        fields.extend(table.entries.iter().cloned());
        map.extend(fields.iter().map(|e| (e.path.clone(), value(e))));
    }
    Value::new(Some(&table.origin), ValueKind::Table(map))
}
