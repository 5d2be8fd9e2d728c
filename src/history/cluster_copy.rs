//! Copies of records beside the object: a ConfigMap with the last ten runs, each a compressed file of events.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use k8s_openapi::ByteString;

use super::RunRecord;
use crate::cluster::{CallError, Cluster, ErrorKind};
use crate::rollout::ObjectName;

/// Runs that are kept of an object.
const KEPT: usize = 10;
/// What one of them takes at most, compressed, in bytes. The API server takes one mebibyte in all.
const LARGEST: usize = 64 * 1024;
/// What is read of one that is longer than any of ours, in bytes.
const LONGEST: u64 = 32 * 1024 * 1024;
/// How often another writer may come first.
const ATTEMPTS: usize = 4;

/// The name of the ConfigMap that goes with an object.
fn config_map_name(object: &ObjectName) -> String {
    format!("kubectl-canary-history-{}", object.name)
}

/// The key of a run in it.
fn key_of(run: &str) -> String {
    format!("{run}.jsonl.gz")
}

/// Keeps a copy of `record`, together with what other processes kept of the same run.
///
/// RBAC: `get`, `create` and `update` on `configmaps`.
///
/// # Errors
/// See [`CallError`]; what was there before is still there then.
pub(crate) async fn keep_copy(cluster: &Cluster, record: &RunRecord) -> Result<(), CallError> {
    let object = record.object();
    let (namespace, name) = (&object.namespace, config_map_name(&object));
    let mut attempts = 1;
    loop {
        let found = cluster.config_map(namespace, &name).await?;
        let mut map = found.unwrap_or_default();
        let mut data = map.binary_data.take().unwrap_or_default();
        add(&mut data, record);
        map.binary_data = Some(data);
        match cluster.keep_config_map(namespace, &name, map).await {
            Err(CallError {
                kind: ErrorKind::Precondition | ErrorKind::Exists,
                ..
            }) if attempts < ATTEMPTS => attempts += 1,
            kept => return kept,
        }
    }
}

/// The copies that are kept of an object, and why one cannot be read.
///
/// RBAC: `get` on `configmaps`.
///
/// # Errors
/// See [`CallError`].
pub(crate) async fn copies(
    cluster: &Cluster,
    object: &ObjectName,
) -> Result<Vec<Result<RunRecord, String>>, CallError> {
    let map = cluster
        .config_map(&object.namespace, &config_map_name(object))
        .await?;
    let data = map.and_then(|map| map.binary_data).unwrap_or_default();
    Ok(data
        .iter()
        .map(|(key, copy)| unpacked(copy).map_err(|why| format!("{key}: {why}")))
        .collect())
}

/// The copy of one run that is kept of an object, if there is one.
///
/// RBAC: `get` on `configmaps`.
///
/// # Errors
/// See [`CallError`]; also why it cannot be read.
pub(crate) async fn copy_of(
    cluster: &Cluster,
    object: &ObjectName,
    run: &str,
) -> Result<Option<RunRecord>, String> {
    let map = cluster
        .config_map(&object.namespace, &config_map_name(object))
        .await
        .map_err(|error| error.to_string())?;
    let data = map.and_then(|map| map.binary_data).unwrap_or_default();
    data.get(&key_of(run)).map(unpacked).transpose()
}

/// Puts a copy of `record` among the others, and leaves out the oldest.
fn add(data: &mut BTreeMap<String, ByteString>, record: &RunRecord) {
    let key = key_of(record.run());
    let mut record = record.clone();
    if let Some(Ok(there)) = data.get(&key).map(unpacked) {
        record.merge(there);
    }
    data.insert(key, packed(record));
    let mut ages: Vec<_> = data
        .iter()
        .map(|(key, copy)| {
            (
                unpacked(copy).map(|record| record.began()).ok(),
                key.clone(),
            )
        })
        .collect();
    ages.sort();
    let surplus = ages.len().saturating_sub(KEPT);
    for (_, key) in &ages[..surplus] {
        data.remove(key);
    }
}

