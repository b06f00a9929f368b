//! What `run` says before the worker starts, and why it does not.

use std::fs;

use nix::unistd::{Pid, getppid};
use tracing::{error, info, warn};

use super::second_look::FoundRunner;
use crate::cli::ENTRYPOINT;
use crate::config::EXPECTED_TWICE;
use crate::escape::Escape;
use crate::guard::{
    Expectation, Finding, Production, RUNNING_VIA_TSX, Verdict, Violation, standing,
};
use crate::image::ImageIdentity;
use crate::registry::{Overtaken, Registrar};
use crate::runner::Runner;

/// Warns where PID 1 is a shell that was told to run the shim, which gets no signal then.
pub fn announce_shell_above() {
    const PID_1: Pid = Pid::from_raw(1);
    if getppid() != PID_1 || Pid::this() == PID_1 {
        return;
    }
    let command_line = fs::read("/proc/1/cmdline").unwrap_or_default();
    let words: Vec<_> =
        command_line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    let [shell, option, script, ..] = &words[..] else { return };
    let is_shell = ["sh", "bash", "dash", "ash"].iter().any(|name| shell.ends_with(name));
    if is_shell && option == "-c" && script.contains("version-guard") {
        warn!(
            "PID 1 is a shell, {} -c, as of an ENTRYPOINT or CMD in shell form: it passes no signal on, so that each stop ends in a kill. Write a list: {ENTRYPOINT}",
            Escape(shell)
        );
    }
}

/// Logs every violation, or what is tolerated and what looks odd.
pub fn announce_verdict(identity: &ImageIdentity, expectation: &Expectation, verdict: &Verdict) {
    if let Some(overridden) = &identity.overridden {
        warn!(
            git_sha = %identity.git_sha,
            overridden,
            "GIT_SHA is {} in the environment and {} in the image's seal: the seal counts, also for the worker",
            Escape(overridden), Escape(&identity.git_sha.to_string()),
        );
    }
    if expectation.is_overridden {
        warn!("{EXPECTED_TWICE}");
    }
    for (_, finding) in verdict.findings() {
        match finding {
            Finding::Refused(violation) => announce_refusal(violation),
            Finding::Tolerated(violation) => {
                warn!(
                    guard = violation.guard(),
                    "{violation}. Production would refuse to start it"
                );
            }
            Finding::Passed(_) | Finding::Off(_) => {}
        }
    }
    for remark in verdict.remarks() {
        warn!(guard = "tsx", "{remark}");
    }
    announce_production(identity, expectation, verdict);
    if verdict.lets_start() && identity.is_no_commit() {
        let git_sha = identity.git_sha.to_string();
        warn!(
            git_sha,
            "GIT_SHA is {}, which is no commit's SHA: accepted, but who deploys has to give EXPECTED_GIT_SHA in the same words",
            Escape(&git_sha),
        );
    }
}

/// Tells why the guards hold, or don't, where NODE_ENV does not simply say so.
fn announce_production(identity: &ImageIdentity, expectation: &Expectation, verdict: &Verdict) {
    let refused = !verdict.lets_start();
    let policy = identity.policy.and(expectation.policy);
    match &expectation.production {
        // Of a mismatch it is no cause.
        Production::OddlySpelled(_) if refused && verdict.is_about_the_expectation() => {}
        Production::OddlySpelled(node_env) => warn!(
            node_env,
            "NODE_ENV is '{}': taken for production, which is how to write it",
            Escape(node_env),
        ),
        Production::LooksLike(node_env) if policy.enforce.is_none() && !refused => warn!(
            node_env,
            "NODE_ENV is '{}', which is not production: two guards are off, and only warn of uncompiled code and of an unknown SHA. Set it to production, or VERSION_GUARD_ENFORCE=always",
            Escape(node_env),
        ),
        Production::LooksLike(_) | Production::No
            if policy.enforce.is_some() && refused && !verdict.is_about_the_expectation() =>
        {
            let by = match identity.policy.enforce {
                Some(_) => "the image's seal",
                None => "VERSION_GUARD_ENFORCE or --enforce",
            };
            error!(
                enforce = "always",
                "NODE_ENV is not production; {by} holds the guards to it all the same"
            );
        }
        _ => {}
    }
}

/// The mismatch guard's lines, and where the expectation comes from.
pub fn announce_overtaken(identity: &ImageIdentity, overtaken: &Overtaken) {
    let Overtaken { git_sha, at, by } = overtaken;
    let image = identity.git_sha.to_string();
    let mismatch = Violation::Mismatch { image: image.clone(), expected: git_sha.clone() };
    error!(
        guard = "mismatch",
        image_sha = image,
        expected_sha = git_sha,
        at,
        by,
        "{}\nIt is what was published as expected at {at} by {by}.",
        mismatch.refusal()
    );
}

/// The tsx guard's lines, and the process that was found.
pub fn announce_runner(found: &FoundRunner) {
    let FoundRunner { runner, pid, command_line, shown_by } = found;
    let runs = match runner {
        Runner::StripTypes => "has Node run TypeScript".to_owned(),
        runner => format!("runs {runner}"),
    };
    error!(
        guard = "tsx",
        %runner,
        pid = pid.as_raw(),
        command_line,
        "{RUNNING_VIA_TSX}\nProcess {pid} {runs} ({}) and was killed with all others: {}",
        Escape(shown_by),
        Escape(command_line),
    );
}

fn announce_refusal(violation: &Violation) {
    error!(
        guard = violation.guard(),
        image_sha = violation.image_sha(),
        expected_sha = violation.expected_sha(),
        runner = violation.runner(),
        chain = violation.chain(),
        reason = violation.reason(),
        differences = violation.differences(),
        "{}",
        violation.refusal()
    );
}

/// The one line of a normal start, and a warning where the first attempt to register has failed.
pub fn announce_start(
    identity: &ImageIdentity,
    expectation: &Expectation,
    verdict: &Verdict,
    registrar: Option<&Registrar>,
) {
    let policy = identity.policy.and(expectation.policy);
    let is_enforced = expectation.is_enforced(identity.policy);
    let guards = standing(verdict.findings(), is_enforced);
    let git_sha = identity.git_sha.to_string();
    let built = match identity.build_date.as_str() {
        "" => "build date unknown".to_owned(),
        date => format!("built {}", Escape(date)),
    };
    let held = if policy.is_none() { String::new() } else { format!(", {policy}") };
    let registered = registrar.filter(|registrar| registrar.is_registered());
    let at = registered.map_or_else(String::new, |registrar| {
        format!("; {} is registered in Redis at {}", registrar.worker_type, registrar.redis)
    });
    let text = format!(
        "GIT_SHA {} ({}{held}), {built}: the guards let it start ({guards}){at}",
        Escape(&git_sha),
        identity.source,
    );
    macro_rules! say {
        ($level:ident, $text:expr) => {
            $level!(
                git_sha,
                source = %identity.source,
                build_date = identity.build_date,
                %policy,
                guards,
                worker_type = registered.map(|registrar| registrar.worker_type.as_str()),
                redis = registered.map(|registrar| registrar.redis.as_str()),
                key = registered.map(|registrar| registrar.key.as_str()),
                "{}", $text
            )
        };
    }
    if is_enforced && expectation.git_sha.is_none() {
        say!(warn, format!("{text}. The mismatch guard is off: nothing would tell a stale image"));
    } else {
        say!(info, text);
    }
    if let Some(registrar) = registrar {
        registrar.warn_of_failed_attempt();
    }
}
