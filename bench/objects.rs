//! Objects as an API server stores them: pods, events, custom resources and secrets, the same ones for the same number.
//! About half of the bytes do not compress.

use std::fmt::Write;

/// A key and its value.
pub(crate) struct Object {
    pub(crate) key: String,
    pub(crate) value: Vec<u8>,
}

/// SplitMix64: the same numbers everywhere.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn hex(&mut self, out: &mut String, words: usize) {
        for _ in 0..words {
            let _ = write!(out, "{:016x}", self.next());
        }
    }

    fn bytes(&mut self, out: &mut Vec<u8>, words: usize) {
        for _ in 0..words {
            out.extend(self.next().to_le_bytes());
        }
    }
}

fn metadata(numbers: &mut Numbers, kind: &str, name: &str, namespace: u64) -> String {
    let mut uid = String::new();
    numbers.hex(&mut uid, 2);
    format!(
        r#"{{"kind":"{kind}","apiVersion":"v1","metadata":{{"name":"{name}","namespace":"team-{namespace}","uid":"{uid}","generation":1,"creationTimestamp":"2026-0{}-1{}T0{}:4{}:00Z","labels":{{"app.kubernetes.io/name":"web","app.kubernetes.io/instance":"web-{namespace}","app.kubernetes.io/managed-by":"Helm","pod-template-hash":"{:08x}"}},"managedFields":[{{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","fieldsType":"FieldsV1","fieldsV1":{{"f:metadata":{{"f:generateName":{{}},"f:labels":{{".":{{}},"f:app.kubernetes.io/name":{{}},"f:pod-template-hash":{{}}}}}}}}}}]}},"#,
        numbers.next() % 9 + 1,
        numbers.next() % 10,
        numbers.next() % 10,
        numbers.next() % 10,
        numbers.next() as u32,
    )
}

/// Object number `n`.
pub(crate) fn object(n: u64) -> Object {
    let mut numbers = Numbers(n);
    let namespace = numbers.next() % 200;
    let kind = n % 8;
    let (group, name) = match kind {
        0..=2 => ("pods", format!("web-{:010x}-{n}", numbers.next() >> 24)),
        3 | 4 => ("events", format!("web-{n}.{:016x}", numbers.next())),
        5 => ("example.com/certificates", format!("certificate-{n}")),
        6 => ("leases/kube-node-lease", format!("node-{n}")),
        _ => ("secrets", format!("sh.helm.release.v1.web-{n}.v3")),
    };
    let key = format!("/registry/{group}/team-{namespace}/{name}");
    let mut text = metadata(&mut numbers, group, &name, namespace);
    match kind {
        0..=2 => {
            for container in 0..3 {
                let mut digest = String::new();
                numbers.hex(&mut digest, 4);
                let _ = write!(
                    text,
                    r#""spec{container}":{{"containers":[{{"name":"web","image":"registry.example.com/team/web@sha256:{digest}","ports":[{{"containerPort":8080,"protocol":"TCP"}}],"resources":{{"limits":{{"cpu":"500m","memory":"512Mi"}},"requests":{{"cpu":"100m","memory":"128Mi"}}}},"volumeMounts":[{{"name":"kube-api-access","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}}],"terminationMessagePath":"/dev/termination-log","imagePullPolicy":"IfNotPresent"}}],"restartPolicy":"Always","terminationGracePeriodSeconds":30,"dnsPolicy":"ClusterFirst","nodeName":"node-{}"}},"#,
                    numbers.next() % 500
                );
            }
        }
        3 | 4 => text.push_str(
            r#""reason":"Unhealthy","message":"Readiness probe failed: HTTP probe failed with statuscode: 503","source":{"component":"kubelet"},"type":"Warning","count":7}"#,
        ),
        _ => text.push_str(r#""type":"Opaque","data":"#),
    }
    let mut value = text.into_bytes();
    // Certificates, release archives, what is encrypted at rest.
    let random = match kind {
        0..=2 => 60,
        3 | 4 => 10,
        5 => 200,
        6 => 20,
        _ => 700,
    };
    numbers.bytes(&mut value, random);
    Object { key, value }
}
