//! An edit of an image: what was sound stays sound and holds exactly what a map would hold; a refused edit changes nothing.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::Path;

use etcd_lifeboat::bolt::check::check;
use etcd_lifeboat::bolt::editor::{Edit, Items, apply};
use etcd_lifeboat::bolt::reader::Image;
use etcd_lifeboat::error::Kind;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::image::{Collect, mend};

pub fn run(data: &[u8]) -> bool {
    let [count, len, what, rest @ ..] = data else { return false };
    let mut image = rest.to_vec();
    mend(&mut image);
    let file = File::from(memfd_create(c"image", MFdFlags::MFD_CLOEXEC).expect("a file in memory"));
    file.write_all_at(&image, 0).expect("memory");
    let before = content(&file);
    let mut model = before.clone();

    let items: Items = (0..*count % 64).map(|n| (vec![0xff, *what, n], vec![n; usize::from(*len) * 4])).collect();
    let name = [&b"key"[..], b"meta", b"new"][usize::from(*what % 3)];
    let mut edit = Edit::default();
    match what / 3 % 3 {
        0 => {
            edit.append(name, items.clone());
            if let Some(all) = &mut model {
                all.entry(name.to_vec()).or_default().extend(items);
            }
        }
        1 => {
            edit.replace(name, items.clone());
            if let Some(all) = &mut model {
                all.insert(name.to_vec(), items);
            }
        }
        _ => {
            edit.remove(name);
            if let Some(all) = &mut model {
                all.remove(name);
            }
        }
    }
    match apply(&file, Path::new("image"), &edit) {
        Ok(()) if before.is_some() => {
            assert_eq!(content(&file), model, "the edit did something else");
            assert!(edges_agree(&file), "the meta records disagree");
            true
        }
        Ok(()) => false,
        Err(e) => {
            assert!(matches!(e.kind(), Kind::Verification | Kind::Internal), "{e:?}");
            assert_eq!(content(&file), before, "a refused edit changed something: {e:?}");
            false
        }
    }
}

type Buckets = std::collections::BTreeMap<Vec<u8>, Items>;

/// What is in it; `None` when it is not sound, or holds buckets in buckets, which etcd never makes.
fn content(file: &File) -> Option<Buckets> {
    let mut all = Collect::default();
    check(&Image::new(file, "image").ok()?, &mut all).ok()?;
    (!all.nested).then_some(all.buckets)
}

/// After an edit both meta records lead to the new state.
fn edges_agree(file: &File) -> bool {
    let mut bytes = Vec::new();
    let mut from_the_start = file;
    std::io::Seek::rewind(&mut from_the_start).expect("memory");
    from_the_start.read_to_end(&mut bytes).expect("memory");
    let newest = Image::new(bytes.as_slice(), "image").map(|i| *i.meta()).expect("sound a moment ago");
    [0, newest.page_size as usize].into_iter().all(|page| {
        let mut damaged = bytes.clone();
        damaged[page + 20] ^= 1;
        Image::new(damaged.as_slice(), "image").is_ok_and(|i| i.meta().root == newest.root)
    })
}
