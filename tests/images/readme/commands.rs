//! Each command in the READMEs, and who runs it.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::text;
use crate::docker::{output, repository};

/// The programs whose names make a command of what stands in a sentence.
const PROGRAMS: [&str; 10] = [
    "docker",
    "cargo",
    "sha256sum",
    "openssl",
    "redis-cli",
    "kubectl",
    "version-guard",
    "HEALTHCHECK",
    "ENTRYPOINT",
    "up",
];

/// On the deployment, in this order, with what each of them says. What is in capitals stands for something of
/// the deployment's.
pub const ON_THE_DEPLOYMENT: [(&str, &str); 24] = [
    (r"docker logs CONTAINER 2>&1 | grep '\[version\]'", "the guards let it start (on: tsx,"),
    ("docker exec CONTAINER version-guard check", "code"),
    ("docker run --rm --entrypoint version-guard IMAGE check -- node dist/worker.js", "tsx"),
    ("docker inspect -f '{{json .Config.Labels}}' IMAGE", "org.opencontainers.image.revision"),
    ("docker inspect -f '{{json .Config.Cmd}}' CONTAINER", r#"["node","dist/worker.js"]"#),
    ("docker inspect -f '{{json .State.Health.Log}}' CONTAINER", "[OK] The worker (process "),
    ("docker exec CONTAINER ls dist", "worker.js"),
    ("docker exec worker version-guard health --registered", ", registered"),
    ("docker exec fiskai-worker-extractor printenv GIT_SHA", "{sha}"),
    ("sha256sum -c /etc/version-guard/code.sha256", "/app/dist/worker.js: OK"),
    (
        "docker run --rm -e WORKER_TYPE=extractor -e REDIS_URL=redis://host:6379 \
         -e VERSION_GUARD_KEY_PREFIX=shop:worker fiskai-worker:a1b2c3d",
        "extractor is registered in Redis",
    ),
    ("docker run --entrypoint node IMAGE …", "without the guards"),
    (
        "EXPECTED_GIT_SHA=$(git rev-parse HEAD) REDIS_URL=redis://redis:6379 version-guard verify \
         --require ocr,orchestrator",
        "[OK] All workers running expected version",
    ),
    (
        "docker run --rm -e REDIS_URL -e EXPECTED_GIT_SHA version-guard verify",
        "[OK] All workers running expected version",
    ),
    (
        "docker exec -e VERSION_GUARD_REDIS_URL=redis://verify:change-me@redis:6379 CONTAINER \
         version-guard verify",
        "[OK] All workers running expected version",
    ),
    ("redis-cli HGETALL fiskai:worker:extractor:version", "gitSha"),
    ("redis-cli ZREM fiskai:workers TYPE/ID", "0"),
    ("redis-cli DEL fiskai:worker:TYPE:version", "0"),
    ("version-guard check -- npm run worker", "package.json scripts.worker → node dist/worker.js"),
    ("version-guard help run", "--register-timeout"),
    ("docker compose config | grep -E 'image:|EXPECTED'", "EXPECTED_GIT_SHA: {sha}"),
    ("docker compose up -d", ""),
    ("docker compose up -d --renew-anon-volumes", ""),
    ("docker compose up -d --force-recreate --no-deps SERVICE", ""),
];

/// By other tests, and by hand what takes a build of its own: each with a file, and what shows it there.
const ELSEWHERE: [(&str, &str, &str); 17] = [
    ("docker/demo.sh", "tests/run.sh", "if docker/demo.sh; then"),
    ("tests/fuzz.sh", "tests/run.sh", "tests/fuzz.sh --all 30"),
    ("tests/fuzz.sh TARGET SECONDS", "tests/run.sh", "tests/fuzz.sh --all 30"),
    ("tests/run.sh", ".ci/run", "tests/run.sh"),
    ("tests/house.py", "tests/run.sh", "tests/house.py && "),
    ("docker/build-workers.sh", "tests/images/readme.rs", "fn the_deployment_is_run_as_it_stands"),
    ("docker/release.sh FOLDER", "tests/images/release.rs", "docker/release.sh"),
    (
        "docker buildx build --platform linux/amd64,linux/arm64 -f docker/Dockerfile.guard -t \
         registry.example/version-guard --push .",
        "tests/images/release.rs",
        r#""-f", "docker/Dockerfile.guard", "--platform", "linux/arm64""#,
    ),
    ("up -d --force-recreate", "tests/images/deployment.rs", "--force-recreate"),
    ("up -d --force-recreate --no-deps SERVICE", "tests/images/readme.rs", "ON_THE_DEPLOYMENT"),
    ("up -d", "tests/images/readme.rs", "ON_THE_DEPLOYMENT"),
    ("up --wait", "tests/images/health.rs", r#""--wait""#),
    (
        "openssl s_client -connect HOST:PORT </dev/null | openssl x509 >ca.pem",
        "tests/promises/registration.rs",
        "openssl s_client -connect HOST:PORT",
    ),
    (
        r#"HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/local/bin/version-guard", "health"]"#,
        "Dockerfile.worker",
        r#"HEALTHCHECK --interval=30s --timeout=5s --start-period=10s CMD ["/usr/local/bin/version-guard", "health"]"#,
    ),
    (
        r#"HEALTHCHECK --interval=10m CMD ["/usr/local/bin/version-guard", "check"]"#,
        "tests/images/readme.rs",
        "fn the_instructions_in_its_sentences_do_what_it_says",
    ),
    (
        r#"ENTRYPOINT ["sh", "-c", "version-guard check -- \"$@\" && exec /init \"$@\"", "sh"]"#,
        "tests/images/readme.rs",
        "fn the_instructions_in_its_sentences_do_what_it_says",
    ),
    ("benches/start-order.py BINARY MAP …", "benches/start-order.py", "#!/usr/bin/env python3"),
];

/// What is only spoken of.
const NAMED: [&str; 17] = [
    "docker ps",
    "docker compose up",
    "docker cp",
    "docker restart",
    "docker stop",
    "docker stop -t",
    "docker logs",
    "docker inspect",
    "docker exec",
    "docker run --init",
    "docker run -it",
    "docker volume rm",
    "docker logs CONTAINER, or kubectl logs POD --previous, behind [version]",
    "kubectl describe pod",
    "sha256sum -c",
    "redis-cli --scan … | xargs … HGET",
    "version-guard:7",
];

/// The commands of both READMEs that stand in a sentence, in a table, or behind a `$`.
fn commands() -> Vec<String> {
    let mut commands = Vec::new();
    for file in ["README.md", "docker/README.md"] {
        let text = text(file);
        for (number, part) in text.split("```").enumerate() {
            if number % 2 == 0 {
                commands.extend(part.split('`').skip(1).step_by(2).map(unfolded));
            } else if let Some(block) = part.strip_prefix("console\n") {
                commands
                    .extend(block.lines().filter_map(|line| line.strip_prefix("$ ")).map(unfolded));
            }
        }
    }
    commands.retain(|command| is_command(command));
    commands
}

/// Without the line ends and escapes that Markdown has it with.
fn unfolded(text: &str) -> String {
    text.replace("\\|", "|").split_whitespace().collect::<Vec<_>>().join(" ")
}

fn is_command(text: &str) -> bool {
    let is_assignment = |word: &&str| {
        word.split_once('=').is_some_and(|(name, _)| {
            !name.is_empty()
                && name.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
        })
    };
    let mut words = text.split(' ').skip_while(is_assignment);
    let Some(program) = words.next() else { return false };
    let script = program.contains('/')
        && repository()
            .join(program)
            .metadata()
            .is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0);
    script || (PROGRAMS.contains(&program) && words.next().is_some())
}

/// `cargo test --test PROGRAM FILTER`, or a bench: whether there is what it asks for.
fn is_there(cargo: &str) -> bool {
    let words: Vec<&str> = cargo.split(' ').skip_while(|word| !word.starts_with("--")).collect();
    let (kind, words) = (words[0], &words[1..]);
    let filter = words.get(1).filter(|word| **word != "--");
    let folder = if kind == "--bench" { "benches" } else { "tests" };
    let folder = repository().join(folder).join(words[0]);
    let Some(filter) = filter else {
        return folder.is_dir() || folder.with_extension("rs").is_file();
    };
    let is_name_of = |path: &Path, name: &str| {
        path.file_stem().is_some_and(|stem| stem == name)
            || fs::read_to_string(path).is_ok_and(|text| {
                text.contains(&format!("fn {name}")) || text.contains(&format!("mod {name}"))
            })
    };
    let modules = walk(&folder);
    filter.split("::").all(|name| modules.iter().any(|path| is_name_of(path, name)))
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}

#[test]
fn each_of_its_commands_is_run_by_a_test() {
    let commands = commands();
    assert!(commands.len() > 70, "{commands:#?}");
    let unknown: Vec<_> = commands
        .iter()
        .filter(|command| {
            let command = command.as_str();
            let cargo = command.split("&& ").last().filter(|last| last.contains("cargo "));
            !ON_THE_DEPLOYMENT.iter().any(|row| row.0 == command)
                && !ELSEWHERE.iter().any(|row| row.0 == command)
                && !NAMED.contains(&command)
                && !is_usage(command)
                && !cargo.is_some_and(is_there)
        })
        .collect();
    assert!(unknown.is_empty(), "nobody runs {unknown:#?}");
    // And nothing here that stands there no more.
    let all = text("README.md") + &text("docker/README.md");
    let all = unfolded(&all);
    let listed = ON_THE_DEPLOYMENT.iter().map(|row| row.0);
    let listed = listed.chain(ELSEWHERE.iter().map(|row| row.0)).chain(NAMED);
    let gone: Vec<_> = listed.filter(|command| !all.contains(command)).collect();
    assert!(gone.is_empty(), "in neither README: {gone:#?}");
    for (command, file, shows) in ELSEWHERE {
        let text = text(file);
        assert!(text.contains(shows), "{command}: not in {file}");
    }
}

fn is_usage(command: &str) -> bool {
    command.starts_with("version-guard ") && command.contains('[')
}

#[test]
fn each_option_of_its_usages_is_in_the_help() {
    let mut seen = 0;
    for command in commands().iter().filter(|command| is_usage(command)) {
        let name = command.split(' ').nth(1).expect("a command");
        let help = output(Command::new(env!("CARGO_BIN_EXE_version-guard")).args(["help", name]));
        for option in
            command.split(['[', ' ', ']']).filter(|word| word.len() > 2 && word.starts_with("--"))
        {
            assert!(help.contains(option), "{option} of {command}: {help}");
            seen += 1;
        }
    }
    assert!(seen > 5, "{seen}");
}
