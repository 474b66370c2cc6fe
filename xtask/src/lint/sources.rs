//! The texts that the borders are checked in.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::Context as _;

/// Folders of Rust code, from the workspace root.
const FOLDERS: [&str; 4] = ["agent", "agent-ebpf", "tests", "xtask"];

/// Text by path from the workspace root: ARCHITECTURE.md, manifests and Rust files.
#[derive(Clone, Debug, Default)]
pub struct Sources(BTreeMap<PathBuf, String>);

impl Sources {
    /// Reads those of the workspace at `root`.
    pub fn read(root: &Path) -> anyhow::Result<Self> {
        let mut sources = Self::default();
        sources.add(root, Path::new("ARCHITECTURE.md"))?;
        for folder in FOLDERS {
            sources.add_folder(root, Path::new(folder))?;
        }
        Ok(sources)
    }

    fn add_folder(&mut self, root: &Path, folder: &Path) -> anyhow::Result<()> {
        let path = root.join(folder);
        for entry in fs::read_dir(&path).with_context(|| format!("list {}", path.display()))? {
            let entry = entry.with_context(|| format!("list {}", path.display()))?;
            let name = folder.join(entry.file_name());
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if !name.ends_with("target") {
                    self.add_folder(root, &name)?;
                }
            } else if name.ends_with("Cargo.toml") || name.extension().is_some_and(|e| e == "rs") {
                self.add(root, &name)?;
            }
        }
        Ok(())
    }

    fn add(&mut self, root: &Path, name: &Path) -> anyhow::Result<()> {
        let path = root.join(name);
        let text = fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
        self.0.insert(name.to_owned(), text);
        Ok(())
    }

    /// The text of a file; empty where there is none.
    pub fn text(&self, path: impl AsRef<Path>) -> &str {
        self.0.get(path.as_ref()).map_or("", String::as_str)
    }

    /// Folders of packages: those that hold a manifest.
    pub fn packages(&self) -> impl Iterator<Item = &Path> {
        let manifests = self.0.keys().filter(|path| path.ends_with("Cargo.toml"));
        manifests.filter_map(|path| path.parent())
    }

    /// The Rust files of a package's library or program, without its tests: module path and text.
    pub fn modules(&self, package: &Path) -> impl Iterator<Item = (Vec<String>, &Path, &str)> {
        let source = package.join("src");
        self.0.iter().filter_map(move |(path, text)| {
            let inside = path.strip_prefix(&source).ok()?;
            (!inside.starts_with("bin")).then_some(())?;
            let mut module: Vec<String> = inside
                .with_extension("")
                .iter()
                .map(|part| part.to_string_lossy().into_owned())
                .collect();
            if module.iter().any(|part| part.contains("test")) {
                return None;
            }
            if module.last().is_some_and(|last| matches!(last.as_str(), "lib" | "main" | "mod")) {
                module.pop();
            }
            Some((module, path.as_path(), text.as_str()))
        })
    }

    /// The same texts, with `text` written after what a file has.
    #[cfg(test)]
    pub fn with(&self, path: &str, text: &str) -> Self {
        let mut sources = self.clone();
        sources.0.entry(path.into()).or_default().insert_str(0, text);
        sources
    }

    /// The same texts, with `from` replaced in a file.
    #[cfg(test)]
    pub fn replaced(&self, path: &str, from: &str, to: &str) -> Self {
        let mut sources = self.clone();
        let text = sources.0.get_mut(Path::new(path)).expect("a file");
        assert!(text.contains(from), "{path} has no {from}");
        *text = text.replacen(from, to, 1);
        sources
    }
}
