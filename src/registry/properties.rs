//! Properties of all that is read out of Redis, whatever stands there.

use bolero::generator::produce;
use redis::{Value, parse_redis_value};

use super::batch::{fields, masters_of, or_first_error, redirect, time_of, unix_ms, value};
use super::departure::{Departure, WorkerEnd};
use super::drift::{Drift, judge};
use super::expectation::{parse, publish};
use super::fleet::{Departed, EscapedText, Instance, StoredRecord};
use super::key::{
    KeyPrefix, WorkerType, index_key, instance_key, left_key, type_and_id, type_in_version_key,
    version_key,
};
use super::timestamp::{ms_of, rfc3339};
use crate::escape::is_harmless;
use crate::image::is_same;
use crate::pieces;

const NOW: u64 = 1_767_873_600_000;
const SHA: &str = "a1b2c3d4e5f60718293a4b5c6d7e8f9012345678";

/// Parts of replies, and of what may stand in them.
const REPLIES: &[&str] = &[
    "\r\n",
    "*1\r\n",
    "*2\r\n",
    "*3\r\n",
    "*9\r\n",
    "*-1\r\n",
    "*2147483647\r\n",
    "*9223372036854775807\r\n",
    "%1\r\n",
    "~1\r\n",
    ">2\r\n",
    "|1\r\n",
    ":0\r\n",
    ":6379\r\n",
    ":-9223372036854775808\r\n",
    "$-1\r\n",
    "$0\r\n\r\n",
    "$1\r\na\r\n",
    "$10\r\n1767873600\r\n",
    "$7\r\n999999x\r\n",
    "$2147483647\r\n",
    "+OK\r\n",
    "+QUEUED\r\n",
    "-ERR unknown command\r\n",
    "-MOVED 3999 10.0.0.1:6381\r\n",
    "-ASK 1 [::1]:x\r\n",
    "-\r\n",
    "_\r\n",
    ",inf\r\n",
    ",1.5\r\n",
    "#t\r\n",
    "=7\r\ntxt:abc\r\n",
    "(1\r\n",
    "!5\r\nERR x\r\n",
    "$24\r\n2026-01-08T12:00:00.042Z\r\n",
];

/// Parts of a goodbye's JSON and of an expectation's.
const JSON: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "\"",
    "\\u001b",
    "\\ud800",
    "\"id\":",
    "\"1f\"",
    "\"hostname\":",
    "\"h\"",
    "\"gitSha\":",
    "\"a1b2c3d4e5f60718293a4b5c6d7e8f9012345678\"",
    "\"code\":",
    "\"signal\":",
    "1",
    "256",
    "-1",
    "1e400",
    "null",
    "\"wasAsked\":",
    "true",
    "\"at\":",
    "\"2026-01-08T12:00:00.042Z\"",
    "\"2026-01-08T12:01:01Z\"",
    "\"9999-12-31T23:59:60Z\"",
    ",\"by\":\"ci\"}",
    "{\"gitSha\":\"a1b2c3d4e5f60718293a4b5c6d7e8f9012345678\",\"at\":\"2026-01-08T12:01:01Z\",\"by\":\"ci\"}",
    "{\"gitSha\":\"a1b2c3d\",\"at\":\"2026-01-08T12:00:00Z\"",
    "\"1969-12-31T23:59:59Z\"",
    "\"by\":",
    "\"ci@host\"",
    "{\"id\":\"1f\",\"hostname\":\"h\",\"gitSha\":\"a1\",\"code\":1,\"at\":\"2026-01-08T12:00:00.042Z\"",
    "{\"gitSha\":\"a1b2c3d4e5f60718293a4b5c6d7e8f9012345678\",\"at\":\"2026-01-08T12:00:00.042Z\",\"by\":\"ci\"",
];

/// Neither longer nor stranger than a line of a table can bear.
fn can_be_shown(text: &EscapedText) {
    const LONGEST_ESCAPE: usize = "\\u{10ffff}".len();
    let text = text.as_str();
    assert!(text.chars().all(is_harmless), "{text:?}");
    assert_eq!(text.trim(), text);
    assert!(text.len() <= 128 * LONGEST_ESCAPE + "…".len());
}

#[test]
fn any_bytes_of_redis_are_text_that_can_be_shown() {
    let pieces = &[" ", "\n", "\x1b]0;x\x07", "\u{202e}", "é", "\u{1f600}", "xxxxxxxxxxxxxxxx"];
    bolero::check!().with_generator(pieces::bytes(pieces)).for_each(|bytes: &Vec<u8>| {
        can_be_shown(&EscapedText::new(bytes));
        can_be_shown(&EscapedText::new(&bytes.repeat(20)));
    });
}

