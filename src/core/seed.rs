//! Which of the waiting nodes tries first. Rank decides no more than that: safety comes from the create-only plan.

use super::model::NodeName;

/// A node that could be the seed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SeedCandidate {
    /// Its name.
    pub node: NodeName,
    /// Seconds since its first entry in the roll call, by the store's clock.
    pub waiting_seconds: u64,
}

/// The candidates in the order in which they try: longest waiting first, then by name. A total order, the same on every node that sees the same entries.
pub fn rank(mut candidates: Vec<SeedCandidate>) -> Vec<NodeName> {
    candidates.sort_by(|a, b| b.waiting_seconds.cmp(&a.waiting_seconds).then_with(|| a.node.cmp(&b.node)));
    candidates.into_iter().map(|c| c.node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rank_does_not_depend_on_the_order_of_the_listing(
            mut ages in proptest::collection::btree_map("[a-z]{1,4}", 0u64..4, 1..6),
            rotation in 0usize..6,
        ) {
            let all: Vec<SeedCandidate> = std::mem::take(&mut ages)
                .into_iter()
                .map(|(n, waiting_seconds)| SeedCandidate { node: NodeName::new(&n).unwrap(), waiting_seconds })
                .collect();
            let mut rotated = all.clone();
            rotated.rotate_left(rotation % all.len());
            let ranked = rank(all.clone());
            prop_assert_eq!(&ranked, &rank(rotated));
            let oldest = all.iter().map(|c| c.waiting_seconds).max().unwrap();
            let first = all.iter().find(|c| c.node == ranked[0]).unwrap();
            prop_assert_eq!(first.waiting_seconds, oldest);
        }
    }
}
