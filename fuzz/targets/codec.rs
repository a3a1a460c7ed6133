//! Compressed streams: never more than the limit comes out, the size of reads changes nothing, and what was decoded is encoded and
//! decoded to the same again.

use std::io::{ErrorKind, Read};

use etcd_lifeboat::codec::{Decoder, detect, encode};
use etcd_lifeboat::core::model::Compression;

/// Above it a repeated encoding would only cost time.
const WORTH_ENCODING: usize = 2_000;

pub fn run(data: &[u8]) -> bool {
    let [what, limit, piece, stored @ ..] = data else { return false };
    let compression = [Compression::Gzip, Compression::Zstd, Compression::None][usize::from(*what % 3)];
    let limit = u64::from(*limit).pow(2) * 4;
    let whole = decode(compression, stored, limit, 64 << 10);
    let pieces = decode(compression, stored, limit, usize::from(*piece) + 1);
    // Before a failure, more or less of what was sound may have come out.
    assert_eq!(whole.1.is_ok(), pieces.1.is_ok(), "the size of reads changes the outcome");
    let (less, more) = if whole.0.len() < pieces.0.len() { (&whole.0, &pieces.0) } else { (&pieces.0, &whole.0) };
    assert!(more.starts_with(less) && (whole.1.is_err() || less == more), "the size of reads changes what comes out");
    if let Ok(found) = detect("x.bin", stored) {
        assert!(stored.len() > 1 && (found != Compression::Gzip || stored.starts_with(&[0x1f, 0x8b])));
    }
    let (raw, ended) = whole;
    assert!(raw.len() as u64 <= limit, "{} bytes came out of a stream limited to {limit}", raw.len());
    let accepted = ended.is_ok();
    if accepted && raw.len() <= WORTH_ENCODING {
        let stored = encode(compression, &raw).expect("memory");
        assert_eq!(decode(compression, &stored, raw.len() as u64, 1000), (raw, Ok(())));
    }
    accepted
}

/// What came out, and how it ended.
fn decode(compression: Compression, stored: &[u8], limit: u64, piece: usize) -> (Vec<u8>, Result<(), ErrorKind>) {
    let mut decoder = Decoder::new(compression, stored, limit);
    let (mut out, mut buffer) = (Vec::new(), vec![0; piece]);
    loop {
        match decoder.read(&mut buffer) {
            Ok(0) => return (out, Ok(())),
            Ok(n) => out.extend_from_slice(&buffer[..n]),
            Err(e) => return (out, Err(e.kind())),
        }
    }
}
