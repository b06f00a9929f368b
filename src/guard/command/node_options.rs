//! Node's command line; node(1).

/// Options whose value is a word of its own, beside those that are read here.
const WITH_VALUE: [&str; 44] = [
    "-C",
    "--conditions",
    "--allow-fs-read",
    "--allow-fs-write",
    "--build-snapshot-config",
    "--cpu-prof-dir",
    "--cpu-prof-interval",
    "--cpu-prof-name",
    "--diagnostic-dir",
    "--disable-proto",
    "--disable-warning",
    "--dns-result-order",
    "--es-module-specifier-resolution",
    "--experimental-default-type",
    "--experimental-sea-config",
    "--heap-prof-dir",
    "--heap-prof-interval",
    "--heap-prof-name",
    "--heapsnapshot-near-heap-limit",
    "--heapsnapshot-signal",
    "--icu-data-dir",
    "--inspect-port",
    "--debug-port",
    "--localstorage-file",
    "--max-http-header-size",
    "--network-family-autoselection-attempt-timeout",
    "--openssl-config",
    "--redirect-warnings",
    "--report-dir",
    "--report-directory",
    "--report-filename",
    "--report-signal",
    "--secure-heap",
    "--secure-heap-min",
    "--snapshot-blob",
    "--test-concurrency",
    "--test-name-pattern",
    "--test-reporter",
    "--test-reporter-destination",
    "--test-shard",
    "--title",
    "--trace-event-categories",
    "--unhandled-rejections",
    "--watch-path",
];

/// What a command line of Node's says, as far as it is about code.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct NodeOptions {
    /// The modules that are loaded before the entry.
    pub preloads: Vec<String>,
    /// Code on the command line.
    pub code: Vec<String>,
    pub env_files: Vec<String>,
    /// The file of a configuration.
    pub config: Option<String>,
    /// A script of package.json, with `--run`.
    pub script: Option<String>,
    /// Whether it was said that types are stripped, or that they are not.
    pub strips_types: Option<bool>,
    pub entry: Option<String>,
    /// What is the entry's or the script's own.
    pub arguments: Vec<String>,
}

impl NodeOptions {
    pub fn parse(words: &[String]) -> Self {
        let mut options = Self::default();
        let mut words = words.iter();
        while let Some(word) = words.next() {
            let (name, attached) = match word.split_once('=') {
                Some((name, value)) if word.starts_with("--") => (name, Some(value.to_owned())),
                _ => (word.as_str(), None),
            };
            let mut value =
                || attached.clone().or_else(|| words.next().cloned()).unwrap_or_default();
            match name {
                "-r" | "--require" | "--import" | "--loader" | "--experimental-loader" => {
                    options.preloads.push(value());
                }
                "-e" | "--eval" | "-p" | "--print" | "-pe" => options.code.push(value()),
                "--env-file" | "--env-file-if-exists" => options.env_files.push(value()),
                "--run" => options.script = Some(value()),
                "--experimental-strip-types"
                | "--experimental-transform-types"
                | "--strip-types" => {
                    options.strips_types = Some(true);
                }
                "--input-type" if value().ends_with("-typescript") => {
                    options.strips_types = Some(true);
                }
                "--input-type" => {}
                "--no-experimental-strip-types" | "--no-strip-types" => {
                    options.strips_types = Some(false);
                }
                "--experimental-default-config-file" => {
                    options.config = Some("node.config.json".into());
                }
                "--experimental-config-file" => options.config = Some(value()),
                "--" => {
                    options.operands(words.cloned().collect());
                    break;
                }
                _ if attached.is_none() && WITH_VALUE.contains(&name) => {
                    value();
                }
                "inspect" | "debug" if options.entry.is_none() => {}
                _ if word.starts_with('-') && word.len() > 1 => {}
                _ => {
                    options.operands([word].into_iter().chain(words).cloned().collect());
                    break;
                }
            }
        }
        options
    }

    /// What stands behind the options: the entry where there is none yet, and its arguments.
    fn operands(&mut self, mut words: Vec<String>) {
        if self.script.is_none() && self.code.is_empty() && !words.is_empty() {
            self.entry = Some(words.remove(0));
        }
        self.arguments = words;
    }

    /// What the variable NODE_OPTIONS says: words with blanks between them, double quotes around some.
    pub fn of_variable(value: &str) -> Self {
        let mut words = Vec::new();
        let (mut current, mut is_quoted) = (None::<String>, false);
        let mut characters = value.chars();
        while let Some(character) = characters.next() {
            match character {
                '"' => {
                    is_quoted = !is_quoted;
                    current.get_or_insert_default();
                }
                '\\' if is_quoted => current.get_or_insert_default().extend(characters.next()),
                blank if blank.is_whitespace() && !is_quoted => words.extend(current.take()),
                other => current.get_or_insert_default().push(other),
            }
        }
        words.extend(current);
        Self { entry: None, arguments: Vec::new(), code: Vec::new(), ..Self::parse(&words) }
    }
}

#[cfg(test)]
mod tests {
    use super::NodeOptions;

    fn parse(line: &str) -> NodeOptions {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        NodeOptions::parse(&words)
    }

    #[test]
    fn the_entry_is_the_first_word_that_is_no_option_and_no_options_value() {
        for line in [
            "w.js --import tsx",
            "--enable-source-maps w.js",
            "-C x --title tsx w.js",
            "--max-old-space-size=512 w.js",
            "-- w.js",
            "inspect w.js",
        ] {
            let options = parse(line);
            assert_eq!(options.entry.as_deref(), Some("w.js"), "{line}");
            assert!(options.preloads.is_empty(), "{line}");
        }
    }

    #[test]
    fn preloads_are_found_in_all_spellings() {
        for line in ["-r tsx w.js", "--import=tsx w.js", "--loader tsx w.js", "--require=tsx w.js"]
        {
            assert_eq!(parse(line).preloads, ["tsx"], "{line}");
        }
        let given = NodeOptions::of_variable(" --max-old-space-size=9 --import \"tsx\" ");
        assert_eq!(given.preloads, ["tsx"]);
    }
}
