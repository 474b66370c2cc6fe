//! Answers of a reader that somebody else has asked.

use std::{collections::HashMap, fs, path::Path};

use anyhow::Context as _;

use crate::{Answers, Reader};

/// The reader of this name, whose answers are in a file.
pub fn reader(name: &str, file: &Path) -> anyhow::Result<Reader> {
    let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
    let mut all = HashMap::<String, Answers>::new();
    for (number, line) in (1..).zip(text.lines()) {
        let here = || format!("read line {number} of {}", file.display());
        let columns: Vec<_> = line.split('\t').collect();
        let &[capture, client, answer] = &*columns else {
            anyhow::bail!("{}: it has no three columns", here());
        };
        let (client, answer) =
            (client.parse().with_context(here)?, answer.parse().with_context(here)?);
        all.entry(capture.to_owned()).or_default().insert(client, answer);
    }
    let ask = move |_: &Path, capture: &str| Ok(all.get(capture).cloned().unwrap_or_default());
    Ok(Reader { name: name.to_owned(), ask: Box::new(ask) })
}
