//! A registration that fails at each byte of its conversation, in either direction: all of them with
//! `VERSION_GUARD_ALL_FAULTS=1`, else so many of each kind, with the ends of all replies among them.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::Stage;
use super::cases::{TRIES, assert_no_harm, side_by_side};
use super::trial::{Outcome, Trial, admin};
use super::wire::{faulty, url};
use crate::common::Redis;
use crate::common::proxy::{Behaviour, Fault, Proxy, Side, What};

/// What ends a conversation.
pub const BREAKS: [(&str, What); 4] = [
    ("cut", What::Cut),
    ("reset", What::Reset),
    ("half-closed", What::HalfClose),
    ("black-holed", What::BlackHole),
];

/// So many places of each side are tried.
const SAMPLES: usize = 12;

/// What a registration says and hears, as it is when nothing is wrong.
fn conversation(scheme: &str, redis: &Arc<Redis>, with: impl Fn(Trial) -> Trial) -> [Vec<u8>; 2] {
    let proxy = Proxy::new(Behaviour::LeadsTo(redis.port));
    let trial = with(Trial::at(&url(scheme, proxy.port), redis));
    // Before the first heartbeat, which would be another connection.
    trial.shim.task(["exit", "7"]).output();
    proxy.conversation(0)
}

/// Where each reply of the protocol ends.
fn ends_of_replies(replies: &[u8]) -> Vec<usize> {
    let mut ends = Vec::new();
    let mut at = 0;
    while let Some(end) = end_of_reply(replies, at) {
        ends.push(end);
        at = end;
    }
    ends
}

fn end_of_reply(replies: &[u8], at: usize) -> Option<usize> {
    let line = replies.get(at..)?;
    let length = line.windows(2).position(|pair| pair == b"\r\n")?;
    let number = std::str::from_utf8(&line[1..length]).ok()?.parse().unwrap_or(-1_i64);
    let after = at + length + 2;
    match line[0] {
        b'$' if number >= 0 => Some(after + usize::try_from(number).ok()? + 2),
        b'*' => (0..number.max(0)).try_fold(after, |at, _| end_of_reply(replies, at)),
        _ => Some(after),
    }
}

/// The places of one side that are tried.
pub fn places(length: usize, ends: &[usize]) -> BTreeSet<usize> {
    assert!(length > SAMPLES, "a conversation of {length} bytes");
    if std::env::var_os("VERSION_GUARD_ALL_FAULTS").is_some() {
        return (0..=length).collect();
    }
    let spread = (0..SAMPLES).map(|number| number * length / (SAMPLES - 1));
    spread.chain(ends.iter().copied()).collect()
}

/// What harm one fault does, if any. Until the first heartbeat is due there is time to end it.
fn harm(make: impl Fn() -> Trial) -> Option<String> {
    let late = (0..TRIES).map(|_| make().env("VERSION_GUARD_HEARTBEAT", "1s"));
    for trial in late {
        let row = trial.outcome(Outcome::MayPass).run();
        if !row.faults.is_empty() {
            return Some(row.faults.join(", "));
        }
        if !row.is_late() {
            return None;
        }
    }
    Some("the worker starts late each time".into())
}

fn sweep(
    scheme: &str,
    redis: &Arc<Redis>,
    kinds: &[(&str, What)],
    with: impl Fn(Trial) -> Trial + Sync,
) {
    let [requests, replies] = conversation(scheme, redis, &with);
    let ends = if scheme == "redis" { ends_of_replies(&replies) } else { Vec::new() };
    let mut faults = Vec::new();
    for &(name, what) in kinds {
        for (side, places) in [
            (Side::Request, places(requests.len(), &[])),
            (Side::Reply, places(replies.len(), &ends)),
        ] {
            faults.extend(places.into_iter().map(|after| (name, Fault { side, after, what })));
        }
    }
    let harms = side_by_side(&faults, |(name, fault)| {
        harm(|| with(faulty(scheme, redis, *fault)))
            .map(|harm| format!("{name} after {} bytes of {:?}: {harm}", fault.after, fault.side))
    });
    assert_no_harm(harms);
}

/// All keys that would stay for ever.
pub fn for_ever(redis: &Redis) -> String {
    let script = "local found = {}
        for _, key in ipairs(redis.call('KEYS', '*')) do
            if redis.call('TTL', key) == -1 then found[#found + 1] = key end
        end
        return found";
    admin(redis, ["EVAL", script, "0"])
}

#[test]
fn a_registration_may_break_off_at_any_byte() {
    let stage = Stage::new();
    sweep("redis", &stage.plain, &BREAKS, |trial| trial);
    assert_eq!(for_ever(&stage.plain), "");
}

/// A byte of a key's name may be the one: what a shim has never named it can't take back, so that only
/// what it has named is looked at.
#[test]
fn any_byte_of_a_registration_may_be_another_one() {
    let stage = Stage::new();
    for bit in [0x01, 0x10] {
        sweep("redis", &stage.plain, &[("corrupted", What::Corrupt(bit))], |trial| trial);
    }
}

#[test]
fn a_registration_by_tls_may_break_off_or_be_corrupted_at_any_byte() {
    let stage = Stage::new();
    let authority = stage.authority.certificate();
    let kinds = [&BREAKS[..], &[("corrupted", What::Corrupt(0x01))]].concat();
    sweep("rediss", &stage.tls, &kinds, |trial| trial.env("SSL_CERT_FILE", &authority));
    assert_eq!(for_ever(&stage.tls), "");
}
