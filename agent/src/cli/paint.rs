//! Colours, on terminals that show them.

use std::io::IsTerminal as _;

use hopsight_core::model::Security;

/// When to use colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ColorChoice {
    /// On a terminal, unless the environment variable `NO_COLOR` is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl ColorChoice {
    /// Whether standard output gets colours.
    #[must_use]
    pub fn for_stdout(self) -> bool {
        self.wanted(std::io::stdout().is_terminal())
    }

    /// Whether standard error gets colours.
    #[must_use]
    pub fn for_stderr(self) -> bool {
        self.wanted(std::io::stderr().is_terminal())
    }

    fn wanted(self, is_terminal: bool) -> bool {
        // https://no-color.org: any value that is not empty.
        let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => !unwanted && !dumb && is_terminal,
        }
    }
}

/// A colour or weight, as SGR parameters (ECMA-48).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Style {
    /// As it is.
    #[default]
    Plain,
    /// Headings.
    Bold,
    /// Less important.
    Dim,
    /// Good.
    Green,
    /// Worth a look.
    Yellow,
    /// Bad.
    Red,
    /// Not known.
    Magenta,
}

impl Style {
    /// The style of a security word. The word itself is always printed: colour only helps the eye.
    #[must_use]
    pub const fn of(security: Security) -> Self {
        match security {
            Security::Mtls => Self::Green,
            Security::Tls => Self::Yellow,
            Security::Plaintext => Self::Red,
            Security::Unknown => Self::Magenta,
        }
    }

    const fn code(self) -> &'static str {
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Dim => "2",
            Self::Green => "32",
            Self::Yellow => "33",
            Self::Red => "1;31",
            Self::Magenta => "35",
        }
    }

    /// `text` in this style, if `colors` are wanted.
    #[must_use]
    pub fn paint(self, text: &str, colors: bool) -> String {
        match (colors, self) {
            (false, _) | (true, Self::Plain) => text.to_owned(),
            (true, style) => format!("\u{1b}[{}m{text}\u{1b}[0m", style.code()),
        }
    }
}
