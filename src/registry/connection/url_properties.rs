//! Properties of URLs, in whatever way they are wrong.

use std::net::IpAddr;

use bolero::generator::produce;
use percent_encoding::{NON_ALPHANUMERIC, percent_encode};

use super::endpoint::Endpoint;
use super::login::Secret;
use crate::escape::Escape;
use crate::pieces;

/// What no other part of a URL has in it.
const SECRET: &str = "qxzkwvjg";

/// The secret and what breaks it apart in a URL that nobody has encoded. A password that names an option
/// of a URL by itself can't be told from one.
const PASSWORDS: &[&str] = &[
    SECRET,
    "qxzk",
    "wvjg",
    "zkwv",
    "#",
    "/",
    "?",
    "@",
    ":",
    "&",
    "=",
    "%",
    "%2",
    "%40",
    "%zz",
    "[",
    "]",
    "\\",
    " ",
    "+",
    ",",
    ";",
    "\n",
    "\u{200b}",
    "é",
    "://",
    "?db=",
    "#insecure",
];

/// What stands before a password, and what stands behind it.
const BEFORE: &[&str] = &[
    "redis://:",
    "redis://me:",
    "rediss://me:",
    "REDIS://:",
    "valkey://:",
    "redis+sentinel://:",
    "redis-sentinel://me:",
    "redis+unix://me:",
    "unix://:",
    "tcp://:",
    "me:",
    ":",
    "//:",
    "http://:",
];
const BEHIND: &[&str] = &[
    "@h",
    "@redis.internal:6380",
    "@10.0.0.1/3",
    "@[::1]:7000",
    "@h:1,i:2/0",
    "@h:1,i/main/2",
    "@h?ssl=true",
    "@h/0#main",
    "@/r.sock",
];

fn nth(texts: &[&'static str], place: u8) -> &'static str {
    texts[usize::from(place) % texts.len()]
}

/// No four letters of the secret in whatever is made of a URL, but for the user, whom no message names.
fn keeps_the_secret(url: &str) {
    let shown = match url.parse::<Endpoint>() {
        Ok(mut endpoint) => {
            endpoint.login.user = None;
            format!("{endpoint} {endpoint:?}")
        }
        Err(reason) => reason.to_owned(),
    };
    let shown = shown.to_ascii_lowercase();
    for piece in SECRET.as_bytes().windows(4) {
        let piece = str::from_utf8(piece).unwrap();
        assert!(!shown.contains(piece), "{url:?}: {shown}");
    }
}

#[test]
fn any_password_in_a_url_is_shown_nowhere() {
    let parts = (pieces::text(PASSWORDS), produce::<u8>(), produce::<u8>());
    bolero::check!().with_generator(parts).for_each(|(password, before, behind)| {
        keeps_the_secret(&format!("{}{password}{}", nth(BEFORE, *before), nth(BEHIND, *behind)));
    });
}

#[test]
fn any_password_behind_a_question_mark_is_shown_nowhere() {
    let parts = (pieces::text(PASSWORDS), produce::<bool>());
    bolero::check!().with_generator(parts).for_each(|(password, is_last)| {
        let behind = if *is_last { "" } else { "&db=1" };
        keeps_the_secret(&format!("redis://h?password={password}{behind}"));
    });
}

#[test]
fn any_password_arrives_as_it_was_encoded() {
    bolero::check!().with_type::<Vec<u8>>().for_each(|password: &Vec<u8>| {
        let encoded: String = percent_encode(password, NON_ALPHANUMERIC).to_string();
        for (start, end) in
            [("redis://me", "@h:1/3"), ("rediss+sentinel://me", "@a,b/main"), ("unix://me", "@/r")]
        {
            let endpoint: Endpoint = format!("{start}:{encoded}{end}").parse().unwrap();
            let expected = Some(Secret(password.clone())).filter(|_| !password.is_empty());
            assert_eq!(endpoint.login.password, expected);
            assert_eq!(endpoint.login.user.as_deref(), Some("me"));
        }
    });
}

#[test]
fn any_host_that_is_read_stands_in_the_url() {
    const URLS: &[&str] = &[
        "redis://",
        "rediss://",
        "redis+unix://",
        "redis+sentinel://",
        "me:pw",
        "@",
        "h",
        "redis.internal",
        "10.0.0.1",
        "[::1]",
        "[",
        "]",
        ":",
        "6379",
        "0",
        "65536",
        "-1",
        ",",
        "/",
        "?",
        "#",
        "db=",
        "ssl=true",
        "ssl_ca_certs=/ca",
        "user=",
        "&",
        "%2F",
        "%",
        "main",
        " ",
        "\"",
        "\n",
        "é",
        "${REDIS_HOST}",
    ];
    bolero::check!().with_generator(pieces::text(URLS)).for_each(|url: &String| {
        let Ok(endpoint) = url.parse::<Endpoint>() else { return };
        let (url, shown) = (Escape(url).to_string(), endpoint.to_string());
        if shown.starts_with('/') {
            return;
        }
        for host in shown.split('/').next().unwrap().split(',') {
            let name = host.rsplit_once(':').unwrap().0.trim_matches(['[', ']']);
            let is_address = name.parse::<IpAddr>().is_ok();
            assert!(is_address || name == "localhost" || url.contains(name), "{url:?}: {shown}");
        }
    });
}
