//! Files of variables, as dotenv has them.

use std::path::Path;

use super::files::Files;
use crate::clean::clean;

/// Names and values, in order; nothing for a file that can't be read.
pub fn variables(path: &Path, files: &mut Files) -> Vec<(String, String)> {
    let text = files.text(path);
    let lines = text.as_deref().unwrap_or_default().lines().map(str::trim);
    let pairs = lines.filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('='));
    let pairs = pairs.map(|(name, value)| {
        let name = name.trim().trim_start_matches("export ").trim();
        (name.to_owned(), clean(value).to_owned())
    });
    pairs.collect()
}
