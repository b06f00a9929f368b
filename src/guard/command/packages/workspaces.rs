//! The packages of a repository that holds several.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::clean::clean;
use crate::guard::command::files::{Files, join};
use crate::guard::command::manifest::Manifest;
use crate::guard::command::pattern;

/// How deep `**` is followed.
const MAX_LEVELS: u32 = 4;

/// Each package of the repository that a folder belongs to, but for its root.
pub fn members(folder: &Path, files: &mut Files) -> Vec<Manifest> {
    let mut all = repository(folder, files);
    all.pop();
    all
}

/// Each package of the repository that a folder belongs to, its root at last.
pub fn repository(folder: &Path, files: &mut Files) -> Vec<Manifest> {
    for root in folder.ancestors() {
        let patterns = patterns(root, files);
        if patterns.is_empty() {
            continue;
        }
        let (but, of): (Vec<String>, Vec<String>) =
            patterns.into_iter().partition(|pattern| pattern.starts_with('!'));
        let mut folders: Vec<PathBuf> =
            of.iter().flat_map(|pattern| folders_of(root, pattern, files)).collect();
        folders.retain(|folder| {
            let name = folder.strip_prefix(root).unwrap_or(folder).display().to_string();
            folder != root
                && !but.iter().any(|but| pattern::matches(but.trim_start_matches('!'), &name))
        });
        folders.dedup();
        folders.push(root.to_owned());
        return folders.iter().filter_map(|folder| Manifest::of(folder, files)).collect();
    }
    Vec::new()
}

/// Those that a name, a path or a pattern of names selects.
pub fn selected(selector: &str, folder: &Path, files: &mut Files) -> Vec<Manifest> {
    // pnpm's dependents and dependencies come with dots, folders in braces.
    let selector = selector.trim_start_matches("...").trim_end_matches("...").trim_end_matches('^');
    let path = selector.trim_start_matches('{').trim_end_matches('}');
    let path = join(folder, path);
    let of_path = path.display().to_string();
    let mut all = repository(folder, files);
    let root = all.pop();
    let named = |member: &Manifest, name: &str| {
        member.name().is_some_and(|own| pattern::matches(name, own))
    };
    // A folder stands for those in it, but for the root.
    let is_inside = |member: &Manifest| {
        let is_root = root.as_ref().is_some_and(|root| root.folder == path);
        member.folder.starts_with(&path) && !is_root
    };
    let is_selected = |member: &Manifest| {
        named(member, selector)
            || is_inside(member)
            || pattern::matches(&of_path, &member.folder.display().to_string())
    };
    let mut found: Vec<Manifest> =
        all.iter().filter(|member| is_selected(member)).cloned().collect();
    if found.is_empty() && !selector.contains(['/', '*', '@']) {
        let scoped = format!("@*/{selector}");
        found.extend(all.iter().filter(|member| named(member, &scoped)).cloned());
    }
    if found.is_empty() {
        found.extend(root.filter(|root| root.name() == Some(selector)));
    }
    if found.is_empty() {
        found.extend(Manifest::of(&path, files));
    }
    found
}

/// What a repository's root says of where its packages are.
fn patterns(root: &Path, files: &mut Files) -> Vec<String> {
    if files.is_file(&root.join("pnpm-workspace.yaml")) {
        return in_yaml(&files.text(&root.join("pnpm-workspace.yaml")).unwrap_or_default());
    }
    if !files.is_file(&root.join("package.json")) {
        return Vec::new();
    }
    let manifest = Manifest::of(root, files);
    let workspaces = manifest.as_ref().and_then(|manifest| manifest.get("workspaces"));
    let list = workspaces.and_then(|found| found.get("packages").or(Some(found)));
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// The list of `packages:`, in brackets or an item a line.
fn in_yaml(text: &str) -> Vec<String> {
    let mut lines = text.lines().skip_while(|line| !line.starts_with("packages:"));
    let first = lines.next().unwrap_or_default().trim_start_matches("packages:").trim();
    let items: Vec<&str> = match first.strip_prefix('[') {
        Some(list) => list.trim_end_matches(']').split(',').collect(),
        None => lines
            .take_while(|line| line.starts_with([' ', '-', '#']) || line.is_empty())
            .filter_map(|line| line.trim().strip_prefix('-'))
            .collect(),
    };
    items.into_iter().map(|item| clean(item.trim()).to_owned()).collect()
}

fn folders_of(root: &Path, pattern: &str, files: &mut Files) -> Vec<PathBuf> {
    let mut found = vec![root.to_owned()];
    for part in pattern.trim_start_matches("./").trim_end_matches('/').split('/') {
        found = match part {
            "**" => below(found, files),
            _ if part.contains(['*', '?', '[']) => {
                let each = found.iter().flat_map(|folder| files.folders_in(folder));
                each.filter(|folder| {
                    let name = folder.file_name().unwrap_or_default().to_string_lossy();
                    pattern::matches(part, &name)
                })
                .collect()
            }
            _ => found.into_iter().map(|folder| folder.join(part)).collect(),
        };
    }
    found
}

fn below(folders: Vec<PathBuf>, files: &mut Files) -> Vec<PathBuf> {
    let mut all = folders.clone();
    let mut level = folders;
    for _ in 0..MAX_LEVELS {
        if files.is_over() {
            break;
        }
        level = level.iter().flat_map(|folder| files.folders_in(folder)).collect();
        level.retain(|folder| !folder.ends_with("node_modules"));
        all.extend(level.iter().cloned());
    }
    all
}