/// Compressed, with as many looks as fit.
fn packed(mut record: RunRecord) -> ByteString {
    loop {
        let bytes = compressed(record.to_lines().as_bytes());
        if bytes.len() <= LARGEST || !record.thin() {
            return ByteString(bytes);
        }
    }
}

fn compressed(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    let written = encoder.write_all(text).and_then(|()| encoder.finish());
    written.expect("a vector takes what is written to it")
}

fn unpacked(copy: &ByteString) -> Result<RunRecord, String> {
    let mut text = String::new();
    let read: io::Result<_> = GzDecoder::new(copy.0.as_slice())
        .take(LONGEST)
        .read_to_string(&mut text);
    read.map_err(|error| error.to_string())?;
    RunRecord::read(&text, None).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::test_events;
    use crate::rollout::{Event, EventKind};

    fn record(run: &str, events: impl IntoIterator<Item = Event>) -> RunRecord {
        let mut events = events.into_iter().map(|event| Event {
            run: run.to_owned(),
            ..event
        });
        let mut record = RunRecord::begin(events.next().unwrap());
        events.for_each(|event| record.push(event));
        record
    }

    #[test]
    fn a_copy_is_what_was_copied_and_parts_of_a_run_are_joined() {
        let events = test_events::regression();
        let mut data = BTreeMap::new();
        add(&mut data, &record("a", events[..3].to_vec()));
        add(&mut data, &record("a", events[2..].to_vec()));
        assert_eq!(data.keys().collect::<Vec<_>>(), ["a.jsonl.gz"]);
        assert_eq!(unpacked(&data["a.jsonl.gz"]).unwrap(), record("a", events));
    }

    #[test]
    fn the_oldest_go_first_and_what_cannot_be_read_before_them() {
        let mut data = BTreeMap::from([("x.jsonl.gz".into(), ByteString(b"no gzip".to_vec()))]);
        for run in 0..15 {
            let events = test_events::regression().into_iter().map(|event| Event {
                at: event.at + jiff::SignedDuration::from_hours(run),
                ..event
            });
            // Names are in no order.
            add(
                &mut data,
                &record(&format!("{:02}", (run * 7) % 15), events),
            );
        }
        let mut expected: Vec<_> = (5..15)
            .map(|run| format!("{:02}.jsonl.gz", (run * 7) % 15))
            .collect();
        expected.sort();
        assert_eq!(data.into_keys().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_long_run_is_kept_small_with_every_decision_in_it() {
        let mut events = test_events::regression();
        let look = events
            .iter()
            .position(|event| matches!(event.event, EventKind::Analyzed { .. }))
            .unwrap();
        let noisy = |number: i64| {
            let mut event = events[look].clone();
            event.at += jiff::SignedDuration::from_millis(number * 7919 % 1000);
            if let EventKind::Analyzed {
                step_counts,
                sample_age_millis,
                ..
            } = &mut event.event
            {
                step_counts.stable.requests = (number * 6_364_136_223) as u64;
                step_counts.canary.requests = (number * 1_442_695_040) as u64;
                *sample_age_millis = Some((number * 2_862_933_555) as u64);
            }
            event
        };
        let many: Vec<_> = (0..20_000).map(noisy).collect();
        events.splice(look..look, many);
        let long = RunRecord::read(
            &events
                .iter()
                .map(|event| serde_json::to_string(event).unwrap() + "\n")
                .collect::<String>(),
            None,
        )
        .unwrap();
        let copy = packed(long.clone());
        assert!(compressed(long.to_lines().as_bytes()).len() > LARGEST);
        assert!(copy.0.len() <= LARGEST, "{}", copy.0.len());
        let decisions = |record: &RunRecord| {
            let events = record.events().iter();
            events
                .filter(|event| !matches!(event.event, EventKind::Analyzed { .. }))
                .cloned()
                .collect::<Vec<_>>()
        };
        assert_eq!(decisions(&unpacked(&copy).unwrap()), decisions(&long));
    }
}
