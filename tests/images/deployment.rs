//! A deployment as the README has it, from one version to the next and back, with jobs in flight.

use std::fs;
use std::process::Command;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::docker::{
    OTHER, SHA, build, eventually, guard_image, name, new_folder, output, program, repository, run,
};

/// How the workers are called, and by what their code is started: by itself, by npm, and by a shell that
/// stays above it.
const STARTS: [(&str, &[&str]); 3] = [
    ("node", &["node", "TASK.js"]),
    ("npm", &["npm", "run", "TASK"]),
    ("shell", &["sh", "-c", "node TASK.js; exit $$?"]),
];

/// Takes a job with BullMQ, two at a time, and one with BLPOP, in two loops.
const TASKS: [&str; 2] = ["bull", "pop"];

/// How long a job takes after its worker was told to stop, in ms: until then it is in its hand, however long the
/// deployment needs to get there.
const JOB: u32 = 2_000;

const COMMON: &str = r"
const Redis = require('ioredis');
exports.type = process.env.WORKER_TYPE;
exports.connection = () => new Redis(process.env.REDIS_URL, { maxRetriesPerRequest: null });
const redis = exports.connection();
const told = new Promise((resolve) => process.on('SIGTERM', resolve));
const end = told.then(() => new Promise((resolve) => setTimeout(resolve, JOB)));
exports.work = async (id) => {
    await redis.rpush(`${exports.type}:started`, id);
    await end;
    await redis.rpush(`${exports.type}:done`, id);
};
exports.stop = (finish) => told.then(finish).then(() => process.exit(0));
";

const BULL: &str = r"
const { Worker } = require('bullmq');
const { type, connection, work, stop } = require('./common.js');
const worker = new Worker(type, (job) => work(job.data.id), { connection: connection(), concurrency: 2 });
stop(() => worker.close());
";

const POP: &str = r"
const { type, connection, work, stop } = require('./common.js');
let stopping = false;
const loop = async () => {
    const redis = connection();
    while (!stopping) {
        const popped = await redis.blpop(`${type}:jobs`, 0.2);
        if (popped) await work(popped[1]);
    }
};
const loops = [loop(), loop()];
stop(() => { stopping = true; return Promise.all(loops); });
";

const PUSH: &str = r"
const { Queue } = require('bullmq');
const { connection } = require('./common.js');
const [type, task, ...ids] = process.argv.slice(2);
const push = async () => {
    const redis = connection();
    if (task === 'pop') return redis.rpush(`${type}:jobs`, ...ids);
    const queue = new Queue(type, { connection: redis });
    for (const id of ids) await queue.add('job', { id });
};
push().then(() => process.exit(0));
";

const DOCKERFILE: &str = r#"
FROM GUARD AS guard
FROM node:22-slim
WORKDIR /app
COPY . .
ENV NODE_ENV=production
COPY --from=guard /version-guard /usr/local/bin/version-guard
ENTRYPOINT ["/usr/local/bin/version-guard", "run", "--"]
CMD ["node", "bull.js"]
ARG GIT_SHA
RUN ["/usr/local/bin/version-guard", "seal", "--code", "/app"]
USER 65532:65532
"#;

