//! Many connections that send nothing: `hopsight-crowd ADDRESS` accepts and keeps them,
//! `hopsight-crowd ADDRESS COUNT` opens and keeps them. Both print how many they have and end when
//! their standard input does.

use std::{
    env,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    thread,
};

use anyhow::Context as _;

fn main() -> anyhow::Result<()> {
    let mut args = env::args().skip(1);
    let address: SocketAddr = args.next().context("name an address")?.parse().context("address")?;
    let mut kept = Vec::new();
    match args.next() {
        None => {
            let listener = TcpListener::bind(address).context("listen")?;
            say("listening")?;
            thread::spawn(move || {
                let mut accepted = Vec::new();
                while let Ok((stream, _)) = listener.accept() {
                    accepted.push(stream);
                }
            });
        }
        Some(count) => {
            for _ in 0..count.parse::<u32>().context("read the count")? {
                kept.push(TcpStream::connect(address).context("connect")?);
            }
            say(&format!("{} connections", kept.len()))?;
        }
    }
    std::io::stdin().read_to_end(&mut Vec::new()).context("wait for the end")?;
    Ok(())
}

fn say(line: &str) -> anyhow::Result<()> {
    let mut output = std::io::stdout();
    writeln!(output, "{line}").and_then(|()| output.flush()).context("say what there is")
}
