//! Scores readers of captures on a folder whose truth is known: `truth FOLDER [NAME=FILE …]`.
//!
//! hopsight is asked, and tshark and Suricata where they are installed, all without keys. The answers of
//! any other reader come from a file with a line per connection: capture, client (`address:port`) and
//! answer, with tabs in between.

mod given;
mod hopsight;
mod suricata;
mod tshark;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::SocketAddr,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use hopsight_tools::truth::{self, Answer, Score};

/// What a reader says of the connections of one capture, by the client's end.
type Answers = HashMap<SocketAddr, Answer>;

/// Has a reader look at a capture in a folder.
type Ask = Box<dyn Fn(&Path, &str) -> anyhow::Result<Answers>>;

/// A reader of captures.
struct Reader {
    name: String,
    ask: Ask,
}

impl Reader {
    fn new(name: &str, ask: fn(&Path) -> anyhow::Result<Answers>) -> Self {
        Self { name: name.to_owned(), ask: Box::new(move |folder, file| ask(&folder.join(file))) }
    }
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: truth FOLDER [NAME=FILE …]";
    let folder = arguments.next().map(PathBuf::from).context(usage)?;
    let known = truth::read(&folder)?;
    let mut readers = vec![Reader::new("hopsight", hopsight::answers)];
    for (program, name, ask) in [
        ("tshark", "tshark", tshark::answers as fn(&Path) -> _),
        ("suricata", "Suricata", suricata::answers),
    ] {
        if is_installed(program) {
            readers.push(Reader::new(name, ask));
        } else {
            println!("{name} is not installed, and left out\n");
        }
    }
    for argument in arguments {
        let (name, file) = argument.split_once('=').context(usage)?;
        readers.push(given::reader(name, Path::new(file))?);
    }
    let scores: Vec<_> =
        readers.iter().map(|reader| score(reader, &folder, &known)).collect::<Result<_, _>>()?;
    print(&readers, &scores);
    Ok(())
}

fn is_installed(program: &str) -> bool {
    let folders = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&folders).any(|folder| folder.join(program).is_file())
}

/// Per class, and of all together.
type Scores = BTreeMap<String, Score>;

/// The row of all classes together.
const ALL: &str = "all";

fn score(
    reader: &Reader,
    folder: &Path,
    known: &BTreeMap<String, truth::OfFile>,
) -> anyhow::Result<Scores> {
    let mut scores = Scores::new();
    for (file, connections) in known {
        let answers = (reader.ask)(folder, file)
            .with_context(|| format!("have {} read {file}", reader.name))?;
        for (client, known) in connections {
            let said = answers.get(client).copied();
            let class = known.class();
            if std::env::var_os("TRUTH_SHOW").is_some() && said != Some(known.answer) {
                let said = said.unwrap_or(Answer::Unknown);
                println!("{}: {file} {client}: {said}, is {} ({class})", reader.name, known.answer);
            }
            for class in [class.as_str(), ALL] {
                scores.entry(class.to_owned()).or_default().count(known.answer, said);
            }
        }
    }
    Ok(scores)
}

fn print(readers: &[Reader], scores: &[Scores]) {
    let classes: BTreeSet<&String> = scores.iter().flat_map(BTreeMap::keys).collect();
    let names: Vec<_> = readers.iter().map(|reader| reader.name.as_str()).collect();
    println!("Connections: right / wrong / unknown\n");
    println!("| connections | {} |", names.join(" | "));
    println!("|---|{}", "---|".repeat(names.len()));
    for class in classes.into_iter().filter(|class| *class != ALL) {
        let cells = scores.iter().map(|scores| {
            let Score { right, wrong, unknown } = scores[class];
            format!("{right} / {wrong} / {unknown}")
        });
        println!("| {class} | {} |", cells.collect::<Vec<_>>().join(" | "));
    }
    let percent = |share: Option<f64>| match share {
        Some(share) => format!("{:.1} %", share * 100.0),
        None => "-".to_owned(),
    };
    let all = |of: fn(&Score) -> Option<f64>| {
        let cells = scores.iter().map(|scores| percent(scores.get(ALL).and_then(of)));
        cells.collect::<Vec<_>>().join(" | ")
    };
    println!("| **precision** (of what it said) | {} |", all(Score::precision));
    println!("| **recall** (of what is so) | {} |", all(|score| Some(score.recall())));
}
