//! The README's commands, read out of it and run as they stand.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::docker::{
    Checkout, Redis, WORKER, buildkit, eventually, guard_image, name, new_folder, output, program,
    repository, run,
};

fn text(file: &str) -> String {
    fs::read_to_string(repository().join(file)).expect("a README")
}

/// The block of this language that stands first behind a title.
fn block(title: &str, language: &str) -> String {
    let readme = text("README.md");
    let (_, section) = readme.split_once(&format!("{title}\n")).expect("the title");
    let (_, block) = section.split_once(&format!("```{language}\n")).expect("a block");
    block.split_once("```").expect("its end").0.to_owned()
}

/// What GitHub makes of a title.
fn anchor(title: &str) -> String {
    let kept =
        |character: &char| character.is_alphanumeric() || matches!(character, ' ' | '-' | '_');
    title.trim().to_lowercase().chars().filter(kept).collect::<String>().replace(' ', "-")
}

fn anchors(text: &str) -> BTreeSet<String> {
    let titles = text.split("```").step_by(2).flat_map(str::lines);
    titles
        .filter(|line| line.starts_with('#'))
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

#[test]
fn it_is_no_longer_than_a_newcomer_reads_and_each_link_in_it_leads_somewhere() {
    let (face, reference) = (text("README.md"), text("docker/README.md"));
    assert!(face.lines().count() <= 250, "{} lines", face.lines().count());
    let mut followed = 0;
    for (own, other, text) in [(&face, &reference, &face), (&reference, &face, &reference)] {
        for link in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')) {
            let (path, title) = link.0.split_once('#').unwrap_or((link.0, ""));
            let there = if path.is_empty() { own } else { other };
            assert!(["", "docker/README.md", "../README.md"].contains(&path), "{path}");
            assert!(title.is_empty() || anchors(there).contains(title), "{title}");
            followed += 1;
        }
    }
    assert!(followed > 50, "{followed}");
}

/// The first of its commands makes the guard image, as `guard_image` does.
#[test]
fn the_dockerfile_and_its_commands_make_a_worker_that_runs_and_refuses_another_sha() {
    let (dockerfile, commands) =
        (block("## In a Dockerfile", "dockerfile"), block("## In a Dockerfile", "bash"));
    let (first, commands) = commands.split_once('\n').expect("several commands");
    assert!(
        first.starts_with("docker build -f docker/Dockerfile.guard -t version-guard ."),
        "{first}"
    );
    let folder = new_folder();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("a file");
    // Its names are for one machine of one's own: here others use them, too.
    let image = name("readme");
    write("Dockerfile", &dockerfile.replace("=version-guard ", &format!("={} ", guard_image())));
    fs::create_dir(folder.path().join("dist")).expect("a folder");
    write("dist/worker.js", "console.log('works');");
    let commands = commands
        .replace("-t worker .", &format!("-t {image} ."))
        .replace("\" worker", &format!("\" {image}"));
    assert_eq!(commands.matches(&image).count(), 2, "{commands}");
    let git = |arguments: &[&str]| {
        let who = ["-c", "user.name=test", "-c", "user.email=test@localhost"];
        output(Command::new("git").args(who).args(arguments).current_dir(folder.path()));
    };
    git(&["init", "-q"]);
    git(&["add", "-A"]);
    git(&["commit", "-q", "-m", "A"]);
    let shell = |script: &str| run(program("sh").args(["-ec", script]).current_dir(folder.path()));
    let said = shell(&commands);
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.ends_with("works\n"), "{}", said.stdout);
    // Another commit is expected than the image was built from.
    git(&["commit", "-q", "--allow-empty", "-m", "B"]);
    let run_again = commands.lines().last().expect("docker run");
    let said = shell(run_again);
    assert_eq!(said.code, 1, "{}", said.stderr);
    assert!(said.stderr.contains("This worker is running STALE code"), "{}", said.stderr);
    run(program("docker").args(["rmi", "-f", &image]));
}

/// From a checkout to a fleet that the gate lets pass, and down again in a shell that knows nothing of it.
#[test]
fn the_deployment_is_run_as_it_stands() {
    let title = "### A deployment that fails when its workers don't come up";
    let deployment = block(title, "bash");
    let checkout = Checkout::new();
    let project = name("readme");
    let shell = |script: &str, image: &str| {
        let mut shell = buildkit("sh");
        shell.env("COMPOSE_PROJECT_NAME", &project).env("GUARD_IMAGE", guard_image());
        shell.env("CONTAINER_PREFIX", &project);
        if !image.is_empty() {
            shell.env("WORKER_IMAGE", image);
        }
        run(shell.args(["-c", script]).current_dir(checkout.path("")))
    };
    let said = shell(&deployment, WORKER);
    let compose = "docker compose -f docker/docker-compose.workers.yml";
    let logs = shell(&format!("{compose} logs worker-extractor"), "");
    let up = shell(
        &block("## Build, set, deploy, verify", "bash")
            .lines()
            .skip(1)
            .filter(|line| !line.contains(" logs -f "))
            .collect::<Vec<_>>()
            .join("\n"),
        "",
    );
    let down = shell(&format!("{compose} down -v -t 5"), "");
    assert_eq!(said.code, 0, "{}{}", said.stdout, said.stderr);
    assert!(said.stdout.contains("[OK] All workers running expected version"), "{}", said.stdout);
    assert_eq!(logs.code, 0, "{}", logs.stderr);
    assert!(
        logs.stdout.contains("the guards let it start (on: tsx, unknown, mismatch, code)"),
        "{}",
        logs.stdout
    );
    assert_eq!(up.code, 0, "{}{}", up.stdout, up.stderr);
    assert!(up.stdout.contains("[OK] All workers running expected version"), "{}", up.stdout);
    assert_eq!(down.code, 0, "{}", down.stderr);
}
