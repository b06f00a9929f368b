//! Runners: what compiles code while it runs it, by the names under which the field knows them. Pure.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A way to run code that nobody has compiled before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    Tsx,
    /// Node itself on a TypeScript file, of which it strips the types.
    StripTypes,
    TsNode,
    SwcNode,
    EsbuildRegister,
    Jiti,
    ViteNode,
    BabelNode,
    Bun,
    Deno,
    Sucrase,
}

/// Each with its name, the packages that are it (those below them in a scope or a folder included), and
/// the programs that they bring.
const KNOWN: [(Runner, &str, &[&str], &[&str]); 11] = [
    (
        Runner::Tsx,
        "tsx",
        &["tsx", "esno", "@esbuild-kit/cjs-loader", "@esbuild-kit/esm-loader"],
        &["tsx", "esno", "esmo"],
    ),
    (Runner::StripTypes, "strip-types", &["amaro"], &[]),
    (
        Runner::TsNode,
        "ts-node",
        &["ts-node", "ts-node-dev"],
        &[
            "ts-node",
            "ts-node-esm",
            "ts-node-script",
            "ts-node-transpile-only",
            "ts-node-cwd",
            "ts-script",
            "ts-node-dev",
            "tsnd",
        ],
    ),
    (Runner::SwcNode, "swc-node", &["@swc-node/register", "@swc-node/cli"], &["swc-node"]),
    (
        Runner::EsbuildRegister,
        "esbuild-register",
        &["esbuild-register", "esbuild-runner"],
        &["esr"],
    ),
    (Runner::Jiti, "jiti", &["jiti"], &["jiti"]),
    (Runner::ViteNode, "vite-node", &["vite-node"], &["vite-node"]),
    (
        Runner::BabelNode,
        "babel-node",
        &["@babel/node", "@babel/register", "babel-register", "babel-cli"],
        &["babel-node"],
    ),
    (Runner::Bun, "bun", &["bun"], &["bun"]),
    (Runner::Deno, "deno", &["deno"], &["deno"]),
    (Runner::Sucrase, "sucrase", &["sucrase"], &["sucrase-node"]),
];

impl Runner {
    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        KNOWN.iter().map(|(runner, ..)| *runner)
    }

    /// What it is called in options, in the seal and in sentences.
    pub fn name(self) -> &'static str {
        KNOWN.iter().find(|(runner, ..)| *runner == self).map_or("", |(_, name, ..)| name)
    }

    /// The packages that are it, without what is below them.
    pub fn packages(self) -> &'static [&'static str] {
        KNOWN
            .iter()
            .find(|(runner, ..)| *runner == self)
            .map_or(&[], |(_, _, packages, _)| packages)
    }

    /// The one that a package of this name is, such as `tsx`, `tsx/esm` or `@swc-node/register/esm`.
    pub fn of_package(specifier: &str) -> Option<Self> {
        let is_it = |package: &&str| {
            let rest = specifier.strip_prefix(*package);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        KNOWN.iter().find(|(_, _, packages, _)| packages.iter().any(is_it)).map(first)
    }

    /// The one that a program of this name is.
    pub fn of_program(name: &str) -> Option<Self> {
        KNOWN.iter().find(|(.., programs)| programs.contains(&name)).map(first)
    }
}

fn first<T, U, V>((runner, ..): &(Runner, T, U, V)) -> Runner {
    *runner
}

impl fmt::Display for Runner {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Some of the runners; in JSON a list of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<&'static str>")]
pub struct Runners(u16);

impl Runners {
    /// What is refused where nothing else is said.
    pub const USUAL: Self = Self(1 << Runner::Tsx as u16 | 1 << Runner::StripTypes as u16);

    pub fn contains(self, runner: Runner) -> bool {
        self.0 & 1 << runner as u16 != 0
    }

    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    pub fn iter(self) -> impl Iterator<Item = Runner> {
        Runner::all().filter(move |runner| self.contains(*runner))
    }
}

impl FromIterator<Runner> for Runners {
    fn from_iter<I: IntoIterator<Item = Runner>>(runners: I) -> Self {
        runners.into_iter().fold(Self::default(), |all, one| Self(all.0 | 1 << one as u16))
    }
}

impl FromStr for Runners {
    type Err = String;

    /// Names with commas between them, in any case.
    fn from_str(text: &str) -> Result<Self, String> {
        let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
        let found: Self = names.map(known).collect::<Result<_, _>>()?;
        if found == Self::default() { Err(expected()) } else { Ok(found) }
    }
}

impl TryFrom<Vec<String>> for Runners {
    type Error = String;

    fn try_from(names: Vec<String>) -> Result<Self, String> {
        names.join(",").parse()
    }
}

impl From<Runners> for Vec<&'static str> {
    fn from(runners: Runners) -> Self {
        runners.iter().map(Runner::name).collect()
    }
}

fn known(name: &str) -> Result<Runner, String> {
    Runner::all().find(|runner| runner.name().eq_ignore_ascii_case(name)).ok_or_else(expected)
}

fn expected() -> String {
    let names: Vec<&str> = Runner::all().map(Runner::name).collect();
    format!("expected names with commas between them: {}", names.join(", "))
}

impl fmt::Display for Runners {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(&Vec::from(*self).join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::{Runner, Runners};

    #[test]
    fn a_package_is_known_by_its_name_and_by_what_is_below_it() {
        for (specifier, runner) in [
            ("tsx", Some(Runner::Tsx)),
            ("tsx/esm", Some(Runner::Tsx)),
            ("@swc-node/register/esm-register", Some(Runner::SwcNode)),
            ("tsx-previews", None),
            ("@company/tsx", None),
            ("./tsx", None),
        ] {
            assert_eq!(Runner::of_package(specifier), runner, "{specifier}");
        }
    }

    #[test]
    fn a_list_of_runners_is_read_and_written() {
        let runners: Runners = " TSX, ts-node,".parse().unwrap();
        assert_eq!(runners.to_string(), "tsx,ts-node");
        assert_eq!(Runners::USUAL.to_string(), "tsx,strip-types");
        for bad in ["", ",", "tsx,nonsense", "tsx ts-node"] {
            assert!(bad.parse::<Runners>().unwrap_err().contains("strip-types"), "{bad}");
        }
    }

    #[test]
    fn in_json_they_are_a_list_of_known_names() {
        let json = r#"["tsx","ts-node"]"#;
        let runners: Runners = serde_json::from_str(json).unwrap();
        assert_eq!(runners.to_string(), "tsx,ts-node");
        assert_eq!(serde_json::to_string(&runners).unwrap(), json);
        for bad in ["[]", r#"["nonsense"]"#, r#""tsx""#, "null"] {
            assert!(serde_json::from_str::<Runners>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn no_name_stands_for_two() {
        for runner in Runner::all() {
            assert_eq!(runner.name().parse::<Runners>().unwrap().iter().count(), 1);
        }
    }
}
