//! A table of all combinations as a decision tree in text.

use std::collections::HashMap;

use super::facts::Page;

/// One line for each path through the tree. Values that lead to the same are joined; a fact that changes nothing is left out.
pub(crate) fn lines(page: &Page, leaves: &[u32], names: &[String]) -> Vec<String> {
    // From the leaves up: each level's nodes as the tuple of their children.
    let mut levels: Vec<Vec<Vec<u32>>> = Vec::new();
    let mut ids = leaves.to_vec();
    for dimension in page.dimensions.iter().rev() {
        let mut known: HashMap<Vec<u32>, u32> = HashMap::new();
        let mut nodes: Vec<Vec<u32>> = Vec::new();
        ids = ids
            .chunks(dimension.values.len())
            .map(|children| {
                *known.entry(children.to_vec()).or_insert_with(|| {
                    nodes.push(children.to_vec());
                    nodes.len() as u32 - 1
                })
            })
            .collect();
        levels.push(nodes);
    }
    levels.reverse();
    let mut all = Vec::new();
    walk(page, &levels, names, 0, ids[0], &mut Vec::new(), &mut all);
    all
}

fn walk(
    page: &Page,
    levels: &[Vec<Vec<u32>>],
    names: &[String],
    depth: usize,
    node: u32,
    path: &mut Vec<String>,
    all: &mut Vec<String>,
) {
    if depth == levels.len() {
        let facts = if path.is_empty() { "anything".to_owned() } else { path.join(", ") };
        all.push(format!("{facts} => {}", names[node as usize]));
        return;
    }
    let dimension = &page.dimensions[depth];
    let children = &levels[depth][node as usize];
    let mut branches: Vec<(u32, Vec<&str>)> = Vec::new();
    for (value, child) in dimension.values.iter().zip(children) {
        match branches.iter_mut().find(|(known, _)| known == child) {
            Some((_, values)) => values.push(value),
            None => branches.push((*child, vec![value])),
        }
    }
    let decides = branches.len() > 1;
    for (child, values) in branches {
        if decides {
            path.push(format!("{} {}", dimension.name, values.join("|")));
        }
        walk(page, levels, names, depth + 1, child, path, all);
        if decides {
            path.pop();
        }
    }
}
