//! The commands of "Worker Deployment Integrity", the document that asked for all of this: block by block
//! as it has them, with this project's build script, compose file and `version-guard verify` in the
//! place of its own.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;

use crate::docker::{
    Checkout, DEADLINE, Said, docker, eventually, guard_image, output, program, run,
};

/// For `npx tsx scripts/verify-worker-versions.ts`: where no npm package has to be.
const VERIFY: &str =
    "docker exec -e EXPECTED_GIT_SHA fiskai-worker-orchestrator version-guard verify";
const BUILD: &str = "docker/build-workers.sh";
const COMPOSE: &str = "docker compose -f docker/docker-compose.workers.yml";

const IMAGES: [&str; 2] = ["fiskai-worker", "fiskai-worker-ocr"];

const TYPES: [&str; 4] = ["extractor", "ocr", "orchestrator", "sentinel"];

/// Whoever follows the document, in a checkout of the project; the containers have the document's names.
struct Reader {
    checkout: Checkout,
    /// As the document has it set, once the build script has printed it.
    git_sha: String,
    built: Vec<String>,
    /// What was called `:latest` before, if anything was.
    latest: [String; 2],
}

impl Reader {
    fn new() -> Self {
        let latest = IMAGES.map(|image| {
            let inspect = ["image", "inspect", "-f", "{{.Id}}", &format!("{image}:latest")];
            run(program("docker").args(inspect)).stdout.trim().to_owned()
        });
        let checkout = Checkout::new();
        let reader = Self { checkout, git_sha: String::new(), built: Vec::new(), latest };
        // What a killed run has left.
        run(&mut reader.command(&format!("{COMPOSE} down -v -t 1")));
        reader.checkout.git(["branch", "-q", "-M", "main"]);
        reader.checkout.git(["init", "-q", "--bare", ".git/origin"]);
        reader.checkout.git(["remote", "add", "origin", ".git/origin"]);
        reader.checkout.git(["push", "-q", "origin", "main"]);
        reader
    }

    fn command(&self, text: &str) -> Command {
        let guard = guard_image();
        // Where the guard image has another name than the Dockerfile's own for it.
        let text = match guard {
            "version-guard" => text.to_owned(),
            _ => text.replace(
                "docker build ",
                &format!("docker build --build-arg GUARD_IMAGE={guard} "),
            ),
        };
        let mut bash = program("bash");
        bash.args(["-c", &text]).current_dir(self.checkout.path(""));
        bash.env("COMPOSE_PROJECT_NAME", "version-guard-test-document").env("GUARD_IMAGE", guard);
        // Until it knows better, the names in docker/.env count.
        for name in ["GIT_SHA_SHORT", "WORKER_IMAGE", "CONTAINER_PREFIX", "COMPOSE_FILE"] {
            bash.env_remove(name);
        }
        if !self.git_sha.is_empty() {
            bash.env("GIT_SHA", &self.git_sha);
        }
        bash
    }

    /// What a block prints that has to succeed.
    fn types(&self, block: &str) -> String {
        output(&mut self.command(block))
    }

    fn builds(&mut self) {
        let printed = self.types(BUILD);
        let sha = printed.lines().find_map(|line| line.strip_prefix("GIT_SHA: "));
        self.git_sha = sha.expect("the SHA printed by the build script").into();
        self.built.push(self.checkout.version().short);
    }

    /// `docker compose logs -f`, until each worker's guards have let it start.
    fn watches_logs(&self) {
        let mut follow = self.command(&format!("exec {COMPOSE} logs -f --tail=50"));
        // A group of its own: docker has compose run in a process below it.
        follow.process_group(0).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut follow = follow.spawn().expect("docker compose");
        let lines = BufReader::new(follow.stdout.take().expect("its output")).lines();
        let mut waiting: Vec<_> = TYPES.iter().map(|of| format!("fiskai-worker-{of} ")).collect();
        let (send, read) = mpsc::channel();
        thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
        while let Ok(line) = read.recv_timeout(DEADLINE) {
            if line.contains("[version]") && line.contains("the guards let it start") {
                waiting.retain(|container| !line.contains(container.as_str()));
            }
            if waiting.is_empty() {
                break;
            }
        }
        output(Command::new("kill").args(["-KILL", "--", &format!("-{}", follow.id())]));
        follow.wait().expect("an end of docker compose logs");
        assert_eq!(waiting, [""; 0]);
    }

