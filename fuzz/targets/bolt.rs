//! A bolt image: the reader, the check, what etcd keeps in it, HashKV, and the index of the same image as a stream.
//!
//! A sound image tells the same whichever way it is read.

use etcd_lifeboat::bolt::check::check;
use etcd_lifeboat::bolt::reader::Image;
use etcd_lifeboat::core::model::Revision;
use etcd_lifeboat::datadir::hash::hash_kv;
use etcd_lifeboat::datadir::inspect_file::Content;
use etcd_lifeboat::datadir::stream_index::{RevisionIndex, StreamFacts};
use etcd_lifeboat::error::{Kind, Result};

use super::image::{Collect, mend};

pub fn run(data: &[u8]) -> bool {
    let [flags, rest @ ..] = data else { return false };
    let mut bytes = rest.to_vec();
    if flags & 1 == 0 {
        mend(&mut bytes);
    }
    let revision = read(&bytes).inspect_err(|e| assert_eq!(e.kind(), Kind::Verification, "{e:?}")).ok();
    let whole = stream(&bytes, bytes.len().max(1));
    let pieces = stream(&bytes, usize::from(flags >> 1) * 29 + 79);
    match (&whole, &pieces) {
        (Ok(a), Ok(b)) => assert_eq!(a.revision, b.revision, "pieces change the facts"),
        (Err(a), Err(b)) => assert_eq!((a.kind(), b.kind()), (Kind::Verification, Kind::Verification), "{a:?} {b:?}"),
        _ => panic!("as one piece {whole:?}, in pieces {pieces:?}"),
    }
    if let (Some(revision), Ok(facts)) = (revision, whole) {
        assert_eq!(facts.revision, revision, "the stream tells another revision than the file");
    }
    revision.is_some()
}

/// Reads all there is to read. The revision, when the image is sound.
fn read(bytes: &[u8]) -> Result<Revision> {
    let image = Image::new(bytes, "image")?;
    for (_, bucket) in image.buckets(&mut image.seen())? {
        let _ = image.last_key(&bucket)?;
        let _ = image.right_edge(&bucket)?;
    }
    let mut all = Collect::default();
    let structure = check(&image, &mut all)?;
    assert!(structure.reachable_pages <= structure.pages);
    for (name, bucket) in image.buckets(&mut image.seen())? {
        if !all.nested {
            assert_eq!(image.last_key(&bucket)?.as_ref(), all.buckets[&name].keys().next_back(), "the last key");
        }
    }
    let mut content = Content::new();
    check(&image, &mut content)?;
    let content = content.finish(&image)?;
    assert!(content.live_keys <= content.total_keys);
    hash_kv(&image, content.revision, content.small.compact_revision.map_or(Revision(0), Revision))?;
    Ok(content.revision)
}

fn stream(bytes: &[u8], size: usize) -> Result<StreamFacts> {
    let mut index = RevisionIndex::new();
    // A file may be longer than its image; a stream may not.
    let len = Image::new(bytes, "image").map_or(bytes.len() as u64, |i| i.image_len());
    let image = bytes.get(..usize::try_from(len).unwrap_or(usize::MAX)).unwrap_or(bytes);
    image.chunks(size).try_for_each(|c| index.push(c))?;
    index.finish()
}
