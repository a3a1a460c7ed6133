//! Seeds that are text: the body of each kind of record, configurations, and documents of S3.

/// Which kind the target `records` takes it for, name, body. SHA and NONCE stand for digits.
pub const RECORDS: &[(u8, &str, &str)] = &[
    (
        0,
        "manifest",
        r#"{"name":"etcd-snapshot-2024-01-15T10-30-00Z","kind":"snapshot","origin":"scheduled","generation":3,"cluster_id":"c1","member_id":"a1","node":"cp1","etcd_version":"3.5.30","storage_version":"3.6.0","revision":45,"compact_revision":20,"raw":{"size":24608,"sha256":"SHA"},"stored":{"size":900,"sha256":"SHA"},"compression":"gzip","encryption":[],"started":"2024-01-15T10:30:00Z","ended":"2024-01-15T10:30:01Z","quorum":true,"hash_kv":{"hash":7,"compact_revision":20,"revision":45},"tags":{"a":"b"},"token_fingerprint":"0011223344556677","auth":false,"alarms":["NOSPACE"],"voters":[{"name":"cp1","id":"a1","peer_urls":["http://10.0.0.1:2380"]}]}"#,
    ),
    (
        1,
        "plan",
        r#"{"generation":3,"cause":"forced","request":"r1","snapshot":{"name":"s-1","generation":2,"revision":45,"raw_sha256":"SHA","raw_size":24608},"excluded":[{"name":"s-2","why":"damaged"}],"voters":[{"name":"cp1","peer_urls":["http://10.0.0.1:2380"]},{"name":"cp2","peer_urls":["https://[::1]:2380"]}],"token":"t","cluster_id":"c1","reset":true,"bump_revision":1000000000,"seed":"cp1","created":"2024-01-15T10:30:00Z","nonce":"NONCE"}"#,
    ),
    (
        2,
        "started",
        r#"{"node":"cp1","generation":3,"purpose":"apply","by":"cp1","nonce":"NONCE","at":"2024-01-15T10:30:00Z"}"#,
    ),
    (
        3,
        "voters",
        r#"{"number":1,"voters":[{"name":"cp1","peer_urls":["http://10.0.0.1:2380"]}],"confirmed":false,"cluster_id":"c1","by":"cp1","nonce":"NONCE"}"#,
    ),
    (4, "lost", r#"{"generation":3,"by":"cp1","reason":"fire","at":"2024-01-15T10:30:00Z","nonce":"NONCE"}"#),
    (
        5,
        "roll-call",
        r#"{"node":"cp1","peer_urls":["http://10.0.0.1:2380"],"state":{"stopped":"r1"},"remembers":2,"remembers_cluster":true,"waiting_seconds":9,"nonce":"NONCE"}"#,
    ),
    (6, "heartbeat", r#"{"generation":3,"cluster_id":"c1","by":"cp1","revision":45,"nonce":"NONCE"}"#),
    (7, "hold", r#"{"name":"s-1","reason":"audit","since":"2024-01-15T10:30:00Z","nonce":"NONCE"}"#),
    (
        8,
        "verified",
        r#"{"name":"s-1","stored_sha256":"SHA","ok":false,"problem":"damaged","checked":"2024-01-15T10:30:00Z","node":"cp1","revision":45,"keys":3,"hash_kv":{"hash":7,"compact_revision":20,"revision":45},"nonce":"NONCE"}"#,
    ),
    (
        9,
        "envelope",
        r#"{"format":1,"kind":"plan","cluster":"fuzz","generation":3,"token_fingerprint":"0011223344556677","body":{"a":[1,null,"\u00e9",{"z":true}]},"hmac":"SHA"}"#,
    ),
];

/// What the target `config` takes it for, name, text.
pub const CONFIGURATIONS: &[(u8, &str, &str)] = &[
    (
        0,
        "whole",
        r#"[cluster]
name = "prod"
token_file = "/etc/lifeboat/token"
members = [{ name = "cp1", peer_urls = ["https://10.0.0.1:2380"], client_urls = ["https://10.0.0.1:2379"] }]
[node]
name = "cp1"
[etcd]
managed_by = "kubeadm"
endpoint = "https://127.0.0.1:2379"
ca_file = "/etc/ca.crt"
cert_file = "/etc/a.crt"
key_file = "/etc/a.key"
[store]
backend = "dir"
[store.dir]
path = "/srv/snapshots"
[[schedule]]
name = "hourly"
cron = "0 * * * *"
timezone = "Europe/Berlin"
compression = "zstd"
[[schedule]]
name = "daily"
cron = "@every 12h"
run_on = "every-member"
"#,
    ),
    (
        1,
        "drop-in",
        r#"node.state_dir = "/srv/lifeboat"
[bootstrap]
peer_wait = "90s"
snapshot = "s-2024-01-15T10-30-00Z"
"#,
    ),
    (
        2,
        "variables",
        r#"STORE__S3__BUCKET=other
BOOTSTRAP__FALLBACK=2
NODE__NAME=a
STORE__S3__INSECURE=true
"#,
    ),
];

/// Name and text.
pub const DOCUMENTS: &[(&str, &str)] = &[
    (
        "listing",
        r#"<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>b</Name><EncodingType>url</EncodingType><IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken><Contents><Key>a+b%2Bc%C3%A9</Key><Size>3</Size><ETag>&quot;e&quot;</ETag><LastModified>2024-01-01T00:00:00Z</LastModified></Contents><Contents><Key>b</Key><Size>0</Size></Contents></ListBucketResult>"#,
    ),
    (
        "last-page",
        r#"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key><![CDATA[x&y]]></Key><Size>18446744073709551615</Size></Contents><CommonPrefixes><Prefix>p/</Prefix></CommonPrefixes></ListBucketResult>"#,
    ),
    (
        "error",
        r#"<?xml version="1.0" encoding="UTF-8"?><Error><Code>AuthorizationHeaderMalformed</Code><Message>region &amp; more</Message><Region>eu-west-2</Region><Endpoint>h</Endpoint><ServerTime>2024-01-01T00:00:00Z</ServerTime></Error>"#,
    ),
    (
        "upload",
        r#"<InitiateMultipartUploadResult xmlns="x"><Bucket>b</Bucket><Key>k</Key><UploadId>u-1</UploadId></InitiateMultipartUploadResult>"#,
    ),
];
