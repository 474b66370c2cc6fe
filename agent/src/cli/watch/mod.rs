//! `hopsight watch`: the hop table, live in a terminal.
//!
//! Drawn with plain control sequences: one table that scrolls needs no terminal user interface
//! library.

mod detail;
mod screen;
mod view;

use std::{
    io::{IsTerminal as _, Read as _},
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::{Context as _, bail};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};

use self::{
    screen::Screen,
    view::{Action, View},
};
use super::{
    hops::{HopFilter, fetch},
    paint::ColorChoice,
};

/// Arguments of `hopsight watch`.
#[derive(Clone, Debug, clap::Args)]
pub struct WatchArgs {
    #[command(flatten)]
    selection: HopFilter,

    /// Seconds between updates.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1,
        value_parser = clap::value_parser!(u64).range(1..=3600))]
    interval: u64,

    /// Begin with everything known about each hop (key `w` toggles it).
    #[arg(short, long)]
    wide: bool,
}

/// Runs `hopsight watch` until a key or a signal ends it.
///
/// # Errors
/// Standard input or output is no terminal.
pub fn watch(args: &WatchArgs, color: ColorChoice) -> anyhow::Result<ExitCode> {
    if !std::io::stdin().is_terminal() || !std::io::stdout().is_terminal() {
        bail!("watch needs a terminal; `hopsight hops` prints once, also into a pipe");
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the event loop")?;
    let watched = runtime.block_on(watch_until_end(args, color));
    // An answer that is still awaited ends with the process.
    runtime.shutdown_background();
    watched?;
    Ok(ExitCode::SUCCESS)
}

async fn watch_until_end(args: &WatchArgs, color: ColorChoice) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("handle SIGTERM")?;
    let mut hang_up = signal(SignalKind::hangup()).context("handle SIGHUP")?;
    let mut resize = signal(SignalKind::window_change()).context("handle SIGWINCH")?;
    let mut keys = keys()?;
    let mut interval = tokio::time::interval(Duration::from_secs(args.interval));
    let mut view = View::new(args.selection.agent.address.clone(), args.wide);
    let mut screen = Screen::open(color.for_stdout())?;
    let mut answer = None;
    loop {
        screen.draw(|size, colors| view.frame(size, colors))?;
        tokio::select! {
            _ = interval.tick(), if answer.is_none() => {
                let selection = args.selection.clone();
                answer = Some(tokio::task::spawn_blocking(move || fetch(&selection)));
            }
            fetched = async { answer.as_mut().expect("checked by the branch").await },
                if answer.is_some() =>
            {
                answer = None;
                view.take(fetched.context("ask the agent")?);
            }
            pressed = keys.recv() => {
                let action = pressed.map_or(Some(Action::Quit), |bytes| view.press(&bytes));
                if action == Some(Action::Quit) {
                    return Ok(());
                }
            }
            _ = resize.recv() => {}
            _ = terminate.recv() => return Ok(()),
            _ = hang_up.recv() => return Ok(()),
        }
    }
}

/// What standard input sends, one read at a time. The thread ends with the process: a read cannot
/// be cancelled.
fn keys() -> anyhow::Result<mpsc::Receiver<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(16);
    let read_keys = move || {
        let mut bytes = [0; 64];
        while let Ok(read @ 1..) = std::io::stdin().read(&mut bytes) {
            if sender.blocking_send(bytes[..read].to_vec()).is_err() {
                return;
            }
        }
    };
    thread::Builder::new().name("keys".into()).spawn(read_keys).context("start a thread")?;
    Ok(receiver)
}
