//! Ids of members and clusters, as etcd computes them for an initial cluster
//! (`server/etcdserver/api/membership/{member,cluster}.go`).

use sha1::{Digest, Sha1};

use crate::core::model::{ClusterId, MemberId};
use crate::error::Result;

use super::urls::{InitialMember, normalize};

fn first_eight(digest: &[u8]) -> u64 {
    digest.iter().take(8).fold(0, |n, b| n << 8 | u64::from(*b))
}

/// The id of a member: SHA-1 over its peer URLs, sorted, and the cluster token. The name does not count.
pub fn member_id(peer_urls: &[String], token: &str) -> MemberId {
    let mut sorted: Vec<_> = peer_urls.iter().collect();
    sorted.sort();
    let mut hash = Sha1::new();
    for url in sorted {
        hash.update(url.as_bytes());
    }
    hash.update(token.as_bytes());
    MemberId(first_eight(&hash.finalize()))
}

/// The id of the cluster that these members form: SHA-1 over their ids in ascending order.
pub fn cluster_id_of(members: &[MemberId]) -> ClusterId {
    let mut sorted = members.to_vec();
    sorted.sort();
    let mut hash = Sha1::new();
    for id in sorted {
        hash.update(id.0.to_be_bytes());
    }
    ClusterId(first_eight(&hash.finalize()))
}

/// The id of the cluster that `members` form under `token`.
///
/// # Errors
/// `Config` when the members are not a valid initial cluster.
pub fn cluster_id(members: &[InitialMember], token: &str) -> Result<ClusterId> {
    let members = normalize(members.to_vec())?;
    let ids: Vec<_> = members.iter().map(|m| member_id(&m.peer_urls, token)).collect();
    Ok(cluster_id_of(&ids))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::datadir::urls::parse_initial_cluster;

    /// The expected ids are what etcdutl 3.5.30 and etcd 3.4.23 log for the same arguments.
    #[test]
    fn ids_are_those_of_etcd() {
        let url = |u: &str| vec![u.to_owned()];
        assert_eq!(member_id(&url("http://localhost:2380"), "etcd-cluster").to_string(), "8e9e05c52164694d");
        let one = parse_initial_cluster("default=http://localhost:2380").unwrap();
        assert_eq!(cluster_id(&one, "etcd-cluster").unwrap().to_string(), "cdf818194e3a8c32");
        assert_eq!(member_id(&url("http://127.0.0.1:1?x=a&b"), "etcd-cluster").to_string(), "48c48f78412f1fc8");
        let odd = parse_initial_cluster("a&b<c>=http://127.0.0.1:1?x=a&b").unwrap();
        assert_eq!(cluster_id(&odd, "etcd-cluster").unwrap().to_string(), "d17fcb62527efd67");
    }
}
