//! Images whose meta records are made valid, so that what comes behind their checksum is reached.

use std::collections::BTreeMap;

use etcd_lifeboat::bolt::check::Visitor;
use etcd_lifeboat::bolt::editor::Items;
use etcd_lifeboat::error::Result;

/// Puts the right checksum (FNV-1a, 64 bits) into both meta records.
pub(super) fn mend(image: &mut [u8]) {
    let size = image.get(24..28).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes) as usize;
    for page in [0, size] {
        let Some(record) = image.get_mut(page..).and_then(|p| p.get_mut(16..80)) else { continue };
        let (record, sum) = record.split_at_mut(56);
        let fnv = |h: u64, b: &u8| (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3);
        sum.copy_from_slice(&record.iter().fold(0xcbf2_9ce4_8422_2325, fnv).to_le_bytes());
    }
}

/// Everything that a check passes.
#[derive(Default)]
pub(super) struct Collect {
    pub(super) buckets: BTreeMap<Vec<u8>, Items>,
    pub(super) nested: bool,
    now: Vec<u8>,
}

impl Visitor for Collect {
    fn bucket(&mut self, name: &[u8], nesting: usize) -> Result<()> {
        self.nested |= nesting > 0;
        self.now = name.to_vec();
        self.buckets.entry(self.now.clone()).or_default();
        Ok(())
    }

    fn item(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        self.buckets.entry(self.now.clone()).or_default().insert(key.to_vec(), value.to_vec());
        Ok(())
    }
}
