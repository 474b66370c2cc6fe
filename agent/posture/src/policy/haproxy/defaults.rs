//! What `defaults` sections say.

use super::{checks::Checks, error::ConfigError, sections::Line, server::Settings};

/// What a `defaults` section says.
#[derive(Clone, Default)]
pub(super) struct Defaults {
    pub(super) mode: Option<Mode>,
    pub(super) server: Settings,
    pub(super) checks: Checks,
    pub(super) disabled: bool,
    /// `balance` says how servers are chosen, and then `dispatch` counts for nothing.
    pub(super) balanced: bool,
    /// Something beside `balance` may choose a server.
    pub(super) chooses: bool,
    /// `option transparent`.
    pub(super) transparent: Option<Line>,
}

impl Defaults {
    /// What there is of a section that perhaps is none, behind what counts without it.
    pub(super) fn perhaps(&mut self, head: &Line, before: Option<&Self>) {
        self.server.leave_open(head, "a defaults section in a condition that is not decided here");
        self.checks.leave_open();
        if before.and_then(|before| before.mode) != self.mode {
            self.mode = Some(Mode::Unknown);
        }
        self.disabled = false;
        self.chooses |= before.is_some_and(|before| before.chooses);
        self.transparent =
            self.transparent.take().or(before.and_then(|one| one.transparent.clone()));
    }

    /// Takes in whether sections are in use, and their servers; says whether the line was about that.
    pub(super) fn switch(&mut self, line: &Line) -> bool {
        let is_option = |words: &[String]| words == ["option", "transparent"];
        match line.keyword() {
            // What perhaps is switched off is in use.
            "disabled" => self.disabled |= !line.is_open,
            "enabled" => self.disabled = false,
            "balance" => self.balanced |= !line.is_open,
            "cookie" | "stick" | "use-server" | "persist" => self.chooses = true,
            "option" if is_option(&line.words) => self.transparent = Some(line.clone()),
            "no" if is_option(&line.words[1..]) => {
                if !line.is_open {
                    self.transparent = None;
                }
            }
            _ => return false,
        }
        true
    }
}

/// Whether haproxy reads what it passes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// `http`, and others in which what is sent is haproxy's own.
    Own,
    Tcp,
    Unknown,
}

impl Mode {
    pub(super) fn of(line: &Line) -> Result<Self, ConfigError> {
        let mode = line.argument("a mode such as \"http\"")?;
        Ok(match mode {
            _ if line.is_open || mode.contains('$') => Self::Unknown,
            "tcp" => Self::Tcp,
            _ => Self::Own,
        })
    }
}