    fn verifies(&self, with: &str) -> Said {
        run(&mut self.command(&format!("{with} {VERIFY}")))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        run(&mut self.command(&format!("{COMPOSE} down -v -t 5")));
        for (image, latest) in IMAGES.iter().zip(&self.latest) {
            for tag in self.built.iter().map(String::as_str).chain(["latest"]) {
                run(program("docker").args(["rmi", &format!("{image}:{tag}")]));
            }
            if !latest.is_empty() {
                docker(["tag", latest, &format!("{image}:latest")]);
            }
        }
    }
}

/// The lines of a text, sorted.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn each_command_of_the_document_does_what_it_says() {
    let mut reader = Reader::new();
    let first = reader.checkout.version();
    let keys = TYPES.map(|of| format!("fiskai:worker:{of}:version"));

    // Deployment Workflow, step 1.
    reader.types("git pull origin main\ngit log -1 --oneline  # verify SHA");
    reader.builds();
    assert_eq!(reader.git_sha, first.sha);
    // Build Command, by hand: the same images under the same names.
    reader.types(
        r#"set -e
GIT_SHA=$(git rev-parse HEAD)
GIT_SHA_SHORT=$(git rev-parse --short HEAD)
BUILD_DATE=$(date -u +%Y-%m-%dT%H:%M:%SZ)

# Base worker
docker build -f Dockerfile.worker \
  --build-arg GIT_SHA="$GIT_SHA" \
  --build-arg BUILD_DATE="$BUILD_DATE" \
  --build-arg WITH_OCR=false \
  -t fiskai-worker:${GIT_SHA_SHORT} .

# OCR worker
docker build -f Dockerfile.worker \
  --build-arg GIT_SHA="$GIT_SHA" \
  --build-arg BUILD_DATE="$BUILD_DATE" \
  --build-arg WITH_OCR=true \
  -t fiskai-worker-ocr:${GIT_SHA_SHORT} ."#,
    );
    // Steps 2 and 3, the variables and the tags, are what the build script keeps in docker/.env. Step 4.
    reader.types(&format!("{COMPOSE} up -d --force-recreate"));
    reader.watches_logs();

    // Step 5, and Automated Verification.
    for with in
        ["EXPECTED_GIT_SHA=$GIT_SHA".to_owned(), format!("EXPECTED_GIT_SHA={}", first.short)]
    {
        let Said { code, stdout, .. } = reader.verifies(&with);
        assert_eq!(code, 0, "{stdout}");
        assert!(stdout.starts_with(&format!("Expected GIT_SHA: {}", first.short)), "{stdout}");
        for of in TYPES {
            let entry = format!("  [OK] {of}\n      SHA: {}\n      Started: 20", first.sha);
            assert!(stdout.contains(&entry), "{stdout}");
        }
        assert!(stdout.ends_with("[OK] All workers running expected version\n"), "{stdout}");
    }

    // Query Examples, and Manual Redis Checks.
    let list = reader.types(r#"docker exec fiskai-redis redis-cli KEYS "fiskai:worker:*:version""#);
    assert_eq!(sorted(&list), keys);
    let hash = reader
        .types(r#"docker exec fiskai-redis redis-cli HGETALL "fiskai:worker:extractor:version""#);
    let fields: Vec<_> = hash.lines().collect();
    assert_eq!(fields[..2], ["gitSha", &first.sha], "{hash}");
    assert_eq!((fields[2], fields[4], &fields[6..]), ("buildDate", "startedAt", &["pid", "1"][..]));
    let all = reader.types(
        r#"docker exec fiskai-redis redis-cli --scan --pattern "fiskai:worker:*:version" | \
  while read key; do
    echo "=== $key ==="
    docker exec fiskai-redis redis-cli HGETALL "$key"
  done"#,
    );
    for key in &keys {
        assert!(all.contains(&format!("=== {key} ===\ngitSha\n{}\n", first.sha)), "{all}");
    }
    let shas = reader.types(
        r#"docker exec fiskai-redis redis-cli --scan --pattern "fiskai:worker:*:version" | \
  xargs -I {} docker exec fiskai-redis redis-cli HGET {} gitSha"#,
    );
    assert_eq!(shas.lines().collect::<Vec<_>>(), [&first.sha; 4]);

    // Container Inspection.
    let inspect = "docker inspect fiskai-worker-orchestrator | jq '.[0].Config.Env'";
    let environment = reader.types(inspect);
    for variable in [
        format!("\"GIT_SHA={}\"", first.sha),
        format!("\"BUILD_DATE={}\"", fields[3]),
        format!("\"EXPECTED_GIT_SHA={}\"", first.sha),
        "\"NODE_ENV=production\"".into(),
        "\"WORKER_TYPE=orchestrator\"".into(),
    ] {
        assert!(environment.contains(&variable), "{variable} in {environment}");
    }
    let logs = reader.types(r#"docker logs fiskai-worker-orchestrator 2>&1 | grep "\[version\]""#);
    assert!(logs.contains(&first.sha) && logs.contains("the guards let it start"), "{logs}");

    // Troubleshooting, "Running via tsx in production": what is there is compiled.
    let listed = reader.types("docker exec fiskai-worker-orchestrator ls -la dist/");
    assert!(listed.contains("worker.js") && !listed.contains(".ts"), "{listed}");

    // "Version mismatch", the second scenario: the code moves on, and what is expected with it.
    reader.checkout.change("docker/sample-worker/src/work.ts", "What a job is", "A job");
    reader.checkout.commit("B");
    let second = reader.checkout.version();
    reader.git_sha.clone_from(&second.sha);
    let expecting = format!("export EXPECTED_GIT_SHA={}\n", second.sha);
    assert_eq!(reader.types(&format!("{expecting}echo $EXPECTED_GIT_SHA")), second.sha);
    let printenv = "docker exec fiskai-worker-orchestrator printenv GIT_SHA";
    assert_eq!(reader.types(printenv), first.sha);
    // "Verification script shows [STALE] workers".
    let Said { code, stdout, .. } = reader.verifies("EXPECTED_GIT_SHA=$GIT_SHA");
    assert_eq!((code, stdout.matches("[STALE] ").count()), (1, 4), "{stdout}");
    // "Workers not registering in Redis": started from the old image, it crashes.
    reader.types(&format!("{expecting}{COMPOSE} up -d worker-orchestrator"));
    eventually("a refusal among the first lines of the log", || {
        let head = reader.types("docker logs fiskai-worker-orchestrator 2>&1 | head -30");
        head.contains("[version] FATAL: Version mismatch!").then_some(())
    });
    assert!(reader.types(inspect).contains(&format!("\"GIT_SHA={}\"", first.sha)));

    // The fix of stale workers, each by its name, as they are shown.
    reader.builds();
    let stale = TYPES.map(|of| format!("worker-{of}")).join(" ");
    reader.types(&format!("{COMPOSE} up -d --force-recreate {stale}"));
    reader.watches_logs();
    let Said { code, stdout, .. } = reader.verifies("EXPECTED_GIT_SHA=$GIT_SHA");
    assert_eq!((code, stdout.matches("[OK] ").count()), (0, 5), "{stdout}");
    assert_eq!(reader.types(printenv), second.sha);
    // The fix of a mismatch recreates Redis as well, whose data stays. A worker that can't say goodbye to it
    // is in the registry for three heartbeats more, so that this ends in no verdict.
    reader.types(&format!("{COMPOSE} up -d --force-recreate"));
    reader.watches_logs();
    assert_eq!(reader.types(printenv), second.sha);

    // "GIT_SHA is 'unknown'", by hand.
    reader.types(
        r"docker build -f Dockerfile.worker \
     --build-arg GIT_SHA=$(git rev-parse HEAD) \
     --build-arg BUILD_DATE=$(date -u +%Y-%m-%dT%H:%M:%SZ) \
     -t fiskai-worker:$(git rev-parse --short HEAD) .",
    );
    let started = reader.types(
        "docker run --rm -e EXPECTED_GIT_SHA=$GIT_SHA fiskai-worker:$(git rev-parse --short HEAD) \
         printenv GIT_SHA",
    );
    assert_eq!(started, second.sha);
}