/// The worker's image of each version.
fn images() -> String {
    let folder = new_folder();
    let write = |name: &str, text: &str| {
        fs::write(folder.path().join(name), text).expect("a file of the worker");
    };
    write("common.js", &COMMON.replace("JOB", &JOB.to_string()));
    for (name, text) in [("bull.js", BULL), ("pop.js", POP), ("push.js", PUSH)] {
        write(name, text);
    }
    write("package.json", r#"{ "scripts": { "bull": "node bull.js", "pop": "node pop.js" } }"#);
    // npm run leaves its log in the home of a user who has none.
    write(".npmrc", "cache=/tmp/npm\nupdate-notifier=false\n");
    let modules = crate::docker::cache().join("bullmq/node_modules");
    output(Command::new("cp").arg("-R").arg(modules).arg(folder.path()));
    let image = "version-guard-tests/jobs";
    fs::write(folder.path().join("Dockerfile"), DOCKERFILE.replace("GUARD", guard_image()))
        .expect("a Dockerfile");
    for sha in [SHA, OTHER] {
        let mut build = program("docker");
        build.args(["build", "-q", "--build-arg", &format!("GIT_SHA={sha}"), "-t"]);
        output(build.arg(format!("{image}:{}", &sha[..7])).arg(folder.path()));
    }
    image.to_owned()
}

/// The compose file of the project with six workers of the test's own in the place of its four.
struct Fleet {
    project: String,
    image: String,
    folder: TempDir,
}

impl Fleet {
    fn new(more: &str) -> Self {
        let fleet = Self { project: name("jobs"), image: images(), folder: new_folder() };
        let project = &fleet.project;
        let services: Vec<String> = Self::workers()
            .map(|(worker_type, command)| {
                let command = serde_json::to_string(&command).expect("JSON");
                format!(
                    "  {worker_type}:\n    extends:\n      file: {}\n      service: worker-extractor\n    \
                     container_name: {project}-{worker_type}\n    command: {command}\n    environment:\n      WORKER_TYPE: {worker_type}\n{more}",
                    repository().join("docker/docker-compose.workers.yml").display(),
                )
            })
            .collect();
        let services = services.concat();
        fs::write(fleet.folder.path().join("more.yml"), format!("services:\n{services}"))
            .expect("a compose file");
        fleet
    }

    /// Each worker type and its command.
    fn workers() -> impl Iterator<Item = (String, Vec<String>)> {
        STARTS.into_iter().flat_map(|(start, command)| {
            TASKS.map(|task| {
                let command = command.iter().map(|word| word.replace("TASK", task)).collect();
                (format!("{start}-{task}"), command)
            })
        })
    }

    fn types() -> Vec<String> {
        Self::workers().map(|(worker_type, _)| worker_type).collect()
    }

    fn compose(&self, sha: &str) -> Command {
        let mut compose = program("docker");
        compose.env("WORKER_IMAGE", &self.image).env("GIT_SHA_SHORT", &sha[..7]);
        compose.env("EXPECTED_GIT_SHA", sha).env("CONTAINER_PREFIX", &self.project);
        compose.args(["compose", "-p", &self.project, "-f", "docker/docker-compose.workers.yml"]);
        compose.arg("-f").arg(self.folder.path().join("more.yml"));
        compose
    }

    /// Deploys, and gives how long it took.
    fn up(&self, sha: &str, options: &[&str]) -> Duration {
        let started = Instant::now();
        let mut up = self.compose(sha);
        output(up.args(["up", "-d"]).args(options).arg("redis").args(Self::types()));
        started.elapsed()
    }

    /// The gate, as the README has it; how long it took to turn green.
    fn gate(&self, sha: &str) -> Duration {
        let started = Instant::now();
        let mut gate = self.compose(sha);
        gate.args(["run", "--rm", "--no-deps", "--entrypoint", "version-guard", "node-bull"]);
        gate.args(["verify", "--wait", "1m", "--stable-for", "8s"]);
        output(gate.args(["--require", &Self::types().join(",")]));
        started.elapsed()
    }

    fn redis(&self, arguments: &[&str]) -> String {
        let redis = format!("{}-redis", self.project);
        output(program("docker").args(["exec", &redis, "redis-cli"]).args(arguments))
    }

    /// Two jobs for each worker, and waits until all of them are in hand.
    fn push(&self, sha: &str, ids: [&str; 2]) {
        for (worker_type, task) in Self::workers().map(|(of, command)| {
            let task = if command.concat().contains("bull") { "bull" } else { "pop" };
            (of, task)
        }) {
            let mut push = self.compose(sha);
            push.args(["exec", "-T", "node-bull", "node", "push.js", &worker_type, task]).args(ids);
            output(&mut push);
        }
        for worker_type in Self::types() {
            eventually(&format!("two jobs in the hand of {worker_type}"), || {
                let started = self.list(&worker_type, "started");
                ids.iter().all(|id| started.contains(&(*id).to_owned())).then_some(())
            });
        }
    }

    fn list(&self, worker_type: &str, which: &str) -> Vec<String> {
        let list = self.redis(&["LRANGE", &format!("{worker_type}:{which}"), "0", "-1"]);
        list.lines().map(str::to_owned).collect()
    }

    /// The worker types with the jobs of which something went wrong: not done, or begun twice.
    fn damage(&self, ids: &[&str]) -> Vec<String> {
        let is_whole = |worker_type: &String| {
            let sorted = |which| {
                let mut list = self.list(worker_type, which);
                list.sort();
                list
            };
            sorted("started") == ids && sorted("done") == ids
        };
        Self::types().into_iter().filter(|worker_type| !is_whole(worker_type)).collect()
    }

    fn id_of(&self, service: &str, sha: &str) -> String {
        output(self.compose(sha).args(["ps", "-q", service]))
    }
}

impl Drop for Fleet {
    fn drop(&mut self) {
        run(self.compose(SHA).args(["down", "-v", "-t", "1"]));
    }
}

#[test]
fn a_deployment_and_its_way_back_lose_no_job_and_do_none_twice_however_the_worker_is_started() {
    let fleet = Fleet::new("");
    fleet.up(SHA, &[]);
    fleet.gate(SHA);
    let redis = fleet.id_of("redis", SHA);
    let mut all = Vec::new();
    for (before, sha, ids) in [(SHA, OTHER, ["1", "2"]), (OTHER, SHA, ["3", "4"])] {
        fleet.push(before, ids);
        let took = fleet.up(sha, &[]);
        // The engine did not have to kill: 60 s.
        assert!(took < Duration::from_secs(30), "{took:?}");
        // 8 s after the last start it believes what it sees; and a container to ask in.
        let took = fleet.gate(sha);
        println!("the gate is green after {took:?}");
        assert!(took < Duration::from_secs(10 + 5), "{took:?}");
        all.extend(ids);
        assert_eq!(fleet.damage(&all), [""; 0]);
    }
    assert_eq!(fleet.id_of("redis", SHA), redis, "Redis went on");
}

/// The control of what is left below a shell: nobody asks it to end, and nobody waits for it.
#[test]
fn without_a_wait_for_what_is_below_a_shell_its_jobs_are_lost() {
    let fleet = Fleet::new("      VERSION_GUARD_REAP_GRACE: 0s\n");
    fleet.up(SHA, &[]);
    fleet.push(SHA, ["1", "2"]);
    fleet.up(OTHER, &[]);
    let damage = fleet.damage(&["1", "2"]);
    assert!(damage.contains(&"shell-pop".to_owned()), "{damage:?}");
    assert!(!damage.contains(&"node-pop".to_owned()), "{damage:?}");
}

/// The control of the recipe: with all of it recreated, Redis goes while the workers drain.
#[test]
fn recreating_redis_as_well_loses_jobs_or_does_them_twice() {
    let fleet = Fleet::new("");
    fleet.up(SHA, &[]);
    let redis = fleet.id_of("redis", SHA);
    fleet.push(SHA, ["1", "2"]);
    // More than twice as long as the jobs take, and no more than it needs to be seen.
    fleet.up(OTHER, &["--force-recreate", "--timeout", "10"]);
    assert_ne!(fleet.id_of("redis", OTHER), redis);
    assert_ne!(fleet.damage(&["1", "2"]), [""; 0]);
}
