//! What a shim spends on each orphan that it reaps: time on the processor, as PID 1.

use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::Setting;
use crate::control_group::ControlGroup;
use crate::figures::{Cells, Figure, Report};
use crate::proc::{children, on_the_processor};
use crate::shims::{Shim, in_container, past_second_look};
use crate::supervised::Supervised;
use crate::worker;

/// In each container, of each shape.
pub const ORPHANS: usize = 500;

/// How the orphans come.
#[derive(Debug, Clone, Copy)]
enum Shape {
    /// One after the other, while the shim runs.
    Stream,
    /// All at once: they end while the shim is stopped.
    Burst,
}

const SHAPES: [(Shape, &str); 2] = [
    (Shape::Stream, "processor time an orphan, one after the other, µs"),
    (Shape::Burst, "processor time an orphan, many at once, µs"),
];

pub fn measure(setting: &Setting, report: &mut Report) {
    let group = match ControlGroup::make() {
        Ok(group) => group,
        Err(error) => return report.gap("orphans", &format!("a control group: {error}")),
    };
    let mut cells = SHAPES.map(|_| Cells::new());
    for _ in 0..setting.lengths.reaping_rounds {
        for shim in setting.shims.inits() {
            let mut container = Container::start(setting, shim, &group);
            for ((shape, _), cells) in SHAPES.iter().zip(&mut cells) {
                cells.entry(shim.name).or_default().push(container.reaps(*shape));
            }
        }
    }
    for ((_, name), cells) in SHAPES.into_iter().zip(cells) {
        report.figures.push(Figure::median(name, 2, cells));
    }
}

/// A PID namespace with a shim as its PID 1 and the worker below.
struct Container {
    namespace: Supervised,
    shim: Pid,
}

impl Container {
    fn start(setting: &Setting, shim: &Shim, group: &ControlGroup) -> Self {
        let mut command = Command::new("sh");
        command
            .args(["-c", "echo 0 > \"$0/cgroup.procs\" && exec unshare \"$@\""])
            .arg(&group.0)
            .args(["--fork", "--pid", "--mount-proc", "--kill-child", "--"])
            .args(&shim.line)
            .args([&setting.programs.bench[..], "worker", worker::ORPHANS, &ORPHANS.to_string()]);
        in_container(&mut command);
        past_second_look(&mut command);
        let namespace = Supervised::start(shim.name, &mut command);
        let [shim] = children(namespace.pid())[..] else { panic!("no shim alone below unshare") };
        Self { namespace, shim }
    }

    /// The shim's time on the processor for each orphan, in microseconds.
    fn reaps(&mut self, shape: Shape) -> f64 {
        if let Shape::Burst = shape {
            kill(self.shim, Signal::SIGSTOP).expect("kill");
        }
        let before = on_the_processor(self.shim);
        self.namespace.ask();
        self.namespace.answer();
        if let Shape::Burst = shape {
            kill(self.shim, Signal::SIGCONT).expect("kill");
        }
        while children(self.shim).len() > 1 {
            sleep(Duration::from_millis(5));
        }
        (on_the_processor(self.shim) - before) as f64 / 1000.0 / ORPHANS as f64
    }
}