/// Everything that is read out of replies anywhere.
fn is_read_or_refused(replies: &[Value]) {
    for reply in replies {
        let _ = (unix_ms(reply), masters_of(reply));
        let _ = value::<Option<f64>>(Some(reply));
        let _ = value::<i64>(Some(reply));
        let _ = value::<(Vec<u8>, Vec<Vec<u8>>)>(Some(reply));
        let _ = value::<(Vec<u8>, std::collections::HashMap<Vec<u8>, f64>)>(Some(reply));
        let _ = value::<std::collections::BTreeMap<Vec<u8>, Value>>(Some(reply));
        if let Some(record) = StoredRecord::new(Some(reply)) {
            let texts = [
                &record.git_sha,
                &record.build_date,
                &record.hostname,
                &record.pod,
                &record.namespace,
                &record.state,
            ];
            texts.into_iter().flatten().for_each(can_be_shown);
            let worker_type = EscapedText::new(b"ocr");
            let instance = Instance {
                worker_type,
                id: None,
                record: Some(record),
                last: None,
                last_seen: None,
            };
            assert!(instance.registered_at().is_none_or(|at| Some(at) == instance.there_since()));
            let _ = instance.is_draining();
        }
    }
    let own: WorkerType = "ocr".parse().unwrap();
    match judge(SHA, &own, replies, NOW) {
        Drift::Met(published) | Drift::Stale(published) => can_be_shown(&published.by),
        Drift::Unpublished | Drift::Odd(_) => {}
    }
    assert!(fields(replies).all(|field| field.is_none_or(|field| field.len() <= 4096)));
    let replies = or_first_error(replies.to_vec());
    let _ = time_of(&replies);
    if let Err(error) = replies {
        let _ = (redirect(&error), super::batch::is_lacking(&error));
    }
}

#[test]
fn any_replies_of_a_server_are_read_or_refused() {
    bolero::check!().with_generator(pieces::bytes(REPLIES)).for_each(|bytes: &Vec<u8>| {
        // One reply of many, and each of the lines as one.
        let whole = parse_redis_value(bytes).ok();
        let parts = bytes.split_inclusive(|byte| *byte == b'\n');
        let replies: Vec<Value> = whole
            .into_iter()
            .chain(parts.filter_map(|part| parse_redis_value(part).ok()))
            .collect();
        is_read_or_refused(&replies);
    });
}

#[test]
fn any_bytes_of_a_server_are_read_or_refused() {
    bolero::check!().for_each(|bytes: &[u8]| {
        is_read_or_refused(&parse_redis_value(bytes).into_iter().collect::<Vec<_>>());
    });
}

#[test]
fn any_json_is_a_goodbye_or_none() {
    bolero::check!().with_generator(pieces::bytes(JSON)).for_each(|json: &Vec<u8>| {
        if let Some(departed) = Departed::new(b"ocr", json) {
            can_be_shown(&departed.git_sha);
            assert_eq!(ms_of(&rfc3339(departed.at)), Some(departed.at));
        }
    });
}

#[test]
fn any_goodbye_is_read_back() {
    let ends = (produce::<u8>(), produce::<bool>(), produce::<bool>(), 0..=253_402_300_799_999_u64);
    bolero::check!().with_generator((pieces::text(JSON), ends)).for_each(
        |(text, (number, is_signal, was_asked, at))| {
            // What is cut off is no JSON any more; no host name and no SHA is that long.
            let text: String = text.chars().take(64).collect();
            let departure = Departure {
                id: "1f".into(),
                hostname: text.clone(),
                git_sha: text.clone(),
                code: (!is_signal).then_some(*number),
                signal: is_signal.then_some(*number),
                was_asked: *was_asked,
                at: rfc3339(*at),
            };
            let json = serde_json::to_vec(&departure).unwrap();
            let departed = Departed::new(b"ocr", &json).unwrap();
            let end =
                if *is_signal { WorkerEnd::Killed(*number) } else { WorkerEnd::Exited(*number) };
            assert_eq!(departed.end, end);
            assert_eq!((departed.was_asked, departed.at), (*was_asked, *at));
            assert_eq!(departed.git_sha, EscapedText::new(text.as_bytes()));
        },
    );
}

#[test]
fn any_json_is_an_expectation_that_can_be_believed_or_none() {
    bolero::check!().with_generator(pieces::bytes(JSON)).for_each(|json: &Vec<u8>| {
        let read = parse("*", &Value::BulkString(json.clone()), NOW);
        if let Ok(published) = read {
            let published = published.unwrap();
            can_be_shown(&published.by);
            can_be_shown(&published.git_sha);
            assert!(published.at <= NOW + 60_000 && !published.git_sha.as_str().is_empty());
        }
    });
}

#[test]
fn any_expectation_is_read_back() {
    let prefix: KeyPrefix = "p".parse().unwrap();
    bolero::check!().with_generator(pieces::text(JSON)).for_each(|by: &String| {
        let by: String = by.chars().take(128).collect();
        let [hset] = &publish(&prefix, &[], SHA, &by, NOW)[..] else { panic!("one command") };
        let words = hset.args_iter().map(|word| match word {
            redis::Arg::Simple(word) => word.to_vec(),
            _ => Vec::new(),
        });
        let read = parse("*", &Value::BulkString(words.last().unwrap()), NOW).unwrap().unwrap();
        assert!(is_same(read.git_sha.as_str(), SHA));
        assert_eq!((read.at, read.by), (NOW, EscapedText::new(by.as_bytes())));
    });
}

#[test]
fn any_key_belongs_to_one_type_and_any_member_to_one_instance() {
    bolero::check!().with_type::<(Vec<u8>, Vec<u8>)>().for_each(|(one, other)| {
        let prefix: KeyPrefix = "fiskai:worker".parse().unwrap();
        let key = version_key(&prefix, one);
        assert_eq!(type_in_version_key(&prefix, &key), Some(&one[..]));
        assert_ne!(key, index_key(&prefix));
        assert_ne!(key, left_key(&prefix, one));
        assert!(instance_key(&prefix, one, other).ends_with(other));
        let member = [one, &b"/"[..], other].concat();
        if !other.contains(&b'/') {
            assert_eq!(type_and_id(&member), (&one[..], &other[..]));
        }
        let _ = type_in_version_key(&prefix, one);
    });
}
