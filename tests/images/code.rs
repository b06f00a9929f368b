//! Sealed code in real containers: whatever hides or changes it is refused, and nothing else is.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use crate::docker::{
    Container, SHA, build, docker, eventually, guard_image, name, new_folder, once, output,
    program, run,
};

/// A worker of a few files that says which code of it runs.
fn image(tag: &str, code: &str, seal: &str) -> String {
    let context = new_folder();
    for (file, text) in [
        ("app/dist/worker.sh", "#!/bin/sh\ncat /app/dist/code /app/node_modules/dep/index.js\n"),
        ("app/dist/code", code),
        ("app/node_modules/dep/index.js", code),
        ("app/bin/tool", "#!/bin/sh\n"),
        ("app/tmp/.keep", ""),
    ] {
        let path = context.path().join(file);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let dockerfile = format!(
        "FROM debian:bookworm-slim\n\
         COPY app /app\n\
         RUN chmod 755 /app/dist/worker.sh /app/bin/tool && ln -s ../dist/worker.sh /app/bin/worker\n\
         COPY --from={} /version-guard /usr/local/bin/version-guard\n\
         ENV NODE_ENV=production\n\
         RUN [\"/usr/local/bin/version-guard\", \"seal\", \"--git-sha\", \"{SHA}\"{seal}]\n\
         USER 65532:65532\n\
         ENTRYPOINT [\"/usr/local/bin/version-guard\", \"run\", \"--\"]\n\
         CMD [\"/app/bin/worker\"]\n",
        guard_image()
    );
    build(tag, &dockerfile, &context)
}

const CODE: &str = ", \"--code\", \"/app\"";

/// Of old code, the first with its code sealed and the second, the control, without.
fn old() -> [String; 2] {
    [
        image("version-guard-tests/code:a", "old\n", CODE),
        image("version-guard-tests/plain:a", "old\n", ""),
    ]
}

fn new() -> [String; 2] {
    [
        image("version-guard-tests/code:b", "new\n", CODE),
        image("version-guard-tests/plain:b", "new\n", ""),
    ]
}

fn assert_refused(logs: &str, lines: &[&str]) {
    assert!(
        logs.contains("[version] FATAL: Worker code differs from the image's seal!\n"),
        "{logs}"
    );
    for line in lines {
        assert!(logs.contains(&format!("[version]   {line}")), "{line} in {logs}");
    }
    assert!(
        logs.contains("[version] This worker is NOT running the code of its image. Exiting.\n"),
        "{logs}"
    );
    assert!(!logs.contains("old\n") && !logs.contains("new\n"), "the worker ran: {logs}");
}

/// A deployment of one service whose image and volumes change; gone when it goes out of scope.
struct Compose {
    folder: TempDir,
    project: String,
}

impl Compose {
    fn new() -> Self {
        Self { folder: new_folder(), project: name("code") }
    }

    fn command(&self, image: &str, volume: &str) -> Command {
        let file = self.folder.path().join("compose.yml");
        let named = volume.starts_with("old:");
        let volumes = if named { "volumes:\n  old: {}\n" } else { "" };
        let text = format!(
            "services:\n  worker:\n    image: {image}\n    volumes:\n      - {volume}\n{volumes}"
        );
        fs::write(&file, text).expect("a compose file");
        let mut compose = program("docker");
        compose.args(["compose", "-p", &self.project, "-f"]).arg(&file);
        compose
    }

    /// What the service says once it has ended.
    fn up(&self, image: &str, volume: &str, options: &[&str]) -> String {
        output(self.command(image, volume).args(["up", "-d"]).args(options));
        let container = format!("{}-worker-1", self.project);
        docker(["wait", &container]);
        let said = run(program("docker").args(["logs", &container]));
        said.stdout + &said.stderr
    }
}

impl Drop for Compose {
    fn drop(&mut self) {
        run(self.command("debian:bookworm-slim", "/none").args(["down", "-v", "-t", "1"]));
    }
}

/// docker compose keeps an anonymous volume when it recreates a container.
#[test]
fn an_anonymous_volume_that_was_kept_is_refused_and_a_renewed_one_as_well() {
    let ([old, old_plain], [new, new_plain]) = (old(), new());
    let volume = "/app/node_modules";
    let control = Compose::new();
    control.up(&old_plain, volume, &[]);
    let logs = control.up(&new_plain, volume, &[]);
    assert!(logs.contains("new\nold\n"), "the control runs old code: {logs}");
    let compose = Compose::new();
    for (image, options) in [(&old, &[][..]), (&new, &[]), (&new, &["--renew-anon-volumes"])] {
        let logs = compose.up(image, volume, options);
        assert_refused(&logs, &["/app/node_modules: hidden by a mount of "]);
        assert!(logs.contains("--renew-anon-volumes"), "{logs}");
    }
}

/// A named volume is filled from the first image and never again.
#[test]
fn a_named_volume_from_the_image_before_is_refused() {
    let ([_, old_plain], [new, new_plain]) = (old(), new());
    let compose = Compose::new();
    compose.up(&old_plain, "old:/app/dist", &[]);
    let logs = compose.up(&new_plain, "old:/app/dist", &["--force-recreate"]);
    assert!(logs.contains("old\nnew\n"), "the control runs old code: {logs}");
    let logs = compose.up(&new, "old:/app/dist", &["--force-recreate"]);
    assert_refused(&logs, &["/app/dist: hidden by a mount of ", "/app/dist/code: changed"]);
}

#[test]
fn a_bind_mount_of_a_file_or_of_a_parent_is_refused() {
    let [new, plain] = new();
    let folder = new_folder();
    let file = folder.path().join("code");
    fs::write(&file, "old\n").unwrap();
    let mount = format!("{}:/app/dist/code", file.display());
    let control = once(["-v", &mount, &plain]);
    assert_eq!(control.stdout, "old\nnew\n", "{}", control.stderr);
    let said = once(["-v", &mount, &new]);
    assert_refused(
        &said.stderr,
        &["/app/dist/code: hidden by a mount of ", "/app/dist/code: changed"],
    );
    let parent = format!("{}:/app", folder.path().display());
    let said = once(["-v", &parent, &new, "/bin/true"]);
    assert_refused(&said.stderr, &["/app: hidden by a mount of "]);
    assert_eq!(once(["-v", &parent, &plain, "/bin/true"]).code, 0);
}

/// What `docker restart` keeps.
#[test]
fn what_was_changed_in_a_container_is_refused_at_its_next_start() {
    let [new, plain] = new();
    let folder = new_folder();
    let file = folder.path().join("file");
    fs::write(&file, "old\n").unwrap();
    let file = file.display().to_string();
    let shell = |line: &'static str| vec!["exec", "-u", "0", "ID", "sh", "-c", line];
    let changes = [
        (vec!["cp", &file, "ID:/app/dist/code"], "/app/dist/code: changed"),
        (
            shell("mkdir /app/node_modules/x; echo x >/app/node_modules/x/index.js"),
            "/app/node_modules/x/index.js: added",
        ),
        (shell("rm /app/node_modules/dep/index.js"), "/app/node_modules/dep/index.js: missing"),
        (shell("chmod 644 /app/bin/tool"), "/app/bin/tool: is no longer executable"),
        (
            shell("ln -sf /bin/true /app/bin/worker"),
            "/app/bin/worker: links to /bin/true, not to ../dist/worker.sh",
        ),
        (
            shell("rm /app/dist/code; mkfifo /app/dist/code"),
            "/app/dist/code: neither a file nor a folder nor a link",
        ),
        (shell("chmod 600 /app/dist/code"), "/app/dist/code: can't be read: Permission denied"),
    ];
    for (change, line) in changes {
        for (image, is_sealed) in [(&new, true), (&plain, false)] {
            // Sleeps, so that it can be changed while it runs, and by exec.
            let container = Container::start([image.as_str(), "sleep", "1000"]);
            container.wait_for("let it start");
            let words = change.iter().map(|word| word.replace("ID", &container.id));
            output(program("docker").args(words));
            let check = ["exec", &container.id, "version-guard", "check"];
            let check = run(program("docker").args(check));
            assert_eq!(check.code, i32::from(is_sealed), "{line}: {}", check.stdout);
            assert_eq!(check.stdout.contains(line), is_sealed, "{line}: {}", check.stdout);
            docker(["restart", "-t", "0", &container.id]);
            if is_sealed {
                assert_eq!(container.code(), 1, "{}", container.logs());
                let logs = container.logs();
                let (_, after) = logs.split_once("let it start").unwrap();
                assert_refused(after, &[line]);
            } else {
                eventually("the changed container", || {
                    (container.logs().matches("let it start").count() == 2).then_some(())
                });
            }
        }
    }
}

#[test]
fn what_is_no_code_starts() {
    let [new, _] = new();
    let except = image(
        "version-guard-tests/code:except",
        "new\n",
        ", \"--code\", \"/app\", \"--except\", \"/app/tmp\"",
    );
    let folder = new_folder();
    let data = format!("{}:/data", folder.path().display());
    let account =
        format!("{}:/var/run/secrets/kubernetes.io/serviceaccount:ro", folder.path().display());
    for options in [
        &[][..],
        &["--read-only"],
        &["--tmpfs", "/tmp"],
        &["-v", &data],
        &["-v", &account],
        &["--add-host", "redis:10.0.0.1", "--hostname", "w", "--dns", "10.0.0.2"],
        &["--user", "1234:1234"],
        &["--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
    ] {
        let said = once(options.iter().copied().chain([&*new]));
        assert_eq!((said.code, &*said.stdout), (0, "new\nnew\n"), "{options:?}: {}", said.stderr);
    }
    for options in [&["--tmpfs", "/app/tmp"][..], &["-v", "/app/tmp"], &[]] {
        let said = once(options.iter().copied().chain([&*except]));
        assert_eq!(said.stdout, "new\nnew\n", "{options:?}: {}", said.stderr);
        let said = once(options.iter().copied().chain([&*new]));
        assert_eq!(said.code, i32::from(!options.is_empty()), "{options:?}: {}", said.stderr);
    }
}

#[test]
fn anybody_can_check_the_manifest_without_the_shim() {
    let [new, _] = new();
    let check = "sha256sum -c --quiet /etc/version-guard/code.sha256 && wc -l </etc/version-guard/code.sha256";
    let said = once(["--entrypoint", "sh", &new, "-c", check]);
    assert_eq!((said.code, said.stdout.trim()), (0, "5"), "{}", said.stderr);
}

/// A rebuild of the same files, with other times and owners, is the same code.
#[test]
fn times_and_owners_are_no_code() {
    let context = new_folder();
    fs::write(context.path().join("w"), "#!/bin/sh\necho ran\n").unwrap();
    let digests = ["202001010000", "202601010000"].map(|time| {
        let dockerfile = format!(
            "FROM debian:bookworm-slim\n\
             COPY --chown=1000:1000 w /app/w\n\
             RUN chmod 755 /app/w && touch -t {time} /app/w /app\n\
             COPY --from={} /version-guard /usr/local/bin/version-guard\n\
             RUN [\"/usr/local/bin/version-guard\", \"seal\", \"--git-sha\", \"{SHA}\", \"--code\", \"/app\"]\n\
             ENV NODE_ENV=production\n\
             ENTRYPOINT [\"/usr/local/bin/version-guard\", \"run\", \"--\"]\n",
            guard_image()
        );
        let image = build(&format!("version-guard-tests/times:{time}"), &dockerfile, &context);
        let said = once([&*image, "/app/w"]);
        assert_eq!(said.stdout, "ran\n", "{}", said.stderr);
        let said = once(["--entrypoint", "cat", &image, "/etc/version-guard/image.json"]);
        said.stdout
    });
    assert_eq!(digests[0], digests[1]);
}

/// With BuildKit, as with the classic builder in all other tests.
#[test]
fn buildkit_makes_an_image_that_starts() {
    let context = new_folder();
    fs::write(context.path().join("w"), "#!/bin/sh\necho ran\n").unwrap();
    let dockerfile = format!(
        "FROM debian:bookworm-slim\n\
         COPY --chmod=755 w /app/w\n\
         COPY --from={} /version-guard /usr/local/bin/version-guard\n\
         RUN [\"/usr/local/bin/version-guard\", \"seal\", \"--git-sha\", \"{SHA}\", \"--code\", \"/app\"]\n\
         ENV NODE_ENV=production\n\
         ENTRYPOINT [\"/usr/local/bin/version-guard\", \"run\", \"--\"]\n",
        guard_image()
    );
    fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
    let mut build = program("docker");
    build.env("DOCKER_BUILDKIT", "1").args(["build", "-q", "-t", "version-guard-tests/buildkit"]);
    output(build.arg(context.path()));
    let said = once(["version-guard-tests/buildkit", "/app/w"]);
    assert_eq!(said.stdout, "ran\n", "{}", said.stderr);
}
